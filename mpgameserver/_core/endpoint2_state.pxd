# What the modules of an endpoint of protocol 2 share: its state, and what they say of it.
from libc.stdint cimport int64_t, uint64_t

from mpgameserver._core.ack_schedule cimport AckSchedule
from mpgameserver._core.channel_queues cimport ChannelQueues
from mpgameserver._core.connection_ids cimport OwnIds, PeerIds
from mpgameserver._core.control_frames cimport ControlQueue
from mpgameserver._core.endpoint cimport PING_INTERVAL, Endpoint
from mpgameserver._core.grid_reassembly cimport GridReassembler
from mpgameserver._core.packet_protection cimport PacketOpener, PacketSealer
from mpgameserver._core.path_mtu cimport PathMtu
from mpgameserver._core.peer_clock cimport PeerClock
from mpgameserver._core.received_packets cimport ReceivedPackets
from mpgameserver._core.setup_pieces cimport SetupPieces

cdef enum:
    CLOSE_PROTOCOL = 1       # codes of a CLOSE
    CLOSE_WINDOW = 7
    CLOSE_KEYS = 8
    CLOSING_PTOS = 3         # probe timeouts for which a CLOSE is sent
    ACK_SPACE = 16           # bytes left for an ACK beside the largest message of one packet

cdef class Endpoint2State(Endpoint):
    cdef readonly ReceivedPackets received_packets
    cdef public double peer_idle_timeout      # seconds
    cdef readonly PeerIds peer_ids            # None at a server
    cdef readonly bytes connection_id
    cdef readonly PeerClock clock             # of the server; None at a server
    cdef readonly PathMtu path_mtu
    cdef readonly int64_t last_number         # of the last packet that was accepted
    cdef readonly bytes path_response         # in that packet; None: there was none
    cdef ChannelQueues _queue                 # `send_queue`
    cdef GridReassembler _reassembler
    cdef PacketSealer _sealer
    cdef PacketOpener _opener
    cdef AckSchedule _acks
    cdef ControlQueue _control
    cdef OwnIds _own_ids                      # of a server; None: it issues no further ones
    cdef SetupPieces _setup, _kem
    cdef object _key_exchange                 # of KEM frames; None: there are none
    cdef bytes _held_setup                    # connect data that is not sent before a key is mixed
    cdef list _receivers                      # a ChannelReceiver for each channel, or None
    cdef list _inboxes             # of a client: a Fifo for each channel, or None; else None
    cdef list _ordered, _early     # receivers of ordered channels; datagrams kept until accepted
    cdef bytes _outgoing_id, _path_response, _close_text
    cdef Py_ssize_t _incoming_id_size, _frames_limit, _least_frames
    cdef int64_t _close_code, _time_echo, _time_received    # echo -1: no TIME waits for a reply
    cdef int64_t _skip_at, _phase_start, _opener_phase
    cdef uint64_t _random
    cdef double _followed_at, _forget_at, _close_sent_at, _close_first_at
    cdef int64_t _close_packet                # the newest with a CLOSE; 0: none
    cdef bint _wants_key, _windows_due, _close_acked, _asks_for_close
    cdef bint _sends_fast                     # many packets have waited for an ack at once

cdef int fit_path(Endpoint2State endpoint) except -1
cdef int issue_ids(Endpoint2State endpoint) except -1
cdef int64_t next_skip(Endpoint2State endpoint, int64_t number) noexcept

cdef inline bint speaks(Endpoint2State endpoint) noexcept:
    # Return True if silence would make the peer believe that this side is gone.
    return endpoint.error_code == 0 and (endpoint.established or endpoint.received > 0)

cdef inline bint break_rule(Endpoint2State endpoint, int64_t code) noexcept:
    # Note the code with which the session has to end; return False.
    if endpoint.error_code == 0:
        endpoint.error_code = code
    return False

cdef inline double ping_interval(Endpoint2State endpoint) noexcept:
    # Return after which time without a sample a PING is due, within the peer's patience.
    return min(PING_INTERVAL, endpoint.peer_idle_timeout / 3)
