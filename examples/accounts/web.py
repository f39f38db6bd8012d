"""The account service over HTTPS, with the standard library."""

from __future__ import annotations

import argparse
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from accounts.files import Files, files_in_place
from accounts.service import Answer, GameAddress, Service
from accounts.store import Accounts
from accounts.tokens import TokenMaker, game_of
from mpgameserver import EllipticCurvePrivateKey, EllipticCurvePublicKey, format_address

MAX_BODY_BYTES = 4096
MAX_REQUESTS = 16
"""At a time. Each may be computing a hash, which takes 16 MiB; more are turned away."""
REQUEST_TIMEOUT = 10.0
"""Seconds that one read may take, that of the TLS handshake included."""

_LOG = logging.getLogger("accounts")


class Web(ThreadingHTTPServer):
    """Serves from the moment that `serve_forever` is called."""

    def __init__(self, address: tuple[str, int], files: Files, service: Service) -> None:
        self.service = service
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(files.certificate, files.https_key)
        self._room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, and leave the TLS handshake to the request's own thread: it may take long."""
        sock, address = super().get_request()
        return self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a request in a thread of its own, if there is room for one more."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a request, and make room for another one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a request has raised: a handshake that failed is nothing to be told aloud."""
        _LOG.debug("request of %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Web
    timeout = REQUEST_TIMEOUT
    server_version, sys_version = "accounts", ""

    def do_POST(self) -> None:
        """Answer with JSON."""
        answer = self._answer()
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log; what is asked has names of paths only, for passwords are in the body."""
        _LOG.info("%s " + format, self.address_string(), *arguments)

    def _answer(self) -> Answer:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            error = f"a body of up to {MAX_BODY_BYTES} bytes is wanted"
            return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": error})
        try:
            request = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return Answer(HTTPStatus.BAD_REQUEST, {"error": "JSON is wanted"})
        return self.server.service.answer(self.path, request, self.client_address[0], time.time())


def open_web(files: Files, address: tuple[str, int], game: tuple[str, int]) -> Web:
    """The service that the files make, listening; `game` is where the game server is."""
    game_key = EllipticCurvePublicKey.fromPEM(files.game_public_key.read_text())
    token_key = EllipticCurvePrivateKey.fromPEM(files.token_key.read_text())
    service = Service(
        Accounts(files.database),
        TokenMaker(token_key, game_of(game_key)),
        GameAddress(*game, game_key),
    )
    return Web(address, files, service)


def main() -> None:
    """Serve until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m accounts.web", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8443, help="0: a free one (%(default)s)")
    parser.add_argument("--game-host", default="127.0.0.1", help="for players (%(default)s)")
    parser.add_argument("--game-port", type=int, default=1474, help="(%(default)s)")
    options = parser.parse_args()
    game = options.game_host, options.game_port
    with open_web(files_in_place(), (options.host, options.port), game) as web:
        listening = format_address((options.host, web.server_address[1]))
        print(f"serving on {listening}", flush=True)
        with suppress(KeyboardInterrupt):
            web.serve_forever()


if __name__ == "__main__":
    main()
