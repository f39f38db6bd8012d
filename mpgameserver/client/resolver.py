"""Finding the addresses of a server's name, without blocking a frame."""

from __future__ import annotations

import logging
import queue
import socket
import threading

from mpgameserver.transport.address import resolve

__all__ = ["Resolved", "Resolver"]

MAX_ADDRESSES = 8
"""Addresses of a name that are tried: each takes two sockets."""

_LOG = logging.getLogger("mpgameserver.client")

Resolved = list[tuple[socket.AddressFamily, tuple[object, ...]]]
"""The families and socket addresses of a host, in the order in which they are tried."""


def _resolve(host: str, port: int, flags: int = 0) -> Resolved:
    return list(dict.fromkeys(resolve(host, port, flags)))[:MAX_ADDRESSES]


class Resolver:
    """Resolves a host: at once if it is an address, otherwise in a thread.

    While that thread is running, wait for the descriptor in `filenos`: it becomes readable once
    there is a result.
    """

    def __init__(self, host: str, port: int) -> None:
        self._answer: queue.SimpleQueue[Resolved] = queue.SimpleQueue()
        self._reader: socket.socket | None = None
        try:
            self._answer.put(_resolve(host, port, socket.AI_NUMERICHOST))
        except OSError:
            try:
                self._start_look_up(host, port)
            except (OSError, RuntimeError) as error:  # no file descriptor or no thread is left
                _LOG.warning("cannot resolve %r: %s", host, error)
                self._answer.put([])

    def _start_look_up(self, host: str, port: int) -> None:
        self._reader, writer = socket.socketpair()
        thread = threading.Thread(
            target=self._look_up,
            args=(host, port, writer),
            name="mpgameserver-resolver",
            daemon=True,
        )
        try:
            thread.start()
        except BaseException:
            writer.close()
            raise

    def _look_up(self, host: str, port: int, writer: socket.socket) -> None:
        with writer:  # the end of file is what wakes
            try:
                self._answer.put(_resolve(host, port))
            except OSError as error:
                _LOG.info("cannot resolve %r: %s", host, error)
                self._answer.put([])

    def filenos(self) -> tuple[int, ...]:
        """The file descriptors to wait for: none once the thread is not needed."""
        return () if self._reader is None else (self._reader.fileno(),)

    def close(self) -> None:
        """Stop waiting for a result."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def poll(self) -> Resolved | None:
        """Return the addresses, once; None while there is no result."""
        try:
            return self._answer.get_nowait()
        except queue.Empty:
            return None
