"""A client with two interfaces, as a phone has them, and a server, in network namespaces.

    client ──wifi── router ── server
       └─────cell─────┘

The router may translate the client's addresses, and each way loses what share of the datagrams it
is told to. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

from support.namespaces import Namespaces

__all__ = ["SERVER", "TwoInterfaces"]

SERVER = "10.78.2.2"
_NETS = {"wifi": 0, "cell": 1}


class TwoInterfaces(Namespaces):
    """The hosts; the Wi-Fi is preferred while it is there."""

    def __init__(self) -> None:
        super().__init__("client", "router", "server")

    def _build(self) -> None:
        super()._build()
        for name, net in _NETS.items():
            self._link("client", name, f"10.78.{net}.2", f"at-{name}", f"10.78.{net}.1")
        self._link("server", "to-router", SERVER, "to-server", "10.78.2.1")
        self._ip("server", "route add default via 10.78.2.1")
        self.connect_wifi()
        self._ip("client", "route add default via 10.78.1.1 metric 200")

    def _link(self, host: str, device: str, address: str, far: str, far_address: str) -> None:
        router = self._names["router"]
        self._ip(host, f"link add {device} type veth peer name {far} netns {router}")
        for at, name, own in ((host, device, address), ("router", far, far_address)):
            self._ip(at, f"addr add {own}/24 dev {name}")
            self._ip(at, f"link set {name} up")

    def connect_wifi(self) -> None:
        """Let the client have its Wi-Fi, and prefer it."""
        self._ip("client", "addr replace 10.78.0.2/24 dev wifi")
        self._ip("client", "link set wifi up")
        self._ip("client", "route replace default via 10.78.0.1 metric 100")

    def lose_wifi(self) -> None:
        """Take the Wi-Fi away from the client: no link, no address."""
        self._ip("client", "link set wifi down")
        self._ip("client", "addr flush dev wifi")

    def lose(self, one_in: int) -> None:
        """Have the router lose every so many-th datagram, at random, each way; 0: none."""
        rule = f"meta l4proto udp numgen random mod {one_in} == 0 drop\n" if one_in else ""
        self._nft(
            "router",
            "table ip losses\ndelete table ip losses\ntable ip losses {\nchain through {\n"
            f"type filter hook forward priority 0;\n{rule}}}\n}}\n",
        )

    def translate(self, first_port: int) -> None:
        """Have the router translate the client's addresses to ports of its own, from this one on.

        What it had translated before is forgotten, as masquerading does when its address goes.
        """
        self._ip("router", "addr del 10.78.2.1/24 dev to-server")
        self._nft(
            "router",
            "table ip nat\ndelete table ip nat\ntable ip nat {\nchain out {\n"
            "type nat hook postrouting priority 100;\n"
            f'oifname "to-server" ip protocol udp masquerade to :{first_port}-{first_port + 99}\n'
            "}\n}\n",
        )
        self._ip("router", "addr add 10.78.2.1/24 dev to-server")
