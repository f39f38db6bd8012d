"""A game server for those who have an account: a hall in which everybody hears who says what."""

from __future__ import annotations

import argparse
import logging
import time

from accounts.files import Files, files_in_place
from accounts.gate import GuardedHandler
from accounts.tokens import TokenChecker, game_of
from mpgameserver import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    ServerClient,
    ServerContext,
    UdpServer,
    format_address,
)

MAX_WORDS_BYTES = 200


class Hall(GuardedHandler):
    """Tells everybody who comes, who goes, and who says what. Nobody chooses their own name."""

    def joined(self, client: ServerClient) -> None:
        """Tell everybody."""
        self._tell(f"{client.identity} has come in")

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Pass it on, under the name of the account."""
        words = msg[:MAX_WORDS_BYTES].decode(errors="replace")
        self._tell(f"{client.identity}: {words}")

    def left(self, client: ServerClient) -> None:
        """Tell the others."""
        self._tell(f"{client.identity} has left")

    def _tell(self, line: str) -> None:
        for client in self.players:
            client.send_guaranteed(line.encode())


def game_context(files: Files) -> ServerContext:
    """The server that the files make."""
    key = EllipticCurvePrivateKey.fromPEM(files.game_key.read_text())
    token_key = EllipticCurvePublicKey.fromPEM(files.token_public_key.read_text())
    checker = TokenChecker(token_key, game_of(key.getPublicKey()), time.time())
    return ServerContext(Hall(checker), key, minimum_protocol=2)  # protocol 1 has no credential


def main() -> None:
    """Serve until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m accounts.game", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="0: a free one (%(default)s)")
    options = parser.parse_args()
    server = UdpServer(game_context(files_in_place()), (options.host, options.port))
    print(f"serving on {format_address(server.address)}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
