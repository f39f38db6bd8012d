"""The observable state of an endpoint, and a check that a refused datagram changes none of it."""

from __future__ import annotations

from collections.abc import Callable

from mpgameserver._core.endpoint1 import Endpoint1


def state(endpoint: Endpoint1) -> tuple[object, ...]:
    """All that can be seen of an endpoint but the counters of what was dropped.

    The figures per second are left out: 1,500 numbers, which cost more than all the rest.
    """
    received, sent, rtt = endpoint.received_packets, endpoint.sent_packets, endpoint.rtt
    queue, reassembler, limits = endpoint.send_queue, endpoint.reassembler, endpoint.send_limits
    return (
        (received.newest, received.newest_time, received.ack(), received.ack_bits()),
        (sent.newest, sent.newest_acked, sent.oldest_undecided),
        (rtt.srtt, rtt.rttvar, rtt.latest_rtt, rtt.min_rtt),
        (limits.congestion.packets, limits.congestion.loss, limits.ack_frequency.score),
        (queue.newest, queue.pending, queue.retransmitted, len(queue.completed)),
        (len(reassembler), reassembler.held_bytes, reassembler.discarded),
        (endpoint.assembled, endpoint.sent, endpoint.received, endpoint.acked, endpoint.timeouts),
        (endpoint.inbox_size, endpoint.repeated_messages, endpoint.established),
        (endpoint.last_received, endpoint.disconnect_received, endpoint.challenge),
        (endpoint.ack_is_due(), endpoint.next_timer()),
    )


def checked(endpoint: Endpoint1, receive: Callable[[], str | None]) -> str | None:
    """Call what lets an endpoint take a datagram; the reason if it was refused, else None.

    What is refused must change nothing but one counter, and what is accepted no such counter.
    """
    before, drops = state(endpoint), endpoint.drops
    reason = receive()
    if reason is None:
        assert endpoint.drops == drops, "accepted, and counted as dropped"
        return None
    drops[reason] += 1
    assert endpoint.drops == drops, f"{endpoint.drops} after {reason}"
    after = state(endpoint)
    assert after == before, f"{reason}, and changed from {before} to {after}"
    return reason
