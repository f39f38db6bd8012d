"""Machines on which the published package cannot be installed."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from interop.published import install, is_usable, new_environment


class EmptyIndex(BaseHTTPRequestHandler):
    """A package index that has nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of an environment without the package."""
    return new_environment(tmp_path_factory.mktemp("empty") / "environment")


@pytest.fixture
def empty_index() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), EmptyIndex) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


@pytest.fixture
def no_index() -> str:
    """The address of an index where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    return f"http://127.0.0.1:{port}/simple"


def use_index(monkeypatch: pytest.MonkeyPatch, url: str, ci: str) -> None:
    """Let pip know of that index alone."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("CI", ci)


def test_without_a_network_it_is_skipped_with_a_loud_reason(monkeypatch, no_index, interpreter):
    use_index(monkeypatch, no_index, ci="")
    with pytest.raises(pytest.skip.Exception, match=r"NOT TESTED .* PyPI cannot be reached"):
        install(interpreter)


def test_without_a_network_it_fails_under_ci(monkeypatch, no_index, interpreter):
    use_index(monkeypatch, no_index, ci="true")
    with pytest.raises(pytest.fail.Exception, match="PyPI cannot be reached"):
        install(interpreter)


def test_a_package_that_the_index_does_not_have_fails(monkeypatch, empty_index, interpreter):
    use_index(monkeypatch, empty_index, ci="")
    with pytest.raises(pytest.fail.Exception, match="cannot be installed"):
        install(interpreter)


def test_an_environment_without_the_package_is_of_no_use(interpreter, tmp_path):
    assert not is_usable(interpreter)
    assert not is_usable(Path(sys.executable))
    assert not is_usable(tmp_path / "no such interpreter")
