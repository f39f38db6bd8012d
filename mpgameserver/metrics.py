"""Statistics of a server for Prometheus: the extra `metrics`.

    context = ServerContext(Game(), key)
    with MetricsServer(context, ("127.0.0.1", 9474)):
        UdpServer(context, ("0.0.0.0", 1474)).run()

The statistics are those of `ServerFigures` and `ServerStats`. Each scrape asks the server's own
thread for a snapshot, so whoever can scrape can make it work: listen where only Prometheus can
reach it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from types import TracebackType

from mpgameserver import forks
from mpgameserver.server.context import ServerContext
from mpgameserver.server.snapshot import FiguresAsker
from mpgameserver.server.stats import ServerFigures
from mpgameserver.transport.address import host_and_port
from mpgameserver.transport.http import BoundedHttpServer

try:
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as _missing:
    raise ImportError(
        "mpgameserver.metrics needs prometheus-client: pip install prometheus-client"
    ) from _missing

__all__ = ["MetricsServer", "ServerCollector"]

ANSWER_TIMEOUT = 2.0
"""Seconds that a reading waits for the server's thread; one that has no server waits as long."""

_Labelled = dict[str, float]


class ServerCollector(Collector):
    """The statistics of a context's server, for a registry of `prometheus_client`.

    Make it before the server. While no server runs, or its thread does not answer within 2 seconds,
    `mpgameserver_up` is 0 and is the only metric. Do not collect on the server's own thread.

    Parameters:
        context: the context of the server.
    """

    def __init__(self, context: ServerContext) -> None:
        self._asker = FiguresAsker(context)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: a registry must not ask for statistics when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of a new snapshot."""
        figures = self._asker.wait(ANSWER_TIMEOUT)
        yield _gauge("up", "1 if a server replies, otherwise 0.", float(figures is not None))
        if figures is not None:
            yield from _sessions(figures)
            yield from _loop(figures)
            yield from _traffic(figures)
            yield from _send_errors(figures)
            yield from _handshakes(figures)


class MetricsServer:
    """Serves metrics to Prometheus over HTTP, in a few threads of its own.

    Make it before the context's server. It listens from the moment it is made until `close`, and is
    a context manager. `address` is the (host, port) that it listens on. Once it listens, a request
    that finds no thread is refused, and one that finds no file descriptor waits.

    Parameters:
        context: the context of the server.
        addr: a pair (host, port) to listen on; port 0 takes a free port.

    Raises:
        TypeError: `addr` is not such a pair.
        ValueError: the port is out of range.
        OSError: the address cannot be listened on.
        RuntimeError: the system has no thread left. After any of these, nothing has changed.
    """

    def __init__(self, context: ServerContext, addr: tuple[str, int]) -> None:
        host, port = host_and_port(addr, least_port=0)
        self._server = BoundedHttpServer((host, port))
        self.address: tuple[str, int] = (host, self._server.server_port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="mpgameserver-metrics", daemon=True
        )
        self._is_inherited = False
        try:
            self._thread.start()
        except BaseException:
            self._server.server_close()
            raise
        forks.end_in_child(self)
        registry = CollectorRegistry()
        registry.register(ServerCollector(context))  # last, for it changes the context
        self._server.set_app(make_wsgi_app(registry))

    def close(self) -> None:
        """Stop listening."""
        if self._is_inherited:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def end_in_child(self) -> None:
        """Stop listening in the child: the threads are the parent process's."""
        self._is_inherited = True
        self._server.end_in_child()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _sessions(figures: ServerFigures) -> Iterator[Metric]:
    protocols: _Labelled = dict(figures.stats.protocols)
    yield _gauge("clients", "Sessions, by protocol.", protocols, "protocol")
    trips = {"0.5": figures.latency_median, "0.99": figures.latency_p99}
    yield _gauge(
        "latency_seconds",
        "Smoothed round-trip times of the clients: median and 99th percentile.",
        {quantile: trip for quantile, trip in trips.items() if trip is not None},
        "quantile",
    )
    yield _gauge("send_queue_bytes", "Bytes queued for clients.", figures.send_queue_bytes)
    yield _gauge("reassembly_bytes", "Bytes of incomplete messages.", figures.reassembly_bytes)
    yield _gauge("inbox_bytes", "Bytes of messages waiting for the handler.", figures.inbox_bytes)
    yield _gauge("unacked_bytes", "Bytes of queued and unacked messages.", figures.unacked_bytes)
    yield _gauge(
        "waiting_sessions", "Sessions waiting for their turn.", figures.stats.waiting_sessions
    )
    ends: _Labelled = dict(figures.stats.ends)
    yield _counter("sessions_ended", "Sessions that have ended, by reason.", ends, "reason")
    yield _counter("moves", "Changes of address of clients.", figures.stats.moves)
    yield _gauge("events_running", "Coroutine events in progress.", figures.events_running)
    yield _gauge("events_waiting", "Events waiting for coroutine events.", figures.events_waiting)
    yield _gauge("events_waiting_bytes", "Bytes of those.", figures.events_waiting_bytes)
    yield _counter("events_dropped", "Waiting events of clients that left.", figures.events_dropped)


def _loop(figures: ServerFigures) -> Iterator[Metric]:
    yield _gauge("uptime_seconds", "Time since the server began to serve.", figures.uptime)
    yield _counter("ticks", "Update events of the handler.", figures.ticks)
    yield _counter(
        "busy_seconds",
        "Time of the server's thread, by phase.",
        {
            "receive": figures.receive_seconds,
            "handler": figures.handler_seconds,
            "send": figures.send_seconds,
        },
        "phase",
    )


def _traffic(figures: ServerFigures) -> Iterator[Metric]:
    received, sent = figures.datagrams_received, figures.datagrams_sent
    yield _counter(
        "datagrams", "Datagrams, by direction.", {"in": received, "out": sent}, "direction"
    )
    octets: _Labelled = {"in": figures.bytes_received, "out": figures.bytes_sent}
    yield _counter("bytes", "Bytes of UDP payload, by direction.", octets, "direction")
    yield _counter("packets_sent", "Packets sent by sessions.", figures.packets_sent)
    yield _counter("packets_acked", "Packets acked.", figures.packets_acked)
    yield _counter(
        "packets_timed_out",
        "Packets not acked in time.",
        figures.packets_timed_out,
    )
    yield _counter(
        "retransmissions", "Messages and fragments retransmitted.", figures.retransmitted
    )
    drops: _Labelled = dict(figures.stats.drops)
    yield _counter("drops", "Datagrams dropped, by reason.", drops, "reason")
    messages: _Labelled = {
        "repeated": figures.messages_repeated,
        "discarded": figures.messages_discarded,
    }
    yield _counter(
        "message_drops", "Messages of accepted packets that were dropped.", messages, "reason"
    )


def _send_errors(figures: ServerFigures) -> Iterator[Metric]:
    text = "Datagrams that the system refused to send."
    yield _counter("send_errors", text, dict(figures.stats.send_errors), "error")


def _handshakes(figures: ServerFigures) -> Iterator[Metric]:
    stats = figures.stats
    yield _gauge("joining", "Sessions whose clients are not admitted yet.", stats.joining)
    yield _gauge("half_open", "Handshakes answered that are not a session yet.", stats.half_open)
    yield _gauge("waiting_hellos", "Hellos waiting for a reply.", stats.waiting_hellos)
    yield _gauge("hellos_put_off", "Hellos deferred for want of room.", stats.hellos_put_off)
    yield _counter("hellos_answered", "Handshakes begun.", stats.hellos_answered)
    yield _counter("answers_repeated", "Replies repeated.", stats.answers_repeated)
    yield _counter("retries", "Hellos that were asked for a cookie.", stats.retries)
    yield _counter("resets", "Sealed packets answered with a stateless reset.", stats.resets)
    yield _counter("key_exchanges", "Session keys computed.", stats.key_exchanges)
    yield _counter("handshakes_proved", "Handshakes that became sessions.", stats.handshakes_proved)
    yield _counter("handshakes_evicted", "Handshakes evicted.", stats.handshakes_evicted)
    yield _counter("messages_refused", "Messages of other threads dropped.", stats.messages_refused)


def _gauge(name: str, text: str, value: float | _Labelled, label: str = "") -> Metric:
    family = GaugeMetricFamily(f"mpgameserver_{name}", text, labels=[label] if label else None)
    return _filled(family, value)


def _counter(name: str, text: str, value: float | _Labelled, label: str = "") -> Metric:
    family = CounterMetricFamily(f"mpgameserver_{name}", text, labels=[label] if label else None)
    return _filled(family, value)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, value: float | _Labelled) -> Metric:
    values = {(key,): v for key, v in value.items()} if isinstance(value, dict) else {(): value}
    for labels, number in values.items():
        family.add_metric(labels, number)
    return family
