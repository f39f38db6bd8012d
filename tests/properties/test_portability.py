"""The code of other platforms, run here: their builds, without what only Linux has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTEST = Path(sysconfig.get_path("scripts")) / "pytest"
NOT_COPIED = (".git", ".venv*", "dist", "wheelhouse", "*.egg-info", "__pycache__", ".*_cache")
TARGETS = (
    "aarch64-linux-musl",
    "aarch64-macos",
    "aarch64-windows-gnu",
    "x86_64-linux-gnu.2.17",
    "x86_64-linux-musl",
    "x86_64-macos",
    "x86_64-windows-gnu",
)
"""Platforms for which there are wheels, as zig calls them."""
SHOWN_BY = {
    "MPG_RUNS=0": "datagrams.HAS_RUNS",
    "MPG_NATIVE=0": "datagrams.IS_NATIVE",
    "MPG_OPENSSL=0": "aesgcm.UNAVAILABLE is None",
}
"""The flag that is False in a build in which a macro is set."""
ON_SOCKETS = (
    "tests/core/test_datagrams.py",
    "tests/aio/test_client.py",
    "tests/aio/test_watch.py",
    "tests/client/test_udpclient.py",
    "tests/server/test_udpserver.py",
    "tests/transport/test_listening.py",
    "tests/test_udpproxy.py",
    "tests/transport/test_sockets.py",
    "tests/transport/test_poll.py",
)


def modules_that_see_the_platform() -> set[str]:
    """The compiled modules that are compiled with the declarations of `datagrams` or `aesgcm`."""
    sources = [*(ROOT / "_core").glob("*.pyx"), *(ROOT / "mpgameserver" / "_core").glob("*.pxd")]
    declared = re.compile(r"_core\.(datagrams|aesgcm) cimport")
    return {path.stem for path in sources if declared.search(path.read_text())}


def environment_with(folder: Path, macros: tuple[str, ...]) -> Path:
    """The Python of a new environment, with a build in which macros are set.

    It sees what is installed here but the package. Compiled modules that do not know of the
    platform are those that lie in `build/` already, where they do.
    """
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for name in ("aesgcm", "datagrams", *modules_that_see_the_platform()):
        for built in tree.glob(f"build/release/lib*/mpgameserver/_core/{name}.*.so"):
            built.unlink()
    build, flags = [sys.executable, "setup.py", "build"], " ".join(f"-D{m}" for m in macros)
    subprocess.run(
        build,
        cwd=tree,
        env=os.environ | {"CFLAGS": flags},
        check=True,
    )
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
    ("macros", "options"),
    [(("MPG_RUNS=0",), ()), (("MPG_NATIVE=0", "MPG_OPENSSL=0"), ("-p", "support.windows"))],
    ids=["macOS", "Windows"],
)
def test_client_and_server_do_without_what_another_platform_has_not(macros, options, tmp_path):
    python = environment_with(tmp_path, macros)
    for macro in macros:
        see = f"from mpgameserver._core import aesgcm, datagrams; print({SHOWN_BY[macro]})"
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


@pytest.mark.extra
@pytest.mark.parametrize("target", TARGETS)
def test_the_system_calls_compile_with_what_a_platform_declares(target, tmp_path):
    pytest.importorskip("ziglang", reason="there is no zig for this platform")
    source = tmp_path / "calls.c"
    headers = ("<stddef.h>", "<stdint.h>", '"openssl.h"', '"udp.h"')
    source.write_text("".join(f"#include {header}\n" for header in headers))
    warn = ["-Wall", "-Wextra", "-Wsign-compare", "-Wno-unused-function", "-Werror"]
    compile_it = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-I", ROOT / "_core"]
    compile_it.append("-D_GNU_SOURCE")  # as pyconfig.h does
    done = subprocess.run(
        [*compile_it, *warn, "-c", source, "-o", tmp_path / "calls.o"],
        env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
