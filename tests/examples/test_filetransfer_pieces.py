"""The file transfer without a network: its messages, what is sent next, and what has come."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

import pytest

from filetransfer import receiving, sending
from filetransfer.receiving import Incoming, is_there
from filetransfer.sending import Outgoing, offer_of
from filetransfer.wire import (
    CHUNK,
    MAX_SIZE,
    WINDOW,
    Busy,
    Chunk,
    Done,
    Have,
    Message,
    Offer,
    Refused,
    decode,
)

DIGEST = bytes(range(32))


class TestWire:
    @pytest.mark.parametrize(
        "message",
        [
            Offer(0, DIGEST, "a"),
            Offer(MAX_SIZE, DIGEST, "grüße.tar.gz"),
            Chunk(5 << 32, b"x"),
            Chunk(0, b"x" * CHUNK),
            Have(7),
            Done(),
            Busy(),
            Refused("no room"),
            Refused(""),
        ],
        ids=repr,
    )
    def test_a_message_is_read_as_it_was_written(self, message: Message) -> None:
        assert decode(message.encode()) == message

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"X",
            b"DD",
            b"H123",
            Have(1).encode() + b"x",
            Chunk(0, b"").encode(),
            Chunk(0, b"x" * (CHUNK + 1)).encode(),
            Offer(1, DIGEST, "").encode(),
            Offer(1, DIGEST, "a").encode()[:-10],
            Offer(MAX_SIZE + 1, DIGEST, "a").encode(),
            b"R\xff",
        ],
        ids=lambda message: repr(message[:10]),
    )
    def test_what_is_no_message_is_a_value_error(self, message: bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011
            decode(message)

    @pytest.mark.parametrize(
        "name",
        [".", "..", ".hidden", "../a", "a/b", "a\\b", "c:a", "a\nb", "a\0", "a.", " a", "x" * 201],
    )
    def test_a_name_leads_nowhere_else(self, name: str) -> None:
        with pytest.raises(ValueError, match="name"):
            decode(Offer(1, DIGEST, name).encode())


def outgoing(size: int) -> Outgoing:
    return Outgoing(io.BytesIO(random.Random(size).randbytes(size)), size)


class TestOutgoing:
    def test_what_is_sent_is_all_of_the_file_in_order(self) -> None:
        size = 3 * CHUNK + 5
        sent = outgoing(size)
        chunks = [sent.next_chunk() for _ in range(5)]
        assert [chunk and (chunk.offset, len(chunk.data)) for chunk in chunks] == [
            (0, CHUNK),
            (CHUNK, CHUNK),
            (2 * CHUNK, CHUNK),
            (3 * CHUNK, 5),
            None,
        ]
        data = b"".join(chunk.data for chunk in chunks if chunk)
        assert data == random.Random(size).randbytes(size)

    def test_nothing_is_begun_far_ahead_of_what_the_server_has(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sending, "WINDOW", 2 * CHUNK)
        sent = outgoing(10 * CHUNK)
        assert [bool(sent.next_chunk()) for _ in range(3)] == [True, True, False]
        sent.confirm(CHUNK)
        assert [bool(sent.next_chunk()) for _ in range(2)] == [True, False]

    def test_what_the_server_says_may_overtake_what_it_said_before(self) -> None:
        sent = outgoing(3 * CHUNK)
        for _ in range(3):
            sent.next_chunk()
        sent.confirm(2 * CHUNK)
        sent.confirm(CHUNK)
        assert sent.confirmed == 2 * CHUNK

    def test_a_server_cannot_have_what_it_was_not_sent(self) -> None:
        sent = outgoing(3 * CHUNK)
        sent.next_chunk()
        with pytest.raises(ValueError, match="was sent"):
            sent.confirm(CHUNK + 1)

    def test_it_goes_on_where_the_server_is(self) -> None:
        sent = outgoing(3 * CHUNK)
        for _ in range(3):
            sent.next_chunk()
        sent.resume(CHUNK + 7)
        assert sent.confirmed == CHUNK + 7
        chunk = sent.next_chunk()
        assert chunk is not None
        assert (chunk.offset, chunk.end) == (CHUNK + 7, 2 * CHUNK + 7)
        with pytest.raises(ValueError, match="of a file of"):
            sent.resume(3 * CHUNK + 1)

    def test_what_could_not_be_sent_is_the_next_once_more(self) -> None:
        sent = outgoing(2 * CHUNK)
        sent.next_chunk()
        chunk = sent.next_chunk()
        assert chunk is not None
        sent.put_back(chunk)
        assert sent.next_chunk() == chunk

    def test_a_file_that_becomes_shorter_is_told(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            Outgoing(io.BytesIO(b""), 5).next_chunk()

    def test_an_empty_file_has_no_piece(self) -> None:
        assert outgoing(0).next_chunk() is None


SIZE = 4 * CHUNK + 100


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "received").mkdir()
    return tmp_path / "received"


def chunks_of(path: Path, start: int = 0) -> list[Chunk]:
    data = path.read_bytes()
    return [Chunk(place, data[place : place + CHUNK]) for place in range(start, len(data), CHUNK)]


class TestIncoming:
    def test_pieces_in_any_order_become_the_file(self, source: Path, folder: Path) -> None:
        incoming = Incoming(folder, offer_of(source))
        assert incoming.resume() == 0
        for number in (2, 0, 1, 4, 3):
            assert not incoming.is_complete
            incoming.take(chunks_of(source)[number])
        assert incoming.is_complete
        incoming.finish()
        assert (folder / "source.bin").read_bytes() == source.read_bytes()
        assert [path.name for path in folder.iterdir()] == ["source.bin"]

    def test_a_second_attempt_goes_on_where_there_is_no_gap(
        self, source: Path, folder: Path
    ) -> None:
        first = Incoming(folder, offer_of(source))
        for number in (0, 2, 3):
            first.take(chunks_of(source)[number])
        first.close()
        with first.part.open("ab") as file:  # as a machine that went down may leave it
            file.write(chunks_of(source)[1].data[:77])
        second = Incoming(folder, offer_of(source))
        assert second.resume() == CHUNK + 77
        for chunk in chunks_of(source, CHUNK + 77):
            second.take(chunk)
        second.finish()
        assert (folder / "source.bin").read_bytes() == source.read_bytes()

    def test_what_is_damaged_is_not_kept(self, source: Path, folder: Path) -> None:
        incoming = Incoming(folder, offer_of(source))
        incoming.part.write_bytes(b"x" * CHUNK)
        assert incoming.resume() == CHUNK
        for chunk in chunks_of(source, CHUNK):
            incoming.take(chunk)
        with pytest.raises(ValueError, match="SHA-256"):
            incoming.finish()
        assert list(folder.iterdir()) == []

    def test_a_part_that_is_longer_than_the_file_is_begun_again(
        self, source: Path, folder: Path
    ) -> None:
        incoming = Incoming(folder, offer_of(source))
        incoming.part.write_bytes(b"x" * (SIZE + 1))
        assert incoming.resume() == 0
        incoming.close()

    @pytest.mark.parametrize(
        "chunk",
        [
            Chunk(0, b"x" * CHUNK),
            Chunk(2 * CHUNK, b"x" * CHUNK),
            Chunk(CHUNK, b"x"),
            Chunk(SIZE, b"x"),
            Chunk(SIZE - 1, b"xx"),
            Chunk(SIZE - CHUNK + 1, b"x" * CHUNK),
        ],
        ids=["again", "early and again", "short", "behind", "too long", "too far"],
    )
    def test_a_piece_that_was_not_to_come_is_a_value_error(
        self, source: Path, folder: Path, chunk: Chunk
    ) -> None:
        incoming = Incoming(folder, offer_of(source))
        incoming.take(chunks_of(source)[0])
        incoming.take(chunks_of(source)[2])
        with pytest.raises(ValueError, match="the piece at"):
            incoming.take(chunk)
        assert incoming.size == CHUNK
        incoming.close()

    def test_what_waits_in_memory_is_bounded(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receiving, "WINDOW", 3 * CHUNK)
        incoming = Incoming(folder, Offer(MAX_SIZE, DIGEST, "large"))
        for number in range(6):  # they overlap, and the first is missing
            incoming.take(Chunk(1 + number, bytes(CHUNK)))
        with pytest.raises(ValueError, match="beyond"):
            incoming.take(Chunk(100, bytes(CHUNK)))
        incoming.close()

    def test_a_name_that_was_taken_meanwhile_is_not_taken_away(
        self, source: Path, folder: Path
    ) -> None:
        incoming = Incoming(folder, offer_of(source))
        for chunk in chunks_of(source):
            incoming.take(chunk)
        (folder / "source.bin").write_text("mine")
        with pytest.raises(ValueError, match="another file"):
            incoming.finish()
        assert [path.read_text() for path in folder.iterdir()] == ["mine"]

    def test_a_file_that_is_there_is_known_by_what_is_in_it(
        self, source: Path, folder: Path
    ) -> None:
        offer = offer_of(source)
        assert not is_there(folder, offer)
        (folder / "source.bin").write_bytes(source.read_bytes())
        assert is_there(folder, offer)
        (folder / "source.bin").write_bytes(bytes(SIZE))
        with pytest.raises(ValueError, match="another file"):
            is_there(folder, offer)

    def test_the_offer_is_of_what_is_in_the_file(self, source: Path) -> None:
        digest = hashlib.sha256(source.read_bytes()).digest()
        assert offer_of(source) == Offer(SIZE, digest, "source.bin")


def test_what_may_be_under_way_fits_into_what_a_server_lets_wait() -> None:
    assert WINDOW % CHUNK == 0
    assert WINDOW + CHUNK <= 2 * WINDOW
