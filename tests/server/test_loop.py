"""The states of a server's loop: every operation in every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mpgameserver import EventHandler, ServerContext
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.server.client import ServerClient
from mpgameserver.server.loop import ServerLoop, State
from mpgameserver.server.stats import ServerStats

KEY = EllipticCurvePrivateKey.new()
ALREADY_RUN = "this server has already run; make a new one"
OF_THE_PARENT = "this server is the parent process's; make a new one"
RUN_SERVES = "run() serves: use stop()"


class Server:
    """Owns a loop, as far as its context asks."""

    clients: tuple[ServerClient, ...] = ()
    stats = ServerStats()
    now = 0.0

    def __init__(self) -> None:
        self.context = ServerContext(EventHandler(), KEY)
        self.closed = 0
        self.loop = ServerLoop(
            self.context, ("127.0.0.1", 0), self.context.events, on_closed=self._count_closed
        )

    def _count_closed(self) -> None:
        self.closed += 1

    def wake(self) -> None:
        """Nobody waits."""

    def run(self) -> bool:
        return self.loop.claim(self, State.RUNNING)

    def update(self) -> bool:
        return self.loop.update(self)


OPERATIONS: dict[str, Callable[[Server], object]] = {
    "run": Server.run,
    "update": Server.update,
    "stop": lambda server: server.loop.stop(),
    "release": lambda server: server.loop.release(),
    "close": lambda server: server.loop.close(),
    "fork": lambda server: server.loop.end_in_child(),
}
WAYS_TO = {
    State.LISTENING: (),
    State.RUNNING: ("run",),
    State.DRIVEN: ("update",),
    State.RAN: ("run", "release"),
    State.STOPPED: ("update", "close"),
    State.CLOSED: ("close",),
    State.INHERITED: ("fork",),
}
# For each state, what each operation leads to: another state, or the error that refuses it.
OUTCOMES: dict[State, dict[str, State | str]] = {
    State.LISTENING: {
        "run": State.RUNNING,
        "update": State.DRIVEN,
        "stop": State.CLOSED,
        "release": State.CLOSED,
        "close": State.CLOSED,
        "fork": State.INHERITED,
    },
    State.RUNNING: {
        "run": ALREADY_RUN,
        "update": ALREADY_RUN,
        "stop": State.RUNNING,
        "release": State.RAN,
        "close": RUN_SERVES,
        "fork": State.RAN,
    },
    State.DRIVEN: {
        "run": ALREADY_RUN,
        "update": State.DRIVEN,
        "stop": State.DRIVEN,
        "release": State.STOPPED,
        "close": State.STOPPED,
        "fork": State.STOPPED,
    },
    State.RAN: {
        "run": ALREADY_RUN,
        "update": ALREADY_RUN,
        "stop": State.RAN,
        "release": State.RAN,
        "close": RUN_SERVES,
        "fork": State.RAN,
    },
    State.STOPPED: {
        "run": ALREADY_RUN,
        **dict.fromkeys(("update", "stop", "release", "close", "fork"), State.STOPPED),
    },
    State.CLOSED: dict.fromkeys(OPERATIONS, State.CLOSED),
    State.INHERITED: {
        "run": OF_THE_PARENT,
        "update": OF_THE_PARENT,
        **dict.fromkeys(("stop", "release", "close", "fork"), State.INHERITED),
    },
}
OVER = {State.RAN, State.STOPPED, State.CLOSED, State.INHERITED}


@contextmanager
def server_in(state: State) -> Iterator[Server]:
    server = Server()
    try:
        for name in WAYS_TO[state]:
            OPERATIONS[name](server)
        assert server.loop.state is state
        yield server
    finally:
        server.loop.release()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_an_operation_leads_to_its_state_or_is_refused(state: State, name: str) -> None:
    outcome = OUTCOMES[state][name]
    with server_in(state) as server:
        if isinstance(outcome, str):
            with pytest.raises(RuntimeError) as error:
                OPERATIONS[name](server)
            assert (str(error.value), server.loop.state) == (outcome, state)
        else:
            OPERATIONS[name](server)
            assert server.loop.state is outcome


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_socket_is_closed_exactly_in_the_states_that_are_over(state: State) -> None:
    with server_in(state) as server:
        is_over = state in OVER
        assert server.loop.is_over is is_over
        assert (server.loop.socket.fileno() == -1) is is_over
        assert server.loop.filenos() == (() if is_over else (server.loop.socket.fileno(),))
        assert server.closed == is_over


def test_run_and_update_say_whether_they_serve() -> None:
    with server_in(State.LISTENING) as server:
        assert server.run()
    with server_in(State.LISTENING) as server:
        assert server.update()
    for state in (State.CLOSED, State.STOPPED):
        with server_in(state) as server:
            assert not server.update()
    with server_in(State.CLOSED) as server:
        assert not server.run()


def test_stop_asks_a_server_that_serves_to_shut_down() -> None:
    for state in (State.RUNNING, State.DRIVEN):
        with server_in(state) as server:
            server.loop.stop()
            assert server.context.is_shutting_down


def test_a_server_that_is_asked_to_stop_is_stopped_by_its_next_update() -> None:
    with server_in(State.DRIVEN) as server:
        server.loop.stop()
        assert not server.update()
        assert server.loop.state is State.STOPPED


def test_timings_that_contradict_each_other_leave_it_listening() -> None:
    with server_in(State.LISTENING) as server:
        server.context.setKeepAliveInterval(10.0)
        with pytest.raises(ValueError, match="keep-alive interval"):
            server.run()
        assert server.loop.state is State.LISTENING


def test_another_server_of_the_context_leaves_it_listening() -> None:
    with server_in(State.RUNNING) as first, server_in(State.LISTENING) as second:
        second.context.attach(first)
        with pytest.raises(RuntimeError, match="another server runs this context"):
            second.run()
        assert second.loop.state is State.LISTENING


def test_an_event_that_raises_in_starting_closes_it() -> None:
    class Failing(EventHandler):
        def starting(self) -> None:
            raise LookupError("no map")

    server = Server()
    server.loop.engine.handler = Failing()
    with pytest.raises(LookupError):
        server.update()
    assert server.loop.state is State.STOPPED
