"""One UDP socket that speaks from many addresses of 127.0.0.0/8: thousands of bots, one descriptor.

A server tells its clients apart by their addresses. Linux lets every datagram name its source and
tells of every one which address it came to (IP_PKTINFO, ip(7)), and it moves many in one call
(sendmmsg(2), recvmmsg(2)); the socket module cannot do the latter, so this is ctypes. Headers and
ancillary data are laid out once, for each bot and for each place of a batch; what is left to do
for a datagram is to copy it.

Only the standard library is used here, so that every environment can import it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from pathlib import Path

__all__ = ["BATCH", "ManyAddresses"]

BATCH = 64
"""Datagrams that one system call moves at most."""
SLOT = 2048
"""Bytes kept for each, more than any datagram has."""
BUFFER_SIZE = 4 << 20
FIRST_ADDRESS = 0x7F010000
"""127.1.0.0: the first bot comes from the address behind it."""
IP_PKTINFO, IP_MTU_DISCOVER, IP_PMTUDISC_DO = 8, 10, 2  # linux/in.h
_ANY = "0.0.0.0"


class _Part(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Head(ctypes.Structure):
    """struct mmsghdr of a 64-bit Linux: a struct msghdr, padded, and the size of what was read"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("note", ctypes.c_void_p),
        ("note_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("size", ctypes.c_uint32),
    )


class _Note(ctypes.Structure):
    """struct cmsghdr with a struct in_pktinfo"""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("type", ctypes.c_int),
        ("interface", ctypes.c_int),
        ("here", ctypes.c_uint32),
        ("there", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
    )


_SIZE_PLACE = _Head.size.offset // 4
_HEAD_WORDS, _NOTE_WORDS = ctypes.sizeof(_Head) // 4, ctypes.sizeof(_Note) // 4
_HERE_PLACE = _Note.here.offset // 4
_NOTE_SIZE = _Note.padding.offset
_PLACES = range(0, SLOT * BATCH, SLOT)


def _address(bot: int) -> int:
    """A bot's address as the kernel has it."""
    return int.from_bytes((FIRST_ADDRESS + 1 + bot).to_bytes(4, "big"), sys.byteorder)


class _Heads:
    """As many headers as there are places, each with its note, over parts of a buffer."""

    def __init__(self, count: int, parts: int, note_size: int) -> None:
        self.notes = (_Note * count)()
        self.parts = (_Part * parts)()
        self.heads = (_Head * count)()
        self.start = ctypes.addressof(self.heads)
        for place in range(count):
            head = self.heads[place]
            head.part_count, head.note_size = 1, note_size
            head.parts = ctypes.addressof(self.parts[place % parts])
            head.note = ctypes.addressof(self.notes[place])

    def lay_out(self, buffer: ctypes.Array[ctypes.c_char], size: int) -> None:
        """Let each part be so many bytes of the buffer, one behind the other."""
        start = ctypes.addressof(buffer)
        for place, part in enumerate(self.parts):
            part.base, part.size = start + size * place, size


class ManyAddresses:
    """A socket for `count` bots, which are numbers from 0, and the server they all speak to."""

    def __init__(self, count: int, server: tuple[str, int]) -> None:
        self._server = server
        self._bots = {_address(bot): bot for bot in range(count)}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_SIZE),
            (socket.IPPROTO_IP, IP_PKTINFO, 1),
            # Spares the kernel the number by which fragments would be put together.
            (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO),
        ):
            self._socket.setsockopt(level, option, value)
        self._socket.bind((_ANY, 0))
        self._file = self._socket.fileno()
        library = ctypes.CDLL(None, use_errno=True)
        self._sendmmsg, self._recvmmsg = library.sendmmsg, library.recvmmsg
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._recvmmsg.argtypes = (*self._sendmmsg.argtypes, ctypes.c_void_p)
        self._prepare_sending(count)
        self._prepare_receiving()

    def _prepare_sending(self, count: int) -> None:
        host, port = self._server
        address = struct.pack("=H", socket.AF_INET) + port.to_bytes(2, "big")
        self._name = ctypes.create_string_buffer(address + socket.inet_aton(host) + bytes(8), 16)
        self._out = ctypes.create_string_buffer(BATCH * SLOT)
        self._out_start, self._out_size = ctypes.addressof(self._out), -1
        self._leaving = _Heads(count, BATCH, ctypes.sizeof(_Note))
        for bot in range(count):
            head, note = self._leaving.heads[bot], self._leaving.notes[bot]
            head.name, head.name_size = ctypes.addressof(self._name), 16
            note.size, note.level, note.type = _NOTE_SIZE, socket.IPPROTO_IP, IP_PKTINFO
            note.here = _address(bot)

    def _prepare_receiving(self) -> None:
        buffer = ctypes.create_string_buffer(BATCH * SLOT)
        self._arrived = _Heads(BATCH, BATCH, ctypes.sizeof(_Note))
        self._arrived.lay_out(buffer, SLOT)
        self._data = memoryview(buffer).cast("B")
        self._fresh = bytes(self._arrived.heads)
        self._heads = memoryview(self._arrived.heads).cast("B")
        self._sizes = self._heads.cast("I")
        self._heres = memoryview(self._arrived.notes).cast("B").cast("I")

    def send(self, first: int, count: int, data: bytes) -> None:
        """Send datagrams of one size, joined, from bots that follow each other in one batch."""
        size, place = len(data) // count, first % BATCH
        if size * count != len(data) or size > SLOT or place + count > BATCH:
            raise ValueError(f"{len(data)} bytes of {count} bots from {first} are not one batch")
        if size != self._out_size:
            self._leaving.lay_out(self._out, size)
            self._out_size = size
        ctypes.memmove(self._out_start + size * place, data, len(data))
        start, sent = self._leaving.start + ctypes.sizeof(_Head) * first, 0
        while sent < count:
            done = self._sendmmsg(self._file, start + ctypes.sizeof(_Head) * sent, count - sent, 0)
            if done <= 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            sent += done

    def send_one(self, bot: int, datagram: bytes) -> None:
        """Send a datagram of any size."""
        note = struct.pack("=iII", 0, _address(bot), 0)
        self._socket.sendmsg([datagram], [(socket.IPPROTO_IP, IP_PKTINFO, note)], 0, self._server)

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the datagrams that have arrived, up to a batch, with the bot of each."""
        self._heads[:] = self._fresh
        count = self._recvmmsg(self._file, self._arrived.start, BATCH, 0, None)
        if count <= 0:
            return []
        sizes = self._sizes[_SIZE_PLACE : _HEAD_WORDS * count : _HEAD_WORDS].tolist()
        heres = self._heres[_HERE_PLACE : _NOTE_WORDS * count : _NOTE_WORDS].tolist()
        data, bots = self._data, self._bots
        return [
            (bots[here], bytes(data[place : place + size]))
            for place, here, size in zip(_PLACES, heres, sizes, strict=False)
        ]

    def dropped(self) -> int:
        """The datagrams that the kernel has dropped because nobody here has read them in time."""
        place = f":{self._socket.getsockname()[1]:04X}"
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[1].endswith(place):
                return int(columns[-1])
        return 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
