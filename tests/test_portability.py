"""What other platforms run, here: the builds that they have, without what Linux has beyond them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTEST = Path(sysconfig.get_path("scripts")) / "pytest"
NOT_COPIED = (".git", ".venv*", "dist", "*.egg-info", "__pycache__", ".*_cache")
ON_SOCKETS = (
    "tests/core/test_datagrams.py",
    "tests/test_aio.py",
    "tests/test_client.py",
    "tests/test_server.py",
    "tests/test_serversocket.py",
    "tests/test_udpproxy.py",
    "tests/test_udpsocket.py",
    "tests/test_waiting.py",
)


def environment_with(folder: Path, macro: str) -> Path:
    """The Python of a new environment, in which `datagrams` is built with a macro.

    It sees what is installed here but the package. The other compiled modules are those that
    lie in `build/` already, where they do.
    """
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for built in tree.glob("build/release/lib*/mpgameserver/_core/datagrams.*"):
        built.unlink()
    build = [sys.executable, "setup.py", "build"]
    subprocess.run(build, cwd=tree, env=os.environ | {"CFLAGS": f"-D{macro}"}, check=True)
    venv.create(folder / "venv")
    here = Path(sysconfig.get_path("platlib"))
    site = folder / "venv" / here.relative_to(sys.prefix)
    [package] = tree.glob("build/release/lib*/mpgameserver")
    shutil.copytree(package, site / "mpgameserver")
    [metadata] = here.glob("mpgameserver-*.dist-info")
    shutil.copytree(metadata, site / metadata.name)
    (site / "parent.pth").write_text(str(here))
    return folder / "venv" / "bin" / "python"


@pytest.mark.extra
@pytest.mark.skipif(sys.platform != "linux", reason="Linux is what the others are told from")
@pytest.mark.parametrize(
    ("macro", "options"),
    [("MPG_RUNS=0", ()), ("MPG_NATIVE=0", ("-p", "support.windows"))],
    ids=["macOS", "Windows"],
)
def test_client_and_server_do_without_what_another_platform_has_not(macro, options, tmp_path):
    python = environment_with(tmp_path, macro)
    name = macro.replace("MPG", "HAS" if "RUNS" in macro else "IS").removesuffix("=0")
    see = f"from mpgameserver._core import datagrams; print(datagrams.{name})"
    done = subprocess.run([python, "-c", see], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"False\n"
    done = subprocess.run(
        [python, PYTEST, "-p", "no:cacheprovider", *options, *ON_SOCKETS],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0
