"""The rules for the frames of a packet that depend on the sender and on the session."""

from __future__ import annotations

from dataclasses import dataclass, field

from support.wire import WireError
from support.wire2.frames import (
    Accept,
    Ack,
    Close,
    Connect,
    Fragment,
    Frame,
    Kem,
    Message,
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    RetireConnectionId,
    Time,
    TimeReply,
    Window,
    unpack_all,
)
from support.wire2.tables import ORDERED, UNORDERED

NEVER_FROM = {"client": (Accept, NewConnectionId), "server": (Connect, RetireConnectionId)}
EARLY = (Kem, Ack, Ping, Padding, PathChallenge, PathResponse, Time, TimeReply, Close)
BEFORE_ACCEPT = {"client": (Connect, *EARLY), "server": (Accept, *EARLY)}
KEM_TOTAL = {"client": 1184, "server": 1088}
MAX_CONNECTION_IDS = 4


@dataclass
class Session:
    """The receiver's side of a session, as far as the rules need it."""

    sender: str
    """The side that sends the packets: "client" or "server"."""
    kinds: dict[int, int] = field(default_factory=dict)
    """The kinds of the declared channels; channel 0 is there without being declared."""
    newest_sent: int = 0
    """The newest packet that the receiver has sent itself."""
    skipped: set[int] = field(default_factory=set)
    """Those below it that it has not."""
    is_accepted: bool = True
    """True once the server has sent ACCEPT, and at the client once accept data is complete."""
    has_empty_kem: bool = False
    """True if the answer has an empty extension 1."""
    totals: dict[tuple[int, int], int] = field(default_factory=dict)
    """The total of each message of which a fragment has arrived, by channel and number."""
    finished: set[tuple[int, int]] = field(default_factory=set)
    """The messages that were delivered or dropped."""
    ids: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """The connection id and the reset token of each sequence that was issued."""
    retired: set[int] = field(default_factory=set)


def take(payload: bytes, session: Session, sequence: int = 0) -> list[Frame] | None:
    """Return the frames of a packet, None if it has to wait for ACCEPT.

    WireError closes the session with PROTOCOL, and has changed nothing. The sequence is that of
    the connection id under which the packet came.
    """
    frames = unpack_all(payload)
    for frame in frames:
        _check_sender(frame, session)
    if not session.is_accepted and not _is_early(frames, session.sender):
        return None
    totals, ids = dict(session.totals), dict(session.ids)
    for frame in frames:
        _check_channel(frame, session)
        if isinstance(frame, Message | Fragment) and frame[:2] not in session.finished:
            _check_total(frame, totals)
        if isinstance(frame, NewConnectionId):
            _check_new_id(frame, ids, session.retired)
        if isinstance(frame, RetireConnectionId):
            _check_retired_id(frame.sequence, sequence, ids)
    session.totals, session.ids = totals, ids
    session.retired |= {each.sequence for each in frames if isinstance(each, RetireConnectionId)}
    return frames


def _check_sender(frame: Frame, session: Session) -> None:
    if isinstance(frame, NEVER_FROM[session.sender]):
        raise WireError(f"{type(frame).__name__} from the {session.sender}")
    if isinstance(frame, Ack):
        _check_ack(frame, session)
    if isinstance(frame, Kem) and not session.has_empty_kem:
        raise WireError("KEM where the answer has no empty extension 1")
    if isinstance(frame, Kem) and frame.total != KEM_TOTAL[session.sender]:
        raise WireError("KEM of another total than a key or a ciphertext has")


def _is_early(frames: list[Frame], sender: str) -> bool:
    """Tell whether all frames may come before ACCEPT; the others of a server have overtaken it."""
    early = all(isinstance(each, BEFORE_ACCEPT[sender]) for each in frames)
    if not early and sender == "client":
        raise WireError("a frame that a client may not send before ACCEPT")
    return early


def _check_ack(ack: Ack, session: Session) -> None:
    if ack.ranges[0][1] > session.newest_sent:
        raise WireError("an ACK of a packet to come")
    if any(low <= number <= high for low, high in ack.ranges for number in session.skipped):
        raise WireError("an ACK of a number that was skipped")


def _check_channel(frame: Frame, session: Session) -> None:
    if not isinstance(frame, Message | Fragment | Window):
        return
    kind = (session.kinds | {0: UNORDERED}).get(frame.channel)
    if kind is None:
        raise WireError(f"channel {frame.channel} is not declared")
    if isinstance(frame, Window) and kind != ORDERED:
        raise WireError("a window of a channel that is not ordered")


def _check_total(frame: Message | Fragment, totals: dict[tuple[int, int], int]) -> None:
    """Check a fragment, or a message that completes fragments, against those before it."""
    name = frame.channel, frame.number
    if isinstance(frame, Message):
        if totals.get(name, len(frame.data)) != len(frame.data):
            raise WireError("another length than the total of an earlier fragment")
    elif totals.setdefault(name, frame.total) != frame.total:
        raise WireError("another total than that of an earlier fragment")


def _check_new_id(
    frame: NewConnectionId, ids: dict[int, tuple[bytes, bytes]], retired: set[int]
) -> None:
    contents = frame.connection_id, frame.reset_token
    if ids.setdefault(frame.sequence, contents) != contents:
        raise WireError("a sequence again with other contents")
    if any(id_[0] != frame.connection_id[0] for id_, _ in ids.values()):
        raise WireError("an id that begins with another byte")
    if len(ids.keys() - retired) > MAX_CONNECTION_IDS:
        raise WireError("a fifth live connection id")


def _check_retired_id(retired: int, own: int, ids: dict[int, tuple[bytes, bytes]]) -> None:
    if retired not in ids:
        raise WireError("a sequence that was never issued")
    if retired == own:
        raise WireError("the id of the packet itself")
