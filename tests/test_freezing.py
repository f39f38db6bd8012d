"""A game that was made a program of its own, by the command of the page on installing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mpgameserver import EventHandler, ServerContext, ThreadedServer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "installing.md"
PATIENCE = 480.0
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

pytestmark = pytest.mark.extra


def test_a_player_frozen_by_pyinstaller_finds_its_server_with_the_key_that_came_along(
    tmp_path: Path,
) -> None:
    pytest.importorskip("PyInstaller")
    [command] = re.findall(r"^pyinstaller (.*)$", PAGE.read_text(), re.M)
    freeze = [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", *shlex.split(command)]
    environment = os.environ | {"PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")}
    check_frozen(tmp_path, freeze, environment, tmp_path / "dist" / "player" / "player")


def check_frozen(
    tmp_path: Path, freeze: list[str], environment: dict[str, str], frozen: Path
) -> None:
    """Freeze a player, and see that it connects to a server by the key beside it."""
    context = ServerContext(EventHandler())
    context.root_key.getPublicKey().savePEM(tmp_path / "server.pem.pub")
    (tmp_path / "player.py").write_text(PLAYER)
    subprocess.run(freeze, cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)
    with ThreadedServer(context, ("127.0.0.1", 0)) as server:
        ran = subprocess.run(
            [frozen, str(server.address[1])],
            cwd="/",
            env={},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert (ran.stdout, ran.stderr) == ("CONNECTED\n", "")
