"""The parts of the benchmark that are not a matter of the machine."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A function that imports a module of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCH)):
            del sys.modules[name]


def test_a_spread_is_the_median_and_the_ends(module):
    spread = module("timing").Spread.of([3.0, 1.0, 2.0, 9.0, 2.5])
    assert (spread.median, spread.least, spread.most) == (2.5, 1.0, 9.0)


def test_cases_take_turns_and_the_first_round_is_not_counted(module):
    order = []

    def case(name, values):
        left = iter(values)

        def timed():
            order.append(name)
            return next(left)

        return timed

    found = module("timing").interleave(
        {"a": case("a", [100.0, 1.0, 3.0]), "b": case("b", [100.0, 2.0, 2.0])}, 2
    )
    assert order == ["a", "b"] * 3
    assert (found["a"].median, found["b"].median) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("value", "baseline", "target", "holds", "result"),
    [
        (3.0, 2.0, 1.5, True, "1.50 x"),
        (3.0, 2.0, 1.4, False, "1.50 x"),
        (0.4, None, 0.5, True, "0.40 µs"),
        (0.6, None, 0.5, False, "0.60 µs"),
    ],
)
def test_a_figure_holds_when_its_ratio_or_its_time_does(
    module, value, baseline, target, holds, result
):
    spread = module("timing").Spread
    against = None if baseline is None else spread.of([baseline])
    figure = module("figures").Figure(1, "it", spread.of([value]), target, "that", against)
    assert (figure.holds, figure.result) == (holds, result)
    assert figure.as_dict()["holds"] is holds


@pytest.mark.parametrize(("value", "holds"), [(99.0, False), (100.0, True)])
def test_a_rate_holds_from_its_target_on(module, value, holds):
    spread = module("timing").Spread.of([value])
    figure = module("figures").Figure(3, "it", spread, 100.0, unit="MB/s", at_least=True)
    assert (figure.holds, figure.limit) == (holds, "≥ 100 MB/s")


def test_what_has_no_target_is_not_judged(module):
    figure = module("figures").Figure(2, "it", module("timing").Spread.of([1.0]), None)
    assert (figure.holds, figure.limit, figure.verdict) == (None, "", "")


@pytest.fixture
def peer(monkeypatch):
    """The module that the programs of the peers share."""
    monkeypatch.syspath_prepend(str(BENCH / "peers"))
    yield import_module("peer")
    sys.modules.pop("peer", None)


def test_a_bulk_transfer_is_over_once_when_all_of_it_has_come(peer):
    count = peer.BulkCount()
    assert not count.takes(b"echo")
    found = [(count.takes(part), count.is_over()) for part in (peer.BULK + b"5", b"abc", b"de")]
    assert found == [(True, False), (True, False), (True, True)]
    assert not count.is_over()
    assert not count.takes(b"echo")


def test_an_echo_is_timed_from_when_the_client_is_connected(peer, monkeypatch, capsys):
    now = iter([100.0, 100.5, 101.0, 102.0])
    monkeypatch.setattr(peer.time, "perf_counter", lambda: next(now))
    count = peer.Echo(outstanding=32, seconds=1.0)
    assert [count.counts(answers) for answers in (0, 10, 10)] == [True, True, False]
    count.report()
    assert json.loads(capsys.readouterr().out) == {"rate": 10.0}


def test_the_parts_of_a_transfer_are_all_of_it(peer):
    assert [len(part) for part in peer.parts(peer.LARGEST + 5)] == [peer.LARGEST, 5]


@pytest.mark.parametrize("kind", ["profile", "debug", "sanitize"])
def test_a_build_with_hooks_is_not_measured(module, monkeypatch, capsys, kind):
    run = module("run")
    info = type("Info", (), {"kind": kind})
    monkeypatch.setattr(run, "build_info", lambda: info)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run.main() == 2
    assert f"this is a {kind} build" in capsys.readouterr().err


def test_every_case_does_what_it_measures(module):
    hotpath = module("hotpath")
    from mpgameserver import RetryMode

    cases = [hotpath.exchange(16, 10, mode, 20) for mode in RetryMode]
    cases += [hotpath.receive_with_in_flight(n, 100) for n in (1, 1024)]
    cases += [
        hotpath.reject(hotpath.forged, 20, "forged"),
        hotpath.reject(hotpath.behind, 20, "too late"),
        hotpath.reject(hotpath.misdirected, 20, "misdirected"),
        hotpath.failing_open(66, 20),
        hotpath.floor(66, 20),
    ]
    assert all(timed() > 0 for timed in cases)


@pytest.mark.parametrize("capacity", [0, 255, 256, 1000, 4095, 4096, 9999])
def test_the_largest_crowd_is_found_to_within_a_step(module, capacity):
    crowds = module("crowds")
    found = crowds.largest(lambda count: count <= capacity, 4096 + 256)
    assert found <= capacity
    assert found + crowds.STEP > min(capacity, 4096 + 256) - crowds.STEP


@pytest.mark.parametrize(
    ("change", "served"),
    [({}, True), ({"lost": 1}, False), ({"p99": 0.041}, False), ({"limited": True}, False)],
)
def test_a_crowd_is_served_when_nothing_is_lost_or_late(module, change, served):
    found = {"lost": 0, "p99": 0.04, "limited": False} | change
    assert module("crowds").is_served(found) is served


def test_a_crowd_shares_its_turns_out_evenly(module):
    crowd = module("crowd")
    turns = []
    bots = crowd.Crowd.__new__(crowd.Crowd)
    bots.bots, bots.read = list("abcd"), lambda: 1
    late, _ = bots.run(4000.0, 0.05, lambda bot, now: turns.append(bot))
    assert turns[:8] == list("abcdabcd")
    assert abs(len(turns) - 200) <= 4000.0 * (late + 0.01)


RESULTS = {
    "date": "2026-11-24",
    "machine": {
        "processor": "a processor",
        "cores": 2,
        "system": "a system",
        "python": "3.11",
        "cryptography": "50",
    },
}


def test_the_page_has_every_figure_of_the_results(module):
    spread, figure = module("timing").Spread, module("figures").Figure
    figures = [
        figure(
            2, "an echo", spread(3000.0, 2000.0, 4000.0), 2.0, "ENet", spread.of([1000.0]), "/s"
        ),
        figure(8, "a frame", spread.of([0.5]), 1.0),
    ]
    page = module("report").page(RESULTS | {"figures": [each.as_dict() for each in figures]})
    assert "| an echo | 3,000 /s (2,000 to 4,000) | ENet | 1,000 /s (1,000 to 1,000) |" in page
    assert "| 3.00 x | ≤ 2 x | falls short |" in page
    assert "| a frame | 0.50 µs (0.50 to 0.50) |  |  | 0.50 µs | ≤ 1 µs | holds |" in page
    assert "Measured on 2026-11-24: a processor, 2 cores" in page


def test_the_page_in_the_docs_is_that_of_the_results_on_record(module):
    report = module("report")
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert report.PAGE.read_text(encoding="utf-8") == report.page(results)


def test_a_load_may_take_a_twentieth_more_than_on_record(module):
    grown = module("instructions").grown
    assert grown({"a": 1050, "new": 5}, {"a": 1000}) == []
    assert grown({"a": 1051}, {"a": 1000}) == ["a: 1,051 instructions, +5.1%"]
