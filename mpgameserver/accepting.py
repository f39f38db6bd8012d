"""The server's side of the handshake, without a socket or a clock.

A hello that passes every cheap check opens a half-open session beside whatever is at its address,
and is answered; the same hello is answered again with the same answer. The CHALLENGE_RESP that
opens under the key of a half-open session, and has its token, proves it: only then does the
server hold a session.

A client key stands for one attempt of one client, which may come by more than one address: the
first to be proved is the session, and a hello with the key of a session is a late one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mpgameserver._core.endpoint import Endpoint
from mpgameserver.address import IpAddress, SocketAddress, host_of, limits_towards
from mpgameserver.blocklist import BlockList
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.halfopen import HalfOpenSession, HalfOpenTable
from mpgameserver.handshake import (
    SALT_SIZE,
    ClientHello,
    ServerHello,
    decode_clear_packet,
    hello_size,
    new_token,
)
from mpgameserver.limits import Limits
from mpgameserver.session import SessionTable

__all__ = ["ProvedSession", "ServerHandshakes"]


@dataclass(frozen=True)
class ProvedSession:
    """What a handshake has led to."""

    endpoint: Endpoint
    token: int
    client_key: bytes


class ServerHandshakes:
    """Answers hellos with the server's root key, and opens the proofs."""

    def __init__(
        self, root_key: EllipticCurvePrivateKey, sessions: SessionTable, limits: Limits
    ) -> None:
        self.half_open = HalfOpenTable(limits)
        self._root_key = root_key
        self._sessions = sessions
        self._limits = limits

    def answer(
        self, datagram: bytes, address: SocketAddress, now: float, wall_now: float
    ) -> bytes | None:
        """The datagram that answers a CLIENT_HELLO; None for one that came late or too often.

        `now` is monotonic, `wall_now` the Unix time then, in seconds. Raises ProtocolError for
        what is no hello. The answer is never longer than the hello.
        """
        host = host_of(address)
        message = decode_clear_packet(datagram, PacketType.CLIENT_HELLO).message
        hello = ClientHello.decode(message, hello_size(limits_towards(host).payload))
        if self._sessions.has_client_key(hello.public_key_der):
            return None
        half_open = self.half_open.get(address, hello.public_key_der)
        if half_open is None:
            half_open = self._open(hello, address, host, now, wall_now)
            self.half_open.add(half_open)
        elif half_open.answers >= self._limits.answers_per_hello:
            return None
        return half_open.answer(now)

    def _open(
        self,
        hello: ClientHello,
        address: SocketAddress,
        host: IpAddress,
        now: float,
        wall_now: float,
    ) -> HalfOpenSession:
        """The public-key work for a hello."""
        client_key = hello.public_key()
        private_key = EllipticCurvePrivateKey.new()
        answer = ServerHello.create(
            self._root_key, private_key.getPublicKey(), os.urandom(SALT_SIZE), self._free_token()
        )
        return HalfOpenSession(
            address, host, hello.public_key_der, client_key, private_key, answer, now, wall_now
        )

    def _free_token(self) -> int:
        token = new_token()
        while self._sessions.has_token(token) or self.half_open.has_token(token):
            token = new_token()
        return token

    def prove(self, datagram: bytes, address: SocketAddress, now: float) -> ProvedSession | None:
        """The session that a datagram from an address proves, which is half-open no more."""
        for half_open in self.half_open.at(address):
            if self._sessions.has_client_key(half_open.client_key_der):
                continue
            endpoint = half_open.prove(datagram, now)
            if endpoint is not None:
                self.half_open.remove(half_open)
                return ProvedSession(endpoint, half_open.hello.token, half_open.client_key_der)
        return None

    def block(self, blocklist: BlockList) -> None:
        """Give up the handshakes of blocked hosts."""
        for half_open in self.half_open.all():
            if half_open.host in blocklist:
                self.half_open.remove(half_open)

    def clear(self) -> None:
        """Give up all handshakes."""
        for half_open in self.half_open.all():
            self.half_open.remove(half_open)
