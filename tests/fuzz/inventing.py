"""Inputs without guidance: random scripts, and damaged ones of the corpus, from one seed."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from support.damage import mutated

TARGETS = ("parsers", "protocol2", "session", "session2", "serving", "serving2")
CORPUS = Path(__file__).with_name("corpus")
SIZES = (10, 50, 200, 600)


def target(name: str) -> Callable[[bytes], None]:
    """Return the function that plays an input of that target."""
    run: Callable[[bytes], None] = importlib.import_module(f"fuzz.{name}").run
    return run


def corpus(name: str) -> list[Path]:
    """The files of a target, in the order of their names."""
    return sorted((CORPUS / name).iterdir())


def inputs(name: str, seed: int) -> Iterator[bytes]:
    """Inputs for a target, without end: every other one begins as one of the corpus."""
    rng = random.Random(f"{name}/{seed}")
    known = [path.read_bytes() for path in corpus(name)]
    while True:
        yield rng.randbytes(rng.randrange(rng.choice(SIZES)))
        script = rng.choice(known)
        for _ in range(rng.randint(1, 3)):
            script = mutated(rng, script)
        yield script
