"""ACKs and losses: the fate of the packets that one side of a session of protocol 2 has sent."""

from libc.stdint cimport int64_t, uint32_t

from mpgameserver._core.ack_frequency cimport MAX_ACK_DELAY_MS
from mpgameserver._core.channel_receiver cimport receiver_at
from mpgameserver._core.control_frames cimport ControlFrame
from mpgameserver._core.endpoint2_state cimport (
    Endpoint2State,
    fit_path,
    issue_ids,
    ping_interval,
)
from mpgameserver._core.frames cimport (
    CLOSE,
    WINDOW,
    AckRange,
    AckRanges,
    Frame,
    begin_ranges,
    take_range,
)
from mpgameserver._core.rtt cimport LOSS_MARGIN
from mpgameserver._core.sent_window cimport ACK_ELICITING, PACKET_THRESHOLD, PROBE, SentWindow

__all__ = []


cdef int apply_ack(Endpoint2State endpoint, const Frame *frame) except -1:
    """Mark the packets of an ACK."""
    cdef AckRanges ranges
    cdef AckRange range
    cdef int64_t in_flight = endpoint.sent_packets.span()
    cdef int64_t late = endpoint.received_packets.late
    endpoint.sent_packets.begin_ack()
    begin_ranges(&ranges, frame)
    while take_range(&ranges, &range):
        endpoint.sent_packets.on_range_acked(range.newest, range.oldest)
    if endpoint.sent_packets.newly_acked_count == 0:
        return 0
    _sample_round_trip(endpoint, frame)
    endpoint.received_packets.on_report_acked(
        endpoint.sent_packets.newest_report_acked(<uint32_t>late), late
    )
    _on_newly_acked(endpoint)
    endpoint.send_limits.congestion.on_ack(
        endpoint.sent_packets.newest_acked, endpoint.sent_packets.newest, in_flight
    )
    return 0


cdef int _sample_round_trip(Endpoint2State endpoint, const Frame *ack) except -1:
    """Take the round-trip time of the newest packet that an ACK reports (RFC 9002 section 5).

    The delay that the peer reports is taken off, unless that leaves less than the path's minimum.
    """
    cdef SentWindow sent = endpoint.sent_packets
    cdef int64_t number = sent.newly_acked[0]
    cdef double delay = min(ack.total * 1e-6, MAX_ACK_DELAY_MS / 1000.0)
    cdef double elapsed = endpoint._now - sent.packet(number).sent_at
    if number != ack.number or number < sent.path_start or not (
        sent.packet(number).flags & ACK_ELICITING
    ):
        return 0
    if endpoint.rtt.measured and elapsed - delay >= endpoint.rtt.min_rtt:
        elapsed -= delay
    endpoint.rtt.sample(elapsed)
    endpoint.rate_bins.on_rtt_sample(elapsed, endpoint._now)
    endpoint.send_limits.congestion.on_rtt_sample(elapsed, endpoint._now)
    endpoint._ping_due_at = endpoint._now + ping_interval(endpoint)
    return 0


cdef int _on_newly_acked(Endpoint2State endpoint) except -1:
    """Complete what the packets that an ACK has newly reported have carried."""
    cdef uint32_t i
    cdef int64_t number
    for i in range(endpoint.sent_packets.newly_acked_count):
        number = endpoint.sent_packets.newly_acked[i]
        endpoint.acked += 1
        if endpoint.sent_packets.packet(number).flags & ACK_ELICITING:
            if number >= endpoint.sent_packets.path_start:
                endpoint.send_limits.on_delivery(endpoint._now)
            if endpoint.sent_packets.packet(number).flags & PROBE and (
                endpoint.path_mtu.on_probe_acked(number, endpoint._now)
            ):
                fit_path(endpoint)
            contents = endpoint.sent_packets.take_contents(number)
            if contents is not None:
                _on_contents_acked(
                    endpoint, contents, endpoint.sent_packets.packet(number).sent_at
                )
    return 0


cdef int _on_contents_acked(
    Endpoint2State endpoint, object contents, double sent_at
) except -1:
    cdef ControlFrame frame
    if type(contents) is tuple:
        for frame in <list>(<tuple>contents)[0]:
            endpoint._control.on_acked(frame)
            endpoint._close_acked |= frame.type == CLOSE
        if endpoint._own_ids is not None:
            issue_ids(endpoint)
        contents = (<tuple>contents)[1]
    if contents is None:
        return 0
    return endpoint._queue.on_packet_acked(contents, sent_at, endpoint._now)


cdef double loss_delay_of(Endpoint2State endpoint):
    """Return the age at which a packet is lost if a later one was acked.

    What it exceeds the round-trip time by doubles, up to the round-trip time, with the number of
    later packets that show a loss: a path that reorders by count does so by time as well.
    """
    cdef double widened = endpoint.sent_packets.reordering / <double>PACKET_THRESHOLD
    return endpoint.rtt.loss_delay(min(widened * LOSS_MARGIN, 1.0))


cdef int find_lost(Endpoint2State endpoint) except -1:
    """Send again what was in lost packets, as far as it is to be."""
    cdef int64_t number
    cdef bint probed = False
    while True:
        number = endpoint.sent_packets.pop_lost(
            endpoint._now, loss_delay_of(endpoint), endpoint.send_limits.pto()
        )
        if number == 0:
            break
        if number < endpoint.sent_packets.path_start:
            pass  # it was sent on another path, of which nothing is to be learned
        elif endpoint.sent_packets.packet(number).flags & PROBE:
            endpoint.path_mtu.on_probe_lost(
                number, number < endpoint.sent_packets.newest_acked, endpoint._now
            )
        elif number > endpoint.sent_packets.newest_acked:
            probed = True
        else:
            endpoint.send_limits.congestion.on_packet_lost()
            if endpoint.path_mtu.on_lost(endpoint.sent_packets, number, endpoint._now):
                fit_path(endpoint)
        contents = endpoint.sent_packets.contents(number)
        if contents is not None:
            _on_contents_lost(endpoint, contents, number)
    if probed:
        endpoint.send_limits.on_pto()
        endpoint.path_mtu.on_pto(endpoint.sent_packets.newest)
    return 0


cdef int _on_contents_lost(Endpoint2State endpoint, object contents, int64_t number) except -1:
    cdef ControlFrame frame
    if type(contents) is tuple:
        for frame in <list>(<tuple>contents)[0]:
            if frame.type == WINDOW:
                _on_window_lost(endpoint, frame)
            elif frame.type != CLOSE:  # which is repeated by a timer
                endpoint._control.add_again(frame)
        contents = (<tuple>contents)[1]
    return 0 if contents is None else endpoint._queue.on_packet_lost(contents, number)


cdef int _on_window_lost(Endpoint2State endpoint, ControlFrame window) except -1:
    if not window.is_acked:
        receiver_at(endpoint._receivers, window.channel).order.on_window_lost()
        endpoint._windows_due = True
    return 0
