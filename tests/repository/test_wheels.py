"""Which interpreters `make wheels` finds, and what it calls a success."""

from __future__ import annotations

import io
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
GOOD = {
    "implementation": "CPython",
    "version": [3, 12, 1],
    "is_final": True,
    "free_threaded": False,
    "has_headers": True,
    "has_venv": True,
}

if sys.platform == "win32":
    pytest.skip("make wheels is for systems with make", allow_module_level=True)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch):
    """A function that imports a module of the folder."""
    monkeypatch.syspath_prepend(str(TOOLS))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(TOOLS)):
            del sys.modules[name]


@pytest.fixture
def interpreters(tools) -> ModuleType:
    return tools("interpreters")


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python(path: Path, **answers: object) -> Path:
    """A program that claims to be a suitable CPython, except for some answers."""
    return program(path, f"echo '{json.dumps(GOOD | {'executable': str(path)} | answers)}'")


class TestCandidates:
    def test_they_come_from_the_path_and_from_the_versions_of_pyenv(self, interpreters, tmp_path):
        folders = [tmp_path / "first", tmp_path / "second"]
        expected = [
            python(folders[0] / "python3"),
            python(folders[0] / "python3.12"),
            python(folders[1] / "python"),
            python(tmp_path / "home" / ".pyenv" / "versions" / "3.13.0" / "bin" / "python3"),
        ]
        for name in ("python3-config", "python3.12-gdb.py", "python2.7", "pythonw", "pip3"):
            program(folders[0] / name, "exit 0")
        path = f"{folders[0]}::{tmp_path / 'not there'}:{folders[1]}"
        environment = {"PATH": path, "HOME": str(tmp_path / "home")}
        assert list(interpreters.candidates(environment)) == expected

    def test_pyenv_may_be_elsewhere(self, interpreters, tmp_path):
        expected = python(tmp_path / "root" / "versions" / "3.11.7" / "bin" / "python3")
        environment = {"PYENV_ROOT": str(tmp_path / "root"), "HOME": "/nonexistent"}
        assert list(interpreters.candidates(environment)) == [expected]


class TestInterpreters:
    def test_the_one_that_runs_this_is_one(self, interpreters):
        found, refused = interpreters.find_interpreters([Path(sys.executable)])
        assert [i.version for i in found] == [sys.version_info[:3]]
        assert refused == {}

    def test_each_minor_version_is_there_once_by_its_newest_and_in_order(
        self, interpreters, tmp_path
    ):
        paths = [
            python(tmp_path / "a", version=[3, 13, 0]),
            python(tmp_path / "b", version=[3, 9, 1]),
            python(tmp_path / "c", version=[3, 10, 2]),
            python(tmp_path / "d", version=[3, 10, 13]),
            python(tmp_path / "e", version=[3, 10, 4]),
        ]
        found, _ = interpreters.find_interpreters(paths)
        assert [(i.path, i.name) for i in found] == [(paths[3], "3.10"), (paths[0], "3.13")]

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ({"version": [3, 9, 18]}, "older than 3.10"),
            ({"free_threaded": True}, "free-threaded"),
            ({"is_final": False}, "no release"),
            ({"has_headers": False}, r"Python\.h"),
            ({"has_venv": False}, "venv"),
        ],
    )
    def test_what_cannot_build_is_passed_over_and_it_is_said_why(
        self, interpreters, tmp_path, answers, reason
    ):
        path = python(tmp_path / "python3", **answers)
        found, refused = interpreters.find_interpreters([path])
        assert found == []
        [text] = refused.values()
        assert text.startswith(f"{path}: ")
        assert reason.replace("\\", "") in text

    def test_nothing_is_said_of_it_where_another_one_will_do(self, interpreters, tmp_path):
        paths = [python(tmp_path / "a", has_headers=False), python(tmp_path / "b")]
        found, refused = interpreters.find_interpreters(paths)
        assert [i.path for i in found] == [paths[1]]
        assert refused == {}

    def test_a_shim_is_taken_for_what_it_runs(self, interpreters, tmp_path):
        path = python(tmp_path / "shim", executable="/versions/3.12.1/bin/python3.12")
        found, _ = interpreters.find_interpreters([path])
        assert [i.path for i in found] == [Path("/versions/3.12.1/bin/python3.12")]

    def test_a_free_threaded_one_does_not_stand_for_the_other(self, interpreters, tmp_path):
        paths = [python(tmp_path / "a", free_threaded=True), python(tmp_path / "b")]
        found, refused = interpreters.find_interpreters(paths)
        assert [i.path for i in found] == [paths[1]]
        assert list(refused) == ["3.12t"]

    @pytest.mark.parametrize(
        "text",
        ["echo 'pyenv: python3.12: command not found' >&2; exit 127", "echo hello", "kill -9 $$"],
        ids=["a shim of pyenv", "something else", "a crash"],
    )
    def test_what_is_no_interpreter_is_no_matter(self, interpreters, tmp_path, text):
        paths = [program(tmp_path / "python3", text), tmp_path / "not there"]
        assert interpreters.find_interpreters(paths) == ([], {})

    def test_nor_is_another_implementation(self, interpreters, tmp_path):
        path = python(tmp_path / "python3", implementation="PyPy")
        assert interpreters.find_interpreters([path]) == ([], {})


class TestVerdict:
    """With the building and the testing left out, which `make wheels` itself is the test of."""

    @pytest.fixture
    def wheels(self, tools, monkeypatch, tmp_path) -> ModuleType:
        module = tools("wheels")
        self.here = [
            python(tmp_path / f"3.{minor}", version=[3, minor, 1]) for minor in (10, 11, 12)
        ]
        monkeypatch.setattr(module, "candidates", lambda: self.here)
        monkeypatch.setattr(module, "build_sdist", lambda folder: (folder, folder))
        wheel = tmp_path / "mpgameserver-1.0-cp310-cp310-manylinux2014_x86_64.whl"
        wheel.write_bytes(bytes(12_345))
        monkeypatch.setattr(module, "build_wheel", lambda *_: wheel)
        monkeypatch.setattr(module, "try_wheel", lambda *_: "12 passed")
        self.module = module
        return module

    def outcome(self, *arguments: str) -> tuple[int, str]:
        shown = io.StringIO()
        from rich.console import Console

        code = self.module.main(arguments, Console(file=shown, width=200))
        return code, shown.getvalue()

    def test_each_interpreter_has_a_line_with_what_runs_its_wheel(self, wheels):
        code, shown = self.outcome()
        assert code == 0
        rows = [line for line in shown.splitlines() if "passed" in line]
        assert [row.split()[1] for row in rows] == ["3.10.1", "3.11.1", "3.12.1"]
        assert all("manylinux2014_x86_64" in row and "12 passed" in row for row in rows)

    def test_only_those_that_were_asked_for(self, wheels):
        code, shown = self.outcome("--python", "3.11", "--python", "3.12")
        assert code == 0
        assert "3.10.1" not in shown

    def test_one_that_is_not_here_is_a_failure(self, wheels):
        assert self.outcome("--python", "3.11", "--python", "3.99") == (
            1,
            "no CPython here is 3.99\n",
        )

    def test_to_have_tested_nothing_is_a_failure(self, wheels):
        self.here.clear()
        code, shown = self.outcome()
        assert code == 1
        assert shown.startswith("no CPython here")

    def test_one_that_fails_stops_none_of_the_others_and_is_a_failure(self, wheels, monkeypatch):
        def try_wheel(interpreter, *_):
            if interpreter.name == "3.11":
                wheels.run("sh", "-c", "echo it broke; exit 3")
            return "12 passed"

        monkeypatch.setattr(wheels, "try_wheel", try_wheel)
        code, shown = self.outcome()
        assert code == 1
        assert "it broke" in shown
        last = [line.strip(" │").split()[-1] for line in shown.splitlines() if "2014" in line]
        assert last == ["ok", "failed", "ok"]


def test_a_command_that_fails_tells_the_end_of_what_it_printed(tools):
    wheels = tools("wheels")
    assert wheels.run("echo", "fine") == "fine\n"
    with pytest.raises(wheels.StepError, match=r"(?s)\nline 99\n.*status 3") as caught:
        wheels.run("sh", "-c", "for i in $(seq 99); do echo line $i; done; exit 3")
    assert "line 59\n" not in str(caught.value)
    with pytest.raises(wheels.StepError, match="not there"):
        wheels.run("/not there")


def test_no_switch_has_another_build_made(tools, monkeypatch):
    monkeypatch.setenv("MPGAMESERVER_PROFILE", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    seen = tools("wheels").run("env")
    assert "MPGAMESERVER_" not in seen
    assert "PYTHONPATH" not in seen
