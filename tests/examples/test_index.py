"""The examples as a whole: the index, and what is true of each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.programs import EXAMPLES, copied_examples, running

import mpgameserver

NAMES = sorted(path.name for path in EXAMPLES.iterdir() if (path / "README.md").exists())
PUBLIC_MODULES = {
    "mpgameserver",
    "mpgameserver.aio",
    "mpgameserver.metrics",
    "mpgameserver.monitorchannel",
    "mpgameserver.netsim",
    "mpgameserver.udpproxy",
}


def test_the_index_has_a_row_for_each_example_and_for_nothing_else() -> None:
    rows = re.findall(
        r"^\| \[`(\w+)`\]\((\w+)/README\.md\) \|", (EXAMPLES / "README.md").read_text(), re.M
    )
    assert [name for name, _ in rows] == [folder for _, folder in rows]
    assert sorted(name for name, _ in rows) == NAMES


def test_there_is_no_code_without_a_readme() -> None:
    assert {path.parent.name for path in EXAMPLES.rglob("*.py")} <= set(NAMES)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("star.server", "python -m mpgameserver genkey star.pem"),
        ("star.play", "python -m mpgameserver genkey star.pem"),
        ("accounts.web", "python -m accounts.setup"),
        ("accounts.game", "python -m accounts.setup"),
        ("accounts.client", "python -m accounts.setup"),
        ("chat.server", "python -m mpgameserver genkey chat.pem"),
        ("chat.client", "python -m mpgameserver genkey chat.pem"),
        ("filetransfer.server", "python -m mpgameserver genkey files.pem"),
        ("filetransfer.send", "python -m mpgameserver genkey files.pem"),
        ("swarm.echoserver", "python -m mpgameserver genkey swarm.pem"),
        ("swarm", "python -m mpgameserver genkey swarm.pem"),
    ],
)
def test_who_starts_without_a_key_is_told_how_to_make_one(
    command: str, hint: str, tmp_path: Path
) -> None:
    needed = {"accounts.client": "Ada", "filetransfer.server": "received"}
    needed |= {"filetransfer.send": "README.md", "swarm": "127.0.0.1:1474"}
    arguments = [needed[command]] if command in needed else []
    with running(copied_examples(tmp_path), "-m", command, *arguments) as process:
        output, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert hint in output
    assert "Traceback" not in output


def imports(path: Path) -> set[tuple[str, str]]:
    """The names that a file imports, by module of the package."""
    return {
        (node.module or "", alias.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mpgameserver")
        for alias in node.names
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_example_uses_what_is_public(name: str) -> None:
    used = set().union(*(imports(path) for path in (EXAMPLES / name).rglob("*.py")))
    assert {module for module, _ in used} <= PUBLIC_MODULES
    names = {what for module, what in used if module == "mpgameserver"}
    modules = {module.rpartition(".")[2] for module in PUBLIC_MODULES}
    assert names <= {*mpgameserver.__all__, *modules}
