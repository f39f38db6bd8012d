"""An HTTP server that takes a bounded number of requests, each for a bounded time.

The servers of the standard library and of `prometheus_client` give each connection a thread for as
long as the peer likes, even if it sends no request.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from mpgameserver.transport.address import resolve

__all__ = ["BoundedHttpServer", "SilentHandler"]

MAX_REQUESTS = 16
"""Requests in progress, each with a thread: several readers, and some that hang. A further one
closes the oldest, because an honest request takes milliseconds."""
MAX_REQUEST_SECONDS = 5.0
"""Seconds from the connection to the end of the response."""
SLOT_TIMEOUT = 3.0
"""Seconds to wait for the thread of a request that was closed, which may be waiting for statistics.
Then the new one is refused."""
ACCEPT_PAUSE = 0.1
"""Seconds to wait if a connection cannot be accepted because no file descriptor is left. It stays
pending, and must not keep the thread busy."""


class SilentHandler(WSGIRequestHandler):
    """Logs no requests: anyone can make them."""

    def log_message(self, format: str, *args: Any) -> None:  # the name in the base class
        """Log nothing."""


class BoundedHttpServer(ThreadingMixIn, WSGIServer):
    """A WSGI server with at most `MAX_REQUESTS` threads.

    Raises OSError if the address is not available. Later it raises nothing: if no
    thread or file descriptor is left, a request is refused or waits.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self._ended = threading.Condition()
        self._deadlines: dict[socket.socket, float] = {}
        family, place = resolve(*address, socket.AI_PASSIVE)[0]
        self.address_family: int = family
        super().__init__((str(place[0]), int(place[1])), SilentHandler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. Raises OSError, which the base class ignores."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a request in its own thread; the oldest one may be closed for it."""
        with self._ended:
            if len(self._deadlines) >= MAX_REQUESTS:
                _close(next(iter(self._deadlines)))
                self._ended.wait_for(self._has_room, SLOT_TIMEOUT)
            has_room = self._has_room()
            if has_room:
                self._deadlines[request] = time.perf_counter() + MAX_REQUEST_SECONDS
        if not has_room:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread is left, and the base class closes the connection
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def service_actions(self) -> None:
        """Close the requests that take too long; called every half a second."""
        with self._ended:
            now = time.perf_counter()
            for request in [r for r, deadline in self._deadlines.items() if now >= deadline]:
                _close(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections: unknown addresses can cause them."""

    def server_close(self) -> None:
        """Stop listening, and end the requests in progress."""
        super().server_close()
        with self._ended:
            for request in self._deadlines:
                _close(request)
            self._ended.wait_for(lambda: not self._deadlines, SLOT_TIMEOUT)

    def end_in_child(self) -> None:
        """Close the sockets in a process that was forked: the threads are the parent process's."""
        self.socket.close()
        for request in self._deadlines:
            # Not `close()`, which waits until the file objects that a handler made are closed.
            descriptor = request.detach()
            if descriptor >= 0:  # -1: the thread has closed it
                os.close(descriptor)

    def _forget(self, request: socket.socket) -> None:
        with self._ended:
            del self._deadlines[request]
            self._ended.notify_all()

    def _has_room(self) -> bool:
        return len(self._deadlines) < MAX_REQUESTS


def _close(request: socket.socket) -> None:
    """End the wait of a thread for a socket; the thread closes it."""
    with contextlib.suppress(OSError):  # the peer was first
        request.shutdown(socket.SHUT_RDWR)
