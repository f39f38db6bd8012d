# One side of a session of protocol 2.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from mpgameserver._core.ack_schedule cimport AckSchedule
from mpgameserver._core.channel_queues cimport ChannelQueues
from mpgameserver._core.channel_receiver cimport ChannelReceiver
from mpgameserver._core.control_frames cimport ControlQueue
from mpgameserver._core.drop_reason cimport REASON_COUNT, DropReason
from mpgameserver._core.endpoint cimport Endpoint
from mpgameserver._core.frames cimport Frame
from mpgameserver._core.frame_writer cimport FrameWriter
from mpgameserver._core.grid_reassembly cimport GridReassembler
from mpgameserver._core.inspection cimport Inspection
from mpgameserver._core.packet_protection cimport PacketOpener, PacketSealer
from mpgameserver._core.peer_clock cimport PeerClock
from mpgameserver._core.received_packets cimport ReceivedPackets
from mpgameserver._core.send_limits cimport Room
from mpgameserver._core.setup_pieces cimport SetupPieces

cdef class Endpoint2(Endpoint):
    cdef readonly ReceivedPackets received_packets
    cdef public double peer_idle_timeout      # seconds
    cdef public bytes reset_token             # of the server; None: not known yet
    cdef readonly bytes connection_id
    cdef readonly PeerClock clock             # of the server; None at a server
    cdef readonly int64_t last_number         # of the last packet that was accepted
    cdef readonly bytes path_response         # in that packet; None: there was none
    cdef ChannelQueues _queue                 # `send_queue`
    cdef GridReassembler _reassembler
    cdef PacketSealer _sealer
    cdef PacketOpener _opener
    cdef AckSchedule _acks
    cdef ControlQueue _control
    cdef SetupPieces _setup
    cdef list _receivers                      # a ChannelReceiver for each channel, or None
    cdef list _inboxes                        # of a client: a Fifo for each channel, or None
    cdef list _ordered, _early     # receivers of ordered channels; datagrams kept until accepted
    cdef bytes _outgoing_id, _path_response, _close_text
    cdef Py_ssize_t _incoming_id_size, _frames_limit
    cdef int64_t _close_code, _time_echo, _time_received    # echo -1: no TIME waits for a reply
    cdef int64_t _skip_at, _phase_start, _opener_phase
    cdef uint64_t _random
    cdef double _followed_at, _forget_at
    cdef double _close_sent_at, _close_first_at
    cdef int64_t _close_packet                # the newest with a CLOSE; 0: none
    cdef bint _wants_key, _windows_due, _close_acked

    cpdef tuple take_channel_message(self, int channel)
    cpdef Py_ssize_t channel_inbox_size(self, int channel) except -1
    # -- in
    cdef DropReason _use(
        self, int64_t number, const unsigned char *frames, Py_ssize_t size, bytes datagram,
        double now
    ) except? REASON_COUNT
    cdef bint _inspect(
        self, Inspection *found, const unsigned char *frames, Py_ssize_t size
    ) except -1
    cdef bint _inspect_frame(self, Inspection *found, const Frame *frame) except -1
    cdef bint _may_be_early(self, Inspection *found) noexcept
    cdef bint _inspect_message(self, Inspection *found, const Frame *frame) except -1
    cdef int _use_all(
        self, Inspection *found, const unsigned char *frames, Py_ssize_t size
    ) except -1
    cdef int _use_frame(self, const Frame *frame) except -1
    cdef int _apply_ack(self, const Frame *frame) except -1
    # -- out
    cdef Room _room(self) noexcept
    cdef bytes _assemble(self, Room room)
    cdef int _fill(self, FrameWriter *packet, bint ahead, Py_ssize_t ack_size) except -1
    cdef int _write_messages(self, FrameWriter *packet, bint ahead, Py_ssize_t ack_size) except -1
    cdef int _write_part(self, FrameWriter *packet, object part) except -1
    cdef Frame _ack_frame(self, unsigned char *ranges) noexcept
    cdef int _write_ack(self, FrameWriter *packet, const Frame *ack) except -1
    cdef bytes _seal(self, FrameWriter *packet)
    cdef bint _renew_key(self) except -1
    cdef int _find_lost(self) except -1
