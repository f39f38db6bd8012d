"""A peer of a server that holds its session's key and keeps to no rule."""

from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import wire
from support.serverworld import World

from mpgameserver.wire.session_cipher import SessionCipher, session_cipher

_hosts = itertools.count()


class KeyHolder:
    """A client that has joined a world, and then makes its packets by hand."""

    def __init__(self, world: World, *address: Any) -> None:
        keys: list[bytes] = []

        def recorded(key: bytes) -> SessionCipher:
            keys.append(key)
            return session_cipher(key)

        address = address or (f"10.9.0.{next(_hosts) % 250 + 1}", 5000)
        with mock.patch("mpgameserver.client.handshake.session_cipher", recorded):
            player = world.join(*address)
        world.players.remove(player)
        assert player.connection is not None
        self.world = world
        self.address = player.address
        self.token = player.token
        self.ack = self.ack_bits = 0
        self._aead = AESGCM(keys[-1])
        self._seq = player.connection.endpoint.sent_packets.newest
        self._message_seq = player.connection.endpoint.send_queue.newest

    def packet(self, *messages: bytes, kind: int = wire.APP, at: float | None = None) -> bytes:
        """The next packet, with these messages, each in the next number."""
        numbered = []
        for message in messages:
            self._message_seq = wire.add(self._message_seq, 1)
            numbered.append(wire.Message(self._message_seq, kind, message))
        return self._seal(wire.pack_payload(numbered), len(messages), kind, at)

    def keep_alive(self) -> bytes:
        """A packet without a message."""
        return self._seal(b"", 0, wire.KEEP_ALIVE, None)

    def _seal(self, payload: bytes, count: int, kind: int, at: float | None) -> bytes:
        self._seq = wire.add(self._seq, 1)
        offset = 0.0 if at is None else at - self.world.now
        header = wire.Header(
            wire.TO_SERVER,
            int(self.world.wall_now + offset),
            self._seq,
            self.ack,
            kind,
            len(payload),
            count,
            self.ack_bits,
        )
        data = wire.pack_header(header)
        return data + self._aead.encrypt(data[:12], payload, data)

    def send(self, *datagrams: bytes) -> None:
        """Have the server read datagrams, and do what they ask for."""
        self.world.serve((datagram, self.address) for datagram in datagrams)
