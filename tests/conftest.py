"""Rules for every test: the installed package, a printed seed, nothing left behind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sysconfig
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from support.examples import examples

import mpgameserver

ROOT = Path(__file__).resolve().parent.parent
OPEN_FILES = Path("/proc/self/fd")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BEGINS = ("test_packaging.py", "test_our_client.py", "test_our_server.py", "test_published.py")
"""Files whose fixtures take half a minute: begun first, they are in no worker's way at the end, and
no worker takes half of a file from another, for which it would make the fixtures once more."""
WATCHED_FILES = ("socket:", "pipe:", "anon_inode:")
THREAD_GRACE = 2.0

# The same examples in every run; `--hypothesis-profile=explore` looks for new ones.
hypothesis.settings.register_profile(
    "same",
    max_examples=examples(100),
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("same")


def pytest_sessionstart() -> None:
    """Refuse to test anything but the installed package: the one in the tree is not built."""
    imported = Path(mpgameserver.__file__).resolve()
    installed = Path(sysconfig.get_path("platlib")).resolve()
    if not imported.is_relative_to(installed):
        raise pytest.UsageError(f"{imported} is not the installed package: use `make test`")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job ignores it, and so would every program that a test interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in BEGINS)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through the tests themselves again and again."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    info = mpgameserver.build_info()
    return f"mpgameserver: {mpgameserver.__version__}, {info.kind} build, {mpgameserver.__file__}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed that is the test's own, the same in every run, and shown when the test fails.

    MPGAMESERVER_TEST_SEED=N gives every test the seed N instead.
    """
    chosen = os.environ.get("MPGAMESERVER_TEST_SEED")
    value = int(chosen) if chosen else zlib.crc32(request.node.nodeid.encode())
    print(f"seed: {value} (again: MPGAMESERVER_TEST_SEED={value})")
    return value


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a browser that can be driven without a window."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, or a socket or another kernel object, behind."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    end = time.monotonic() + THREAD_GRACE
    while (left := set(threading.enumerate()) - threads) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left, f"threads left running: {left}"
    opened = {f"fd {fd} is {what}" for fd, what in open_files().items() - files.items()}
    assert not opened, f"left open: {opened}"


def open_files() -> dict[str, str]:
    """Return what is open beside plain files, by descriptor; nothing where /proc is not."""
    found = {}
    for fd in os.listdir(OPEN_FILES) if OPEN_FILES.is_dir() else ():
        try:
            target = os.readlink(OPEN_FILES / fd)
        except FileNotFoundError:  # the descriptor that listed the folder
            continue
        if target.startswith(WATCHED_FILES):
            found[fd] = target
    return found
