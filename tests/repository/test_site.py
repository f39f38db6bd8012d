"""The site in a browser: on a desktop and on a phone every page fits, and has its pictures.

`make docs` builds the site. Code may scroll in its box; a table may not, nor may the page.
No name in a table breaks within a word, and no option of a command line.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.documents import ROOT
from support.patience import PATIENCE

pytestmark = pytest.mark.extra

SITE = ROOT / "build" / "site"
SCRIPT = ROOT / "tests" / "support" / "fit.js"
WIDTHS = (1400, 390)

Found = dict[str, list[str]]
"""Return what does not fit, by width and page."""


class SiteServer(ThreadingHTTPServer):
    """Serves a folder, a page that opens its pages, and keeps what that page posts."""

    def __init__(self, folder: Path, pages: list[str]) -> None:
        handler = functools.partial(SiteHandler, directory=str(folder))
        super().__init__(("127.0.0.1", 0), handler)
        task = json.dumps({"pages": pages, "widths": WIDTHS})
        self.opener = f"<body><script>{SCRIPT.read_text()}\nfit({task})</script>"
        self.found: Found = {}
        self.is_done = threading.Event()


class SiteHandler(SimpleHTTPRequestHandler):
    server: SiteServer

    def do_GET(self) -> None:
        if self.path != "/opener":
            return super().do_GET()
        self._reply(self.server.opener.encode())
        return None

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.found = json.loads(self.rfile.read(length))
        self._reply(b"")
        self.server.is_done.set()

    def _reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path, pages: list[str]) -> Iterator[SiteServer]:
    with SiteServer(folder, pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def opened(browser: str, url: str, home: Path) -> Iterator[None]:
    """A browser without a window on a page; it leaves nothing behind in the user's home."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += ["--hide-scrollbars", "--no-first-run", f"--user-data-dir={home / 'profile'}"]
    process = subprocess.Popen(
        [browser, *options, "--remote-debugging-port=0", url],
        env=os.environ | {"HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield
        finally:
            process.terminate()


def misfits(browser: str, folder: Path, pages: list[str], home: Path) -> Found:
    """Open pages of a folder at all widths, and return what does not fit where."""
    with serving(folder, pages) as server:
        with opened(browser, f"http://127.0.0.1:{server.server_port}/opener", home):
            assert server.is_done.wait(10 * PATIENCE), "the browser never finished"
        assert len(server.found) == len(pages) * len(WIDTHS)
        return {page: found for page, found in server.found.items() if found}


def test_every_page_fits_on_a_desktop_and_on_a_phone(browser: str, tmp_path: Path) -> None:
    if not SITE.is_dir():
        pytest.skip("no site in build/site: make docs")
    every = sorted(path.parent.relative_to(SITE) for path in SITE.rglob("index.html"))
    pages = [f"{page.as_posix()}/" for page in every if page.suffix != ".py"]
    assert len(pages) > 30
    assert misfits(browser, SITE, pages, tmp_path) == {}


def test_what_does_not_fit_would_be_found(browser: str, tmp_path: Path) -> None:
    wide = "display: inline-block; width: 900px"
    pages = {
        "good": "<p>short</p><pre><code style='overflow-x: auto; display: block'>"
        f"<b style='{wide}'></b></code></pre>",
        "page": f"<b style='{wide}'>wide</b>",
        "table": "<div class=md-typeset__scrollwrap style='overflow-x: auto'>"
        f"<table><td><b style='{wide}'>cell</b></table></div>",
        "clipped": f"<div style='overflow: hidden'><b style='{wide}'>cut</b></div>",
        "broken": "<table style='width: 60px; table-layout: fixed'><td>"
        "<code style='overflow-wrap: anywhere'>AnErrorOfALongName</code></table>",
        "option": "<p style='width: 60px'><code>program --an-option-of-it</code></p>",
        "picture": "<img src=nowhere.png>",
    }
    for name, content in pages.items():
        (tmp_path / f"{name}.html").write_text(f"<!doctype html><article>{content}</article>")
    found = misfits(browser, tmp_path, [f"{name}.html" for name in pages], tmp_path)
    assert set(found) == {
        "390 page.html",
        "390 table.html",
        "390 clipped.html",
        "390 broken.html",
        "1400 broken.html",
        "390 option.html",
        "1400 option.html",
        "390 picture.html",
        "1400 picture.html",
    }
