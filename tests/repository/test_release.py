"""The parts of a release: which wheels, with which tools, by which workflows."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
PLATFORMS = [
    ("linux", "x86_64", ("manylinux_x86_64", "musllinux_x86_64")),
    ("linux", "aarch64", ("manylinux_aarch64", "musllinux_aarch64")),
    ("macos", "x86_64", ("macosx_x86_64",)),
    ("macos", "arm64", ("macosx_arm64",)),
    ("windows", "AMD64", ("win_amd64",)),
    ("windows", "ARM64", ("win_arm64",)),
]

in_repository = pytest.mark.skipif(not WORKFLOWS, reason="the sdist has no workflows")


def pinned() -> dict[str, str]:
    """The version of each package that constraints.txt names."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {r.name.lower(): str(r.specifier).removeprefix("==") for r in requirements}


@pytest.mark.skipif(
    importlib.util.find_spec("cibuildwheel") is None, reason="needs Python 3.11 or later"
)
@pytest.mark.parametrize(("platform", "architecture", "tags"), PLATFORMS)
def test_there_is_a_wheel_for_each_python_and_none_that_is_free_threaded(
    platform: str, architecture: str, tags: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "cibuildwheel", str(ROOT), "--print-build-identifiers"]
    options = ["--platform", platform, "--archs", architecture]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    versions = [python.replace(".", "") for python in PYTHONS]
    assert set(done.stdout.split()) == {f"cp{v}-{tag}" for v in versions for tag in tags}


def test_the_citation_names_the_version_and_the_licence_of_the_project() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['project']['version']}\n" in citation
    assert f"\nlicense: {PROJECT['project']['license']}\n" in citation


def test_the_commit_hooks_run_what_make_lint_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    lint = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    *checkers, everything = re.findall(r"^ *entry: (.*)$", hooks, re.M)
    assert everything == "make lint"
    named = [re.search(r"(?:\.venv/bin/|PATH\" )([a-z][\w -]*\w)", c)[1] for c in checkers]
    assert named == ["ruff check", "ruff format --check", "mypy", "cython-lint"]
    assert [checker for checker in named if checker not in lint] == []


def test_the_same_pythons_are_named_everywhere() -> None:
    name = "Programming Language :: Python :: "
    classifiers = [c.removeprefix(name) for c in PROJECT["project"]["classifiers"]]
    assert [c for c in classifiers if re.fullmatch(r"3\.\d+", c)] == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    oldest = re.search(r"^OLDEST = (.*)$", (ROOT / "tools" / "interpreters.py").read_text(), re.M)
    assert oldest is not None
    assert oldest[1] == str(tuple(map(int, PYTHONS[0].split("."))))


@in_repository
def test_each_of_them_is_tested_on_every_change() -> None:
    matrix = re.search(r"python: \[(.*)\]", (WORKFLOWS[0].parent / "ci.yml").read_text())
    assert matrix is not None
    assert matrix[1].replace('"', "").split(", ") == PYTHONS


def test_what_is_tested_on_every_platform_is_there() -> None:
    listed = (ROOT / "tests" / "on-every-platform.txt").read_text().split()
    assert listed == sorted(set(listed))
    assert [name for name in listed if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("group", ["build", "release"])
def test_the_tools_of_a_release_are_pinned_to_versions_that_pyproject_toml_allows(
    group: str,
) -> None:
    versions = pinned()
    for line in PROJECT["dependency-groups"][group]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(versions[requirement.name.lower()]), line


def test_a_pin_is_an_exact_version() -> None:
    assert {n: v for n, v in pinned().items() if not re.fullmatch(r"[\w.]+", v)} == {}


def test_what_is_isolated_elsewhere_has_the_same_floor_as_the_group() -> None:
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]


@in_repository
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_has_a_version(workflow: Path) -> None:
    uses = re.findall(r"uses: (\S+)", workflow.read_text())
    assert [name for name in uses if not re.fullmatch(r"[\w./-]+@v\d[\d.]*", name)] == []


@in_repository
def test_a_release_counts_its_wheels_and_publishes_nothing() -> None:
    text = (WORKFLOWS[0].parent / "release.yml").read_text()
    wheels = len(PYTHONS) * sum(len(tags) for _, _, tags in PLATFORMS)
    assert f"-name '*.whl' | wc -l)\" -eq {wheels}" in text
    _, publish = text.split("  publish:\n")
    assert "    if: false\n" in publish
    assert "pypi-publish" not in text.removesuffix(publish)
