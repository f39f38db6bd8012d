"""Fuzz one live connection: a bad network between two honest ones, or a peer that holds the key."""

from __future__ import annotations

from fuzz.inputs import Script
from fuzz.keyed import Peer
from fuzz.network import Network


def run(data: bytes) -> None:
    """Play one script; an AssertionError says which promise was broken."""
    script = Script(data)
    play = Peer(script) if script.below(2) else Network(script)
    play.run()
