"""Compiled classes in every state that Python code can bring them into.

`__new__` without `__init__`, a subclass that does not call it, any method with any arguments: each
may raise what it likes, but none may crash the interpreter.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from support.endpoints import new_endpoint
from support.everymethod import compiled_classes

from mpgameserver._core.ack_frequency import AckFrequency
from mpgameserver._core.connection import Connection
from mpgameserver._core.fragmenter import Reassembler
from mpgameserver._core.send_queue import SendQueue
from mpgameserver._core.sent_window import SentWindow

EVERY_METHOD = Path(__file__).parents[1] / "support" / "everymethod.py"


def test_no_method_of_any_instance_crashes_the_interpreter():
    command = [sys.executable, "-X", "faulthandler", str(EVERY_METHOD)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr[-4000:])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(compiled_classes())


def test_a_connection_without_an_endpoint_is_not_made():
    with pytest.raises(TypeError, match="positional arguments"):
        Connection.__new__(Connection)


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_endpoint_cannot_be_pickled_or_copied(make):
    with pytest.raises(TypeError, match=r"cannot pickle .*Endpoint"):
        make(new_endpoint())


@pytest.mark.parametrize("number", [-1, 2**62 + 1])
def test_a_number_that_could_overflow_is_refused(number):
    frequency, reassembler = AckFrequency(), Reassembler()
    for take in (
        SentWindow,
        lambda number: SendQueue(1472, number),
        lambda number: new_endpoint(packets_before=number),
        lambda number: new_endpoint(messages_before=number),
        lambda number: frequency.on_packet_sent(number, 1, 1.0),
        lambda number: frequency.on_packet_sent(1, number, 1.0),
        lambda number: reassembler.add(bytes(6), number, 1.0),
    ):
        with pytest.raises(ValueError, match=r"must be 0\.\.\."):
            take(number)


@pytest.mark.parametrize("number", [-(2**63), -1, 2**62 + 1, 2**63 - 1])
def test_an_ack_of_a_number_that_was_never_sent_says_nothing(number):
    frequency = AckFrequency()
    frequency.on_ack(number, 0xFFFFFFFF)
    assert (frequency.score, frequency.is_frequent) == (0, False)
