"""The game's server: applies the players' steps, and tells everybody where everything is.

It decides. A client sends which way its player goes, never where it is, so nobody can be where
the rules do not let them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from mpgameserver import (
    ConnectionStatus,
    EllipticCurvePrivateKey,
    EventHandler,
    ServerClient,
    ServerContext,
    UdpServer,
    format_address,
)
from star.options import key_file
from star.protocol import (
    MAX_PLAYERS,
    TICKS_PER_SNAPSHOT,
    Join,
    Moves,
    Snapshot,
    Welcome,
    decode,
    scores,
)
from star.rules import TICK, Arena


@dataclass
class Seat:
    """The server's record of a client that plays."""

    number: int
    newest_step: int = 0


class StarServer(EventHandler):
    """One game that players join and leave; `context` is for the server that runs it.

    Clients draw by the server's clock, which protocol 1 does not tell them.
    """

    def __init__(self, key: EllipticCurvePrivateKey | None = None) -> None:
        self.context = ServerContext(self, key, minimum_protocol=2)
        self.arena = Arena()
        self._seats: dict[ServerClient, Seat] = {}
        self._version = 0
        self._seconds_left = 0.0

    def disconnect(self, client: ServerClient) -> None:
        """A client has left, or fell silent."""
        seat = self._seats.pop(client, None)
        if seat is not None:
            self.arena.leave(seat.number)
            self._tell_scores()

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """A message of a client; one that makes no sense ends its connection."""
        try:
            message = decode(msg)
        except ValueError as error:
            client.log.info("disconnected: %s", error)
            client.disconnect()
            return
        if isinstance(message, Join) and client not in self._seats:
            self._join(client, message.name)
        elif isinstance(message, Moves) and client in self._seats:
            self._move(self._seats[client], message)

    def update(self, delta_t: float) -> None:
        """Let the ticks pass that are due. Calls may be left out, ticks never are."""
        self._seconds_left += delta_t
        while self._seconds_left >= TICK:
            self._seconds_left -= TICK
            if self.arena.advance():
                self._tell_scores()
            if self.arena.tick % TICKS_PER_SNAPSHOT == 0:
                self._tell_places()

    def _join(self, client: ServerClient, name: str) -> None:
        taken = {seat.number for seat in self._seats.values()}
        free = [number for number in range(1, MAX_PLAYERS + 1) if number not in taken]
        if not free:
            client.disconnect()
            return
        self._seats[client] = Seat(free[0])
        self.arena.join(free[0], name)
        client.send_guaranteed(Welcome(free[0]).encode())
        self._tell_scores()

    def _move(self, seat: Seat, moves: Moves) -> None:
        """Apply the steps that are new, whatever order the messages come in."""
        for number, direction in enumerate(moves.steps, moves.first):
            if number > seat.newest_step:
                seat.newest_step = number
                self.arena.step(seat.number, direction)

    def _listening(self) -> Iterator[tuple[ServerClient, Seat]]:
        """Those who play but for one that is leaving, whose `disconnect` is still to come."""
        for client, seat in self._seats.items():
            if client.status == ConnectionStatus.CONNECTED:
                yield client, seat

    def _tell_scores(self) -> None:
        self._version += 1
        players = self.arena.players.items()
        board = scores(self._version, ((n, player.name, player.points) for n, player in players))
        for client, _ in self._listening():
            client.send_guaranteed(board.encode())

    def _tell_places(self) -> None:
        arena, time = self.arena, self.context.server_time() - self._seconds_left
        places = {number: player.place for number, player in arena.players.items()}
        for client, seat in self._listening():
            snapshot = Snapshot(
                arena.tick, time, seat.newest_step, arena.holder, arena.star, places
            )
            client.send(snapshot.encode())  # once: the next one is newer


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m star.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="0: a free one (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="star.pem", help="private key (%(default)s)"
    )
    options = parser.parse_args()
    key = EllipticCurvePrivateKey.fromPEM(options.key.read_text())
    server = UdpServer(StarServer(key).context, (options.host, options.port))
    print(f"serving on {format_address(server.address)}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
