"""The state of one side of a session of protocol 2, as its modules share it.

`sending2` writes packets from it, `receiving2` reads them into it, and `acks2` decides what became
of those that were sent; `endpoint2` is what an owner sees of it all.
"""

import os

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from mpgameserver._core.channel_receiver cimport UNORDERED, ChannelReceiver
from mpgameserver._core.connection_ids cimport PeerIds
from mpgameserver._core.frames cimport CONNECTION_ID_SIZE
from mpgameserver._core.packet_header cimport TAG_SIZE
from mpgameserver._core.packet_protection cimport MAX_NUMBER_SIZE
from mpgameserver._core.path_mtu cimport LEAST_DATAGRAM, MOST_DATAGRAM

__all__ = ["Endpoint2State"]

cdef enum:
    LEAST_SKIP = 64          # packets between two numbers that are skipped...
    SKIP_MASK = 1023         # ...and as many more at random, at most

cdef double DEFAULT_IDLE_TIMEOUT = 5.0


cdef class Endpoint2State(Endpoint):
    """The parts of an `Endpoint2`; by itself it sends nothing, and takes nothing.

    The arguments are those of `Endpoint2`.
    """

    def __cinit__(
        self, own_secret, peer_secret, bint is_server, double now, bytes connection_id not None, *,
        Py_ssize_t max_datagram=LEAST_DATAGRAM, int64_t sealed_before=0,
    ):
        if PyBytes_GET_SIZE(connection_id) != CONNECTION_ID_SIZE:
            raise ValueError(f"a connection id of {len(connection_id)} bytes")
        if not LEAST_DATAGRAM <= max_datagram <= MOST_DATAGRAM:
            raise ValueError(f"max_datagram cannot be {max_datagram} bytes")
        self.protocol = 2
        self.begin(now)
        self.connection_id = connection_id
        self.peer_idle_timeout = DEFAULT_IDLE_TIMEOUT
        self._is_server = is_server
        self._incoming_id_size = CONNECTION_ID_SIZE if is_server else 0
        self._outgoing_id = b"" if is_server else connection_id
        self.peer_ids = None if is_server else PeerIds(connection_id)
        self.path_mtu = PathMtu(max_datagram)
        self._least_frames = self._frames_limit = _frames_of(self, LEAST_DATAGRAM)
        self._sealer = PacketSealer(own_secret, own_secret.mask())
        self._sealer.sealed = sealed_before
        self._opener = PacketOpener(peer_secret, peer_secret.mask())
        self.received_packets = ReceivedPackets()
        self.send_queue = self._queue = ChannelQueues(self._frames_limit - ACK_SPACE)
        self.reassembler = self._reassembler = GridReassembler()
        self._acks = AckSchedule()
        self._control = ControlQueue()
        self._setup = SetupPieces()
        self._kem = SetupPieces()
        self._receivers = [None] * 256
        self._receivers[0] = ChannelReceiver(0, UNORDERED, self._reassembler)
        self._inboxes = None if is_server else [None] * 256
        self._ordered = []
        self._early = []
        self._close_text = b""
        self._time_echo = -1
        self.clock = None if is_server else PeerClock()
        self._phase_start = 1
        self._followed_at = self._close_sent_at = -INFINITY
        self._forget_at = INFINITY
        self._random = int.from_bytes(os.urandom(8), "big") | 1
        self._skip_at = next_skip(self, 0)
        self.send_limits.trust_receiver()


cdef Py_ssize_t _frames_of(Endpoint2State endpoint, Py_ssize_t datagram) noexcept:
    """Return the bytes of frames that a datagram of so many bytes holds, whatever its number."""
    return datagram - 1 - PyBytes_GET_SIZE(endpoint._outgoing_id) - MAX_NUMBER_SIZE - TAG_SIZE


cdef int fit_path(Endpoint2State endpoint) except -1:
    """Fill datagrams up to what the path is known to carry now."""
    endpoint._frames_limit = _frames_of(endpoint, endpoint.path_mtu.size)
    return endpoint._queue.set_payload_limit(endpoint._frames_limit - ACK_SPACE)


cdef int issue_ids(Endpoint2State endpoint) except -1:
    """Issue the ids that are missing, once the client has the accept data.

    Before, it could not take the packet, nor a piece of the accept data beside them.
    """
    if endpoint._control.pieces == 0:
        endpoint._own_ids.issue(endpoint._control)
    return 0


cdef int64_t next_skip(Endpoint2State endpoint, int64_t number) noexcept:
    """Return the next packet number to be skipped, which the peer cannot foresee."""
    endpoint._random ^= endpoint._random << 13
    endpoint._random ^= endpoint._random >> 7
    endpoint._random ^= endpoint._random << 17
    return number + LEAST_SKIP + <int64_t>(endpoint._random & SKIP_MASK)
