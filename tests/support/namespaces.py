"""A path between two hosts over two routers, in network namespaces of its own.

    client ──1500── near ──MTU── far ──1500── server

Neither host can see the MTU in the middle. Namespaces belong to threads: who is `inside` one makes
its sockets there, and a socket stays where it was made. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

from typing_extensions import Self

__all__ = ["SERVER", "Namespaces", "NarrowPath", "is_root", "missing", "run_command"]

SERVER = {4: "10.77.2.2", 6: "fd77:0:2::2"}
_HOSTS = ("client", "near", "far", "server")
_LINKS = (("client", "near", 0), ("near", "far", 1), ("far", "server", 2))
_CLONE_NEWNET = 0x40000000
_ERRORS = ("ip protocol icmp drop", "icmpv6 type { 1, 2, 3 } drop")
"""Destination unreachable, packet too big, time exceeded: not what finds neighbours."""
_FRAGMENTS = ("ip frag-off & 0x3fff != 0 drop", "exthdr frag exists drop")


def is_root() -> bool:
    """True on Linux as root: whoever else runs the tests cannot make namespaces."""
    return sys.platform == "linux" and os.geteuid() == 0


def missing() -> str | None:
    """Reason why there can be no namespaces here, or None."""
    if not is_root():
        return "network namespaces need Linux and root"
    programs = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if programs:
        return f"there is no {' and no '.join(programs)}"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "this system has no network namespaces"


def run_command(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


class Namespaces:
    """A network namespace for each host; a context manager that takes them away again."""

    def __init__(self, *hosts: str) -> None:
        self._names = {host: f"mpg-{os.getpid()}-{host}" for host in hosts}
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _build(self) -> None:
        for host, name in self._names.items():
            run_command("ip", "netns", "add", name)
            self._ip(host, "link set lo up")
            for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                run_command("ip", "netns", "exec", name, "sysctl", "-qw", f"{key}=1")

    def _ip(self, host: str, arguments: str) -> None:
        run_command("ip", "-n", self._names[host], *arguments.split())

    def _nft(self, host: str, commands: str) -> None:
        run_command("ip", "netns", "exec", self._names[host], "nft", commands)

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Make sockets in the namespace of a host, on this thread."""
        there_name = f"/run/netns/{self._names[host]}"
        with open("/proc/thread-self/ns/net") as home, open(there_name) as there:
            self._enter(there.fileno())
            try:
                yield
            finally:
                self._enter(home.fileno())

    def _enter(self, descriptor: int) -> None:
        if self._libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class NarrowPath(Namespaces):
    """The path of which the link in the middle may be narrow."""

    def __init__(self) -> None:
        super().__init__(*_HOSTS)

    def _build(self) -> None:
        super()._build()
        for left, right, net in _LINKS:
            to_right, to_left = f"to-{right}", f"to-{left}"
            self._ip(
                left, f"link add {to_right} type veth peer {to_left} netns {self._names[right]}"
            )
            self._give(left, to_right, net)
            self._give(right, to_left, net)
        for host, gateway in (("client", 0), ("server", 2)):
            self._ip(host, f"route add default via 10.77.{gateway}.1")
            self._ip(host, f"-6 route add default via fd77:0:{gateway:x}::1")
        for host, net, other in (("near", 2, 2), ("far", 0, 1)):
            self._ip(host, f"route add 10.77.{net}.0/24 via 10.77.1.{other}")
            self._ip(host, f"-6 route add fd77:0:{net:x}::/64 via fd77:0:1::{other}")
        self._wait_until_it_carries()

    def _wait_until_it_carries(self) -> None:
        """A new link takes up to some seconds until it carries IPv6."""
        for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            with self.inside("server"):
                server = socket.socket(kind, socket.SOCK_DGRAM)
            with self.inside("client"):
                client = socket.socket(kind, socket.SOCK_DGRAM)
            with server, client:
                server.bind((SERVER[family], 0))
                server.settimeout(0.05)
                for _ in range(200):
                    client.sendto(b"there?", server.getsockname())
                    with contextlib.suppress(TimeoutError):
                        server.recv(10)
                        break
                else:
                    raise AssertionError("the path carries nothing")

    @staticmethod
    def _last(host: str, net: int) -> int:
        """The last number of a host's address in a network; hosts have 2, gateways 1."""
        if host in ("client", "server"):
            return 2
        return 2 if host == "far" and net == 1 else 1

    def _give(self, host: str, device: str, net: int) -> None:
        last = self._last(host, net)
        self._ip(host, f"link set {device} up")
        self._ip(host, f"addr add 10.77.{net}.{last}/24 dev {device}")
        self._ip(host, f"-6 addr add fd77:0:{net:x}::{last}/64 dev {device} nodad")

    def narrow(self, mtu: int) -> None:
        """Have the link in the middle take packets of so many bytes, and the hosts forget.

        The client's own interface takes 1,500 bytes.
        """
        self.narrow_interface(1500)
        self._ip("near", f"link set to-far mtu {mtu}")
        self._ip("far", f"link set to-near mtu {mtu}")
        for host in ("client", "server"):
            self._ip(host, "route flush cache")
            self._ip(host, "-6 route flush cache")

    def narrow_interface(self, mtu: int) -> None:
        """Have the client's own interface take packets of so many bytes."""
        self._ip("client", f"link set to-near mtu {mtu}")

    def drop(self, *, errors: bool = False, fragments: bool = False) -> None:
        """Have the routers drop ICMP errors, or fragments of packets."""
        rules = "".join(f"{rule}\n" for rule in [*_ERRORS * errors, *_FRAGMENTS * fragments])
        table = (
            "table inet paths\ndelete table inet paths\ntable inet paths {\nchain out {\n"
            f"type filter hook postrouting priority 0;\n{rules}}}\n}}\n"
        )
        for host in ("near", "far"):
            self._nft(host, table)
