"""The exporter for Prometheus, and the dashboard for Grafana that reads it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mpgameserver import metrics
from mpgameserver.metrics import MetricsServer, ServerCollector
from mpgameserver.server import ThreadedServer
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.stats import ServerFigures, ServerStats

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "docs" / "grafana" / "mpgameserver.json"
LOOPBACK = ("127.0.0.1", 0)
METRIC = re.compile(r"\bmpgameserver_\w+")
LABEL = re.compile(r'(?:by|ignoring) \((\w+)\)|\b(\w+)="[\d.]+"|\{\{(\w+)\}\}')

Samples = dict[str, dict[tuple[str, ...], float]]


def read(address: tuple[str, int]) -> Samples:
    """The samples of the exporter, by name and values of the labels."""
    with urllib.request.urlopen("http://{}:{}/metrics".format(*address), timeout=10) as answer:
        text = answer.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def stray(address: tuple[str, int]) -> None:
    """Send a server what belongs to nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outsider:
        outsider.sendto(b"stray", address)


@pytest.fixture
def context() -> ServerContext:
    return ServerContext(EventHandler())


@pytest.fixture
def exporter(context: ServerContext) -> Iterator[MetricsServer]:
    with MetricsServer(context, LOOPBACK) as running:
        yield running


def everything(figures: ServerFigures, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The metrics of figures that were made up."""
    collector = ServerCollector(ServerContext(EventHandler()))
    monkeypatch.setattr(collector._asker, "wait", lambda seconds: figures)
    return list(collector.collect())


def test_a_running_server_is_read_over_http(
    context: ServerContext, exporter: MetricsServer
) -> None:
    with ThreadedServer(context, LOOPBACK) as server:
        stray(server.address)
        samples = read(exporter.address)
        while "mpgameserver_drops_total" not in samples:
            samples = read(exporter.address)
    assert samples["mpgameserver_up"] == {(): 1}
    assert samples["mpgameserver_drops_total"] == {("no session",): 1}
    assert samples["mpgameserver_datagrams_total"] == {("in",): 1, ("out",): 0}
    assert samples["mpgameserver_bytes_total"] == {("in",): 5, ("out",): 0}
    assert samples["mpgameserver_clients"] == {("1",): 0, ("2",): 0}
    assert samples["mpgameserver_uptime_seconds"][()] > 0


def test_without_a_server_it_is_not_up(
    exporter: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "ANSWER_TIMEOUT", 0.01)
    assert read(exporter.address) == {"mpgameserver_up": {(): 0}}


def test_no_figure_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number has a value of its own, which is found again in what is told.

    The clients are told by protocol.
    """
    labelled = ("drops", "send_errors", "protocols", "ends")
    names = [f.name for f in fields(ServerFigures) if f.name not in ("stats", "connections")]
    numbers = {name: 1000.0 + place for place, name in enumerate(names)}
    counts = [f.name for f in fields(ServerStats) if f.name not in (*labelled, "clients")]
    stats = {name: 2000 + place for place, name in enumerate(counts)}
    figures = ServerFigures(
        **numbers,
        stats=ServerStats(
            **stats,
            drops={"authentication failed": 3000, "busy": 3001},
            send_errors={"EPERM": 3002},
            protocols={"1": 3003, "2": 3004},
            ends={"timeout": 3005},
        ),
    )
    samples = [s for family in everything(figures, monkeypatch) for s in family.samples]
    told = {sample.value for sample in samples}
    assert told == {1, *numbers.values(), *stats.values(), *range(3000, 3006)}


def test_there_is_no_latency_before_the_first_client(monkeypatch: pytest.MonkeyPatch) -> None:
    families = {family.name: family for family in everything(ServerFigures(), monkeypatch)}
    assert families["mpgameserver_latency_seconds"].samples == []


def test_to_register_it_asks_nobody(
    context: ServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = ServerCollector(context)
    monkeypatch.setattr(collector, "collect", lambda: pytest.fail("asked"))
    CollectorRegistry().register(collector)


def test_a_port_that_is_taken_is_an_error_at_once(
    context: ServerContext, exporter: MetricsServer
) -> None:
    with pytest.raises(OSError, match="in use"):
        MetricsServer(context, exporter.address)
    with pytest.raises(ValueError, match="port"):
        MetricsServer(context, ("127.0.0.1", 70000))


def test_without_prometheus_client_the_error_names_the_extra() -> None:
    program = "import sys; sys.modules['prometheus_client'] = None; import mpgameserver.metrics"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/")
    assert ran.returncode == 1
    assert "pip install prometheus-client" in ran.stderr


def expressions() -> list[tuple[str, str]]:
    """Every expression of the dashboard, with the legend that it feeds."""
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    return [(t["expr"], t["legendFormat"]) for t in targets] + [(q, "") for q in queries]


def test_every_expression_of_the_dashboard_names_what_is_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = ServerFigures(
        latency_median=0.1, latency_p99=0.2, stats=ServerStats(drops={"x": 1}, ends={"x": 1})
    )
    labels: dict[str, set[str]] = {}
    quantiles = set()
    for family in everything(figures, monkeypatch):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
            quantiles.add(sample.labels.get("quantile"))
    used = set()
    for expression, legend in expressions():
        names = METRIC.findall(expression)
        assert names, expression
        used.update(names)
        assert set(names) <= labels.keys(), expression
        known = set().union(*(labels[name] for name in names))
        wanted = {name for groups in LABEL.findall(expression + legend) for name in groups if name}
        assert wanted <= known, expression
        assert set(re.findall(r'quantile="([^"]*)"', expression)) <= quantiles
        assert all(expression.count(a) == expression.count(b) for a, b in ("()", "[]", "{}"))
        is_counter = [name for name in names if name.endswith("_total")]
        assert len(is_counter) == expression.count("rate("), expression
    assert labels.keys() - used == {"mpgameserver_hellos_put_off"}


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        cells = {(column, row) for column in columns for row in rows}
        assert not cells & taken, panel["title"]
        taken |= cells
