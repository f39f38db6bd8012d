"""Sealed packets, payloads and data that a receiver must reject, each with the reason."""

from __future__ import annotations

from typing import Any

from support.vectors2.handshake import (
    ACCEPT_DATA,
    CHANNELS,
    CONNECT_DATA,
    CONNECTION_ID,
    Vector,
    hexed,
)
from support.vectors2.inputs import random_bytes
from support.vectors2.invalid_handshake import Cases, block
from support.vectors2.packets import LARGEST, keys_of, secrets
from support.wire2 import frames, keys, packets, tables

PING = frames.pack(frames.Ping())


# Sealed packets to a server that knows one connection id and has opened packet 100 and no other.


def sealed() -> Cases:
    secret = secrets()["client"]
    phases = [keys_of(secret, n) for n in range(3)]
    masking = keys.mask_key(secret)

    def seal(phase: int, number: int, payload: bytes = PING, id_: bytes = CONNECTION_ID) -> bytes:
        return packets.seal(phases[phase], masking, id_, number, payload, newest_acked=99)

    good = seal(0, 101)
    other_phase = phases[0]._replace(n=1)
    return [
        ("26 bytes", good[:-1]),
        ("a tag that differs", good[:-1] + bytes([good[-1] ^ 1])),
        ("an unknown connection id", seal(0, 101, id_=bytes(8))),
        ("packet number 0", _sealed_as(phases[0], masking, 0)),
        ("received before", seal(0, 100)),
        ("in the wrong phase", packets.seal(other_phase, masking, CONNECTION_ID, 101, PING, 99)),
        ("two updates ahead", seal(2, 101)),
        ("keys of the other direction", _of_the_server(101)),
        ("the number runs into the tag", _short(masking)),
        ("no frames, one byte of number", seal(0, 101, b"")),
    ]


def _sealed_as(phase: keys.Keys, masking: bytes, number: int) -> bytes:
    return packets.seal(phase, masking, CONNECTION_ID, number, PING, newest_acked=number)


def _of_the_server(number: int) -> bytes:
    secret = secrets()["server"]
    phase, masking = keys_of(secret, 0), keys.mask_key(secret)
    return packets.seal(phase, masking, CONNECTION_ID, number, PING, number - 1)


def _short(masking: bytes) -> bytes:
    """Return 27 bytes of which the unmasked header says that the number has four."""
    for attempt in range(256):
        datagram = bytes([8]) + CONNECTION_ID + random_bytes(f"short {attempt}", 18)
        if packets.unmask(datagram, masking, 8)[0] & 3 == 3:
            return datagram
    raise AssertionError("not among 256")


def sealed_context() -> Vector:
    return hexed(
        {"secret_0": secrets()["client"], "connection_id": CONNECTION_ID, "received": [100]}
    )


# Payloads of packets that open.


def payloads() -> Cases:
    ack = frames.Ack(0, tuple((2 * n, 2 * n) for n in range(100, 67, -1)))
    message = frames.Message(3, 1, b"hi")
    piece, fragment = frames.Connect(10, 0, b"begin"), frames.Fragment(0, 1, 128, 1, b"f" * 64)
    good = [frames.Window(1, 5, 5), *_every_kind()]
    cut = [(f"{type(f).__name__} ends too soon", frames.pack(f)[:-1]) for f in good]
    return [
        ("no frame", b""),
        *[(f"type {type_}", bytes([type_]) + b"\0" * 20) for type_ in (14, 15, 32, 62, 63)],
        ("an invalid type behind a frame", PING + b"\x0e"),
        *cut,
        ("PATH_CHALLENGE ends too soon, behind a PING", PING + b"\7" + b"c" * 7),
        ("ACK with 33 ranges", frames.pack(ack)),
        ("ACK of packet 0", frames.pack(frames.Ack(0, ((0, 0),)))),
        ("ACK whose first range runs to packet 0", b"\2\5\0\0\5"),
        ("ACK whose first range runs below 0", b"\2\5\0\0\6"),
        ("ACK with a gap below packet 1", b"\2\5\0\1\2\0\1"),
        ("ACK with a gap to packet 0", b"\2\5\0\1\2\1\0"),
        ("ACK with a gap to below 0", b"\2\5\0\1\2\x3f\0"),
        ("ACK with a range below packet 1", b"\2\x09\0\1\0\0\7"),
        ("CONNECT of 8,193 bytes in all", frames.pack(piece._replace(total=8193))),
        ("CONNECT without data", frames.pack(piece._replace(data=b""))),
        ("CONNECT beyond its total", frames.pack(piece._replace(offset=6))),
        ("CONNECT whose offset is above its total", frames.pack(piece._replace(offset=11))),
        ("ACCEPT of 8,193 bytes in all", frames.pack(frames.Accept(8193, 0, b"a"))),
        ("ACCEPT beyond its total", frames.pack(frames.Accept(1, 0, b"ab"))),
        ("CONNECT of 0 bytes in all", b"\4\0\0\0"),
        ("KEM of 8,193 bytes in all", frames.pack(frames.Kem(8193, 0, b"a"))),
        ("KEM beyond its total", frames.pack(frames.Kem(1184, 1184, b"a"))),
        ("CLOSE with a text of 257 bytes", frames.pack(frames.Close(1, b"t" * 257))),
        ("PADDING after a CLOSE", b"\6\0\0\0"),
        ("PING after a CLOSE", b"\6\0\2by\1"),
        ("CLOSE after a CLOSE", b"\6\0\0\6\0\0"),
        ("RESERVED that runs past the packet", b"\x40\5abcd"),
        ("MESSAGE number 0", frames.pack(message._replace(number=0))),
        ("MESSAGE that runs past the packet", b"\x93\1\3hi"),
        ("MESSAGE without a number", b"\x83"),
        ("MESSAGE on a channel below 16 behind the type", b"\xd0\x0f\1\2hi"),
        ("MESSAGE on channel 0 behind the type", b"\xd0\0\1\2hi"),
        ("MESSAGE with a channel in the type and behind it", b"\xd1\x20\1\2hi"),
        ("MESSAGE without the channel behind the type", b"\xc0"),
        ("FRAGMENT number 0", frames.pack(fragment._replace(number=0))),
        ("FRAGMENT without data", frames.pack(fragment._replace(data=b""))),
        (
            "FRAGMENT without data, to the end of the packet",
            frames.pack(fragment._replace(data=b"", has_length=False)),
        ),
        ("FRAGMENT of 0 bytes", frames.pack(frames.Fragment(0, 1, 0, 0, b""))),
        ("FRAGMENT beyond its total", frames.pack(fragment._replace(position=2))),
        ("FRAGMENT far beyond its total", frames.pack(fragment._replace(position=LARGEST))),
        ("FRAGMENT one byte beyond its total", frames.pack(fragment._replace(total=127))),
        (
            "FRAGMENT of 63 bytes in the middle",
            frames.pack(frames.Fragment(0, 1, 64, 0, b"f" * 63)),
        ),
        (
            "FRAGMENT of 65 bytes in the middle",
            frames.pack(frames.Fragment(0, 1, 66, 0, b"f" * 65)),
        ),
        (
            "FRAGMENT of 65 bytes in the middle, to the end of the packet",
            frames.pack(frames.Fragment(0, 1, 1000, 3, b"f" * 65, has_length=False)),
        ),
        (
            "FRAGMENT of a message above the largest",
            frames.pack(fragment._replace(total=frames.MAX_MESSAGE + 1)),
        ),
        ("FRAGMENT with a channel in the type and behind it", b"\xf1\x20\1\5\0\1a"),
    ]


def _every_kind() -> list[frames.Frame]:
    """Return a frame of each kind that has fields, none of which may be left out."""
    return [
        frames.Ack(5, ((7, 9), (2, 3))),
        frames.Connect(10, 0, b"begin"),
        frames.Accept(10, 0, b"begin"),
        frames.Kem(1184, 0, b"begin"),
        frames.Close(0, b"bye"),
        frames.PathResponse(b"r" * 8),
        frames.NewConnectionId(1, b"c" * 8, b"t" * 16),
        frames.RetireConnectionId(300),
        frames.Time(1_700_000_000_000_000),
        frames.TimeReply(1, 2, 1_700_000_000_000_000),
        frames.Reserved(64, b"data"),
        frames.Message(1, 1, b"data"),
        frames.Fragment(1, 1, 4, 0, b"data"),
    ]


BOTH = ("client", "server")
ID_1 = frames.NewConnectionId(1, b"\0" * 7 + b"1", b"t" * 16)


def session_ids() -> list[list[str]]:
    ids = (CONNECTION_ID, ID_1.connection_id, b"\0" * 7 + b"2", b"\0" * 7 + b"3")
    return hexed([[id_, b"t" * 16] for id_ in ids])


def payloads_in_session() -> list[Vector]:
    """Return payloads that only what a session knows speaks against.

    Channels 1 (ordered) and 16 (unordered) are declared; the receiver has sent packets 1 to 10
    without 7; fragments of message 5 of channel 16 with a total of 100 bytes have arrived; the
    ids of the sequences 0 to 3 were issued, none is retired, and the packet came under that of 0;
    the answer has no empty extension 1; the session is accepted.
    """
    other = ID_1._replace(connection_id=b"\0" * 8)
    both: list[tuple[str, tuple[str, ...], list[Any]]] = [
        ("ACCEPT from a client", ("client",), [frames.Accept(10, 0, b"a")]),
        ("NEW_CONNECTION_ID from a client", ("client",), [ID_1]),
        ("CONNECT from a server", ("server",), [frames.Connect(10, 0, b"a")]),
        ("RETIRE_CONNECTION_ID from a server", ("server",), [frames.RetireConnectionId(1)]),
        ("KEM without an empty extension 1", ("client",), [frames.Kem(1184, 0, b"a")]),
        ("KEM without an empty extension 1", ("server",), [frames.Kem(1088, 0, b"a")]),
        ("ACK of a packet to come", BOTH, [frames.Ack(0, ((11, 11),))]),
        ("ACK up to a packet to come", BOTH, [frames.Ack(0, ((8, 11),))]),
        ("ACK of a skipped packet", BOTH, [frames.Ack(0, ((1, 10),))]),
        ("MESSAGE on channel 2", BOTH, [frames.Message(2, 1, b"")]),
        ("FRAGMENT on channel 17", BOTH, [frames.Fragment(17, 1, 1, 0, b"a")]),
        ("WINDOW of channel 2", BOTH, [frames.Window(2, 1, 1)]),
        ("WINDOW of channel 16", BOTH, [frames.Window(16, 1, 1)]),
        ("WINDOW of channel 0", BOTH, [frames.Window(0, 1, 1)]),
        ("FRAGMENT with another total", BOTH, [frames.Fragment(16, 5, 65, 1, b"a")]),
        (
            "FRAGMENTs of two totals in one packet",
            BOTH,
            [frames.Fragment(1, 5, 65, 1, b"a"), frames.Fragment(1, 5, 66, 1, b"ab")],
        ),
        ("a sequence again with another id", ("server",), [other]),
        (
            "a sequence again with another token",
            ("server",),
            [ID_1._replace(reset_token=bytes(16))],
        ),
        ("a fifth live connection id", ("server",), [ID_1._replace(sequence=4)]),
        ("a sequence that was never issued", ("client",), [frames.RetireConnectionId(4)]),
        ("the id of the packet itself", ("client",), [frames.RetireConnectionId(0)]),
    ]
    return [
        hexed({"reason": reason, "sender": sender, "bytes": frames.pack_all(payload)})
        for reason, senders, payload in both
        for sender in senders
    ]


def payloads_before_accept() -> Cases:
    """Return what a client may not send before it knows that it is accepted."""
    return [
        ("MESSAGE", frames.pack(frames.Message(0, 1, b"hi"))),
        ("FRAGMENT", frames.pack(frames.Fragment(0, 1, 1, 0, b"a"))),
        ("WINDOW", frames.pack(frames.Window(1, 1, 1))),
        ("RETIRE_CONNECTION_ID", frames.pack(frames.RetireConnectionId(0))),
        ("a reserved frame", frames.pack(frames.Reserved(64, b""))),
        ("MESSAGE behind CONNECT", b"\4\5\0\1a" + frames.pack(frames.Message(0, 1, b"hi"))),
    ]


# Connect data and accept data.


def tables_of_channels() -> Cases:
    good = CHANNELS[0]
    latest = good._replace(id=2, kind=tables.LATEST, window=None)
    each = {
        "channel 0": [good._replace(id=0)],
        "a channel twice": [good, good._replace(name="other")],
        "channels out of order": [CHANNELS[1], good],
        "kind 4": [good._replace(kind=4, window=None)],
        "an empty name": [good._replace(name="")],
        "a name of 65 bytes": [good._replace(name="n" * 65)],
        "a name twice": [good, latest],
    }
    packed = [(reason, tables.pack_table(channels)) for reason, channels in each.items()]
    not_text = tables.pack_table([good._replace(name="n")])[:-1] + b"\xff"
    one_less = b"\2" + tables.pack_table([good])[1:]
    return [*packed, ("a name that is not UTF-8", not_text), ("one channel less", one_less)]


def connect_data() -> Cases:
    good = tables.pack_connect_data(CONNECT_DATA)
    long = CONNECT_DATA._replace(credential=b"c" * 1025)
    return [
        ("empty", b""),
        ("ends too soon", good[:-1]),
        ("a byte behind the end", good + b"\0"),
        ("a credential of 1,025 bytes", tables.pack_connect_data(long)),
        ("an extension twice", b"\0\0\0" + block((9, b""), (9, b""))),
        ("an idle timeout of 3 bytes", b"\0\0\0" + block((2, b"\0\0\1"))),
        ("an idle timeout of 0", b"\0\0\0" + block((2, b"\0" * 4))),
        ("a largest datagram of 1,199", b"\0\0\0" + block((3, b"\4\xaf"))),
        *[(f"table: {why}", b"\0\0" + table + b"\0\0") for why, table in tables_of_channels()],
    ]


def accept_data() -> Cases:
    """Return accept data for a client that has declared two ordered channels."""
    good = tables.pack_accept_data(ACCEPT_DATA)
    one = tables.pack_accept_data(ACCEPT_DATA._replace(windows=ACCEPT_DATA.windows[:1]))
    return [
        ("empty", b""),
        ("ends within the token", good[:15]),
        ("ends too soon", good[:-1]),
        ("a byte behind the end", good + b"\0"),
        ("a window of one channel", one),
    ]


def contradicting_pieces() -> list[Vector]:
    """Return CONNECT frames of which each is right, and the last contradicts one before it."""
    first = frames.Connect(100, 10, b"0123456789")
    each = {
        "another total": frames.Connect(101, 20, b"a"),
        "another byte": frames.Connect(100, 19, b"8a"),
    }
    return [
        hexed({"reason": reason, "payloads": [frames.pack(first), frames.pack(last)]})
        for reason, last in each.items()
    ]
