"""The pictures of the reliability modes show a run that can be had again: `make pictures`."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mpgameserver import RetryMode

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
DESCRIPTION = re.compile(r"<dc:description>(.*?)</dc:description>", re.S)

Talk = dict[str, Any]


@pytest.fixture(scope="module")
def talks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("talks", PICTURES / "talks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["talks"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def drawn(mode: RetryMode) -> Talk:
    """What the picture of a mode says that it shows."""
    svg = (PICTURES / f"{mode.name.lower().replace('_', '-')}.svg").read_text()
    found: Talk = json.loads(DESCRIPTION.findall(svg)[0].replace("&quot;", '"'))
    return found


def departures(talk: Talk, text: str) -> list[float]:
    return [flight["left"] for flight in talk["flights"] if text in flight["messages"]]


def first_is_lost(talk: Talk, text: str) -> bool:
    first = next(flight for flight in talk["flights"] if text in flight["messages"])
    return first["arrived"] is None


@pytest.mark.parametrize("mode", RetryMode)
def test_a_picture_shows_what_happens_in_a_new_run(talks: ModuleType, mode: RetryMode) -> None:
    assert drawn(mode) == json.loads(talks.talk(mode).to_json())


@pytest.mark.parametrize("mode", RetryMode)
def test_the_same_datagrams_are_lost_at_first(mode: RetryMode) -> None:
    talk = drawn(mode)
    assert [first_is_lost(talk, text) for text in "ABC"] == [False, True, False]


def test_none_is_sent_once_and_given_up_after_a_second() -> None:
    talk = drawn(RetryMode.NONE)
    assert [len(departures(talk, text)) for text in "ABC"] == [1, 1, 1]
    assert set(talk["handled"]) == {"A", "C"}
    assert {text: acked for text, (_, acked) in talk["callbacks"].items()} == {
        "A": True,
        "B": False,
        "C": True,
    }
    assert talk["callbacks"]["B"][0] - departures(talk, "B")[0] == pytest.approx(1.0, abs=0.02)


def test_best_effort_is_repeated_at_the_interval_until_it_is_acked() -> None:
    talk = drawn(RetryMode.BEST_EFFORT)
    left = departures(talk, "B")
    steps = [later - earlier for earlier, later in pairwise(left)]
    assert steps == pytest.approx([0.1] * len(steps), abs=0.001)
    settled, acked = talk["callbacks"]["B"]
    assert acked
    assert left[-1] < settled < left[-1] + 0.1
    assert len(departures(talk, "C")) == 2


def test_retry_on_timeout_is_repeated_when_the_loss_is_known() -> None:
    talk = drawn(RetryMode.RETRY_ON_TIMEOUT)
    _, again, rode = departures(talk, "B")
    arrivals = [f["arrived"] for f in talk["flights"] if not f["is_up"]]
    assert again in arrivals  # of the ack that told it
    assert again == pytest.approx(0.58, abs=0.005)
    assert rode == departures(talk, "C")[0]
    assert all(acked for _, acked in talk["callbacks"].values())
    assert set(talk["handled"]) == set("ABC")
