"""The demo's report as a page: whole, closed in itself, and without a complaint in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mpgameserver.cli import main
from mpgameserver.cli.demo import player as player_module
from mpgameserver.cli.demo.page import report_page
from mpgameserver.cli.demo.report import ClientResult, DemoReport, DemoSettings
from mpgameserver.cli.demo.timeline import Timeline

# Warnings of imports of an old matplotlib do not matter here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CONSOLE = re.compile(r":CONSOLE[:(]")
VOID = {"meta"}

REPORT = DemoReport(
    settings=DemoSettings(2.0, 5.0, 50.0, 10.0, 2.0, 1, 7),
    played=2.0,
    waited=0.1,
    frames=120,
    frames_left_out=0,
    messages=(),
    datagrams=(),
    clients=(ClientResult(1, 0.0512, ()),),
    timeline=Timeline((50.0, None), (60.0, None), (9, 8), (7, 6), (900, 800), (700, 600)),
)


class Page(HTMLParser):
    """The elements of a page, its text, and whether they nest as they should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href")
        ]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def text() -> str:
    return report_page(REPORT)


def test_it_has_the_conditions_the_charts_and_the_tables(text: str) -> None:
    page = Page(text)
    assert page.elements.count("svg") == 1
    assert page.elements.count("table") == 4
    for words in ("5 %", "50 ms", "10 ms", "datagrams", "messages", "51.2", "arrived exactly once"):
        assert words in page.text
    for words in ("latency (ms)", "highest", "packets per second", "sent", "kB per second"):
        assert words in page.text


def test_axes_and_labels_have_the_colour_of_the_text_in_light_and_dark(text: str) -> None:
    assert text.count("currentColor") > 10
    assert "#000" not in text
    assert "#ffffff" not in text


def test_without_matplotlib_it_says_what_draws_the_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = Page(report_page(REPORT))
    assert "svg" not in page.elements
    assert page.elements.count("table") == 4
    assert "There are no charts: matplotlib is needed to plot: pip install matplotlib" in page.text


def test_it_needs_nothing_but_itself(text: str) -> None:
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert {"script", "link", "img", "iframe", "image"} & set(page.elements) == set()
    assert re.search(r"url\((?!#)", text) is None
    assert "default-src 'none'" in text


def test_problems_are_told_and_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # charts take a second
    failed = replace(REPORT, clients=(ClientResult(1, 0.0, ("lost <b>it</b>",)),))
    text = report_page(failed)
    assert "client 1: lost &lt;b&gt;it&lt;/b&gt;" in text
    assert "exactly once" not in Page(text).text


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_module, "FILE_SIZE", 5000)


@pytest.mark.usefixtures("small_files")
def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "demo.html"
    file.write_text("from before")
    assert main(["demo", "--seconds", "0.3", "--clients", "1", "--report", str(file)]) == 0
    page = Page(file.read_text(encoding="utf-8"))
    assert "position up" in page.text
    assert "svg" in page.elements
    assert "exactly once" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "nowhere/demo.html"])
def test_a_file_that_cannot_be_written_is_refused_before_the_demo(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--report", str(tmp_path / name)])
    assert stopped.value.code == 2
    assert "cannot write" in capsys.readouterr().err


def opened(browser: str, file: Path, folder: Path) -> tuple[str, list[str]]:
    """The document as the browser has it in the end, and the lines of its console."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--enable-logging=stderr",
        "--virtual-time-budget=1000",
        "--dump-dom",
    ]
    command = [browser, *options, f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    # With a home of its own it leaves nothing behind in that of the user.
    environment = os.environ | {"HOME": str(folder)}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    return ran.stdout, [line for line in ran.stderr.splitlines() if CONSOLE.search(line)]


@pytest.mark.extra
@pytest.mark.usefixtures("small_files")
def test_chromium_opens_it_without_a_word_in_the_console(browser: str, tmp_path: Path) -> None:
    file = tmp_path / "demo.html"
    assert main(["demo", "--seconds", "1.5", "--clients", "2", "--report", str(file)]) == 0
    document, console = opened(browser, file, tmp_path)
    assert console == []
    page = Page(document)
    assert page.elements.count("svg") == 1
    assert page.elements.count("table") == 4


@pytest.mark.extra
def test_what_a_page_does_wrong_would_be_in_the_console(
    browser: str, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.html"
    script = "<script>nothing.there()</script>"
    for page in (f"<p>{script}", text.replace("</body>", f"{script}</body>")):
        file.write_text(page)
        assert opened(browser, file, tmp_path)[1] != []
