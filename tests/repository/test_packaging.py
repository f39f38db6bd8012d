"""The contents of the sdist and the wheel, and the effect of the build switches."""

from __future__ import annotations

import email
import email.message
import os
import pstats
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import mpgameserver

ROOT = Path(__file__).resolve().parents[2]
INSTALLING = ROOT / "docs" / "installing.md"
COMPILED = sorted(path.stem for path in (ROOT / "_core").glob("*.pyx"))
SOURCE_SUFFIXES = {".pyx", ".pxd", ".py", ".pyi", ".typed"}
GENERATED = re.compile(r"\.(c|html|so|pyd|pyc|o|pem|pub|db)$|(^|/)(build|dist|__pycache__)/")
NO_SOURCES = (".git", ".venv*", "build", "dist", "wheelhouse", "*.egg-info")
NO_SOURCES += ("__pycache__", ".*_cache", "*.so")
COMPILED_HERE = ROOT / "build" / "release"
"""All that `make install` has compiled. Of a module that is newer the C is made again, and compiled
unless it is what it was. Where there is nothing, all is compiled."""
SAID_HERE = ROOT / "build" / "release.log"
"""The output of the compiler of what is not compiled again."""
NOT_COMPILED = shutil.ignore_patterns("bdist*", "*.py", "*.pyi", "*.typed")
# Python's own profiling events are raised through the second one from Python 3.13 on.
HOOK = re.compile(rb"__Pyx__?Trace|__Pyx_call_return_trace|PyMonitoring_EnterScope")
ROW_OF_A_PROFILE = re.compile(r"_core/(\w+\.p[yx][xd]):\d+\((\w+)\)")
SWITCHES = ("MPGAMESERVER_PROFILE", "MPGAMESERVER_DEBUG", "MPGAMESERVER_SANITIZE")

SEE_WHAT_IS_INSTALLED = """
import importlib, sys
import mpgameserver
for name in sys.argv[1:]:
    module = importlib.import_module(f"mpgameserver._core.{name}")
    print(type(module.__loader__).__name__, module.__file__)
info = mpgameserver.build_info()
print(info.kind, mpgameserver.__version__)
assert info.modules == tuple(f"mpgameserver._core.{name}" for name in sys.argv[1:])
"""
SEE_WHAT_IS_PROFILED = """
import cProfile, pstats
from mpgameserver import build_info
from mpgameserver._core import seqnum
profile = cProfile.Profile()
profile.runcall(seqnum.wire_number, 65536)
files = {file for file, line, name in pstats.Stats(profile).stats}
print(build_info().kind, sorted(file for file in files if file.endswith(".pyx")))
"""
SEE_WHAT_IS_TRACED = """
import sys
from mpgameserver import build_info
from mpgameserver._core import seqnum
files = set()
def trace(frame, event, arg):
    if event == "line":
        files.add(frame.f_code.co_filename)
    return trace
if sys.version_info >= (3, 13):
    monitoring = sys.monitoring
    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "test")
    lines = monitoring.events.LINE
    monitoring.register_callback(
        monitoring.DEBUGGER_ID, lines, lambda code, line: files.add(code.co_filename)
    )
    monitoring.set_events(monitoring.DEBUGGER_ID, lines)
else:
    sys.settrace(trace)
seqnum.wire_number(65536)
print(build_info().kind, sorted(file for file in files if file.endswith(".pyx")))
"""


@dataclass(frozen=True)
class Built:
    """An sdist, the wheel that was built from it, and what the build said."""

    sdist: Path
    wheel: Path
    log: str


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program without the build switches and the Python settings of this process."""
    kept = {k: v for k, v in os.environ.items() if k not in SWITCHES and k != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def succeed(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


def new_environment(folder: Path) -> Path:
    """Make an empty environment, without a pip of its own, and return its interpreter."""
    venv.create(folder / "venv", symlinks=True)
    return folder / "venv" / "bin" / "python"


def pip_install(python: Path, *arguments: str | Path) -> None:
    """Have the pip of these tests install something for another interpreter."""
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    succeed(*pip, *arguments, cwd=python.parent)


def files_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def export(folder: Path) -> Path:
    """Copy the tree into a folder without anything that was built or installed in it."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NO_SOURCES), dirs_exist_ok=True)
    return folder


def use_what_is_compiled(python: Path, tree: Path) -> None:
    """Bring to a tree the modules that are compiled here and of which the C comes out the same."""
    shutil.copytree(COMPILED_HERE, tree / "build" / "release", ignore=NOT_COMPILED)
    succeed(python, "setup.py", "build", cwd=tree, CC="true", LDSHARED="true")  # translates only
    for compiled in tree.glob("build/release/lib*/mpgameserver/_core/*.so"):
        c = Path("cython", "_core", f"{compiled.name.partition('.')[0]}.c")
        if (tree / "build" / "release" / c).read_bytes() == (COMPILED_HERE / c).read_bytes():
            os.utime(compiled)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    tree, out = export(tmp_path_factory.mktemp("tree")), tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--outdir", out)
    log = succeed(*build, "--sdist", cwd=tree)
    sdist = next(out.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(tree.parent, filter="data")
    unpacked = tree.parent / sdist.name.removesuffix(".tar.gz")
    python, options = sys.executable, ["--wheel"]
    if COMPILED_HERE.is_dir():
        # Cython writes where its own declarations are, relative to where it works: there as here.
        (unpacked / ".venv").symlink_to(sys.prefix)
        python = unpacked / ".venv" / "bin" / "python"
        use_what_is_compiled(python, unpacked)
        options.append("--no-isolation")  # what compiled them has to be that which looks at them
        log += SAID_HERE.read_text()
    log += succeed(python, *build[1:], *options, cwd=unpacked)
    return Built(sdist, next(out.glob("*.whl")), log)


@pytest.fixture(scope="module")
def in_sdist(built: Built) -> set[str]:
    """The files of the sdist, relative to its only folder."""
    with tarfile.open(built.sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


@pytest.fixture(scope="module")
def in_wheel(built: Built) -> dict[str, bytes]:
    """The files of the wheel without its metadata, by name."""
    with zipfile.ZipFile(built.wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        return {name: archive.read(name) for name in names}


@pytest.fixture(scope="module")
def metadata(built: Built) -> email.message.Message:
    with zipfile.ZipFile(built.wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@dataclass(frozen=True)
class InPlace:
    """A build in a copy of the tree: the folder of the built package, and what was written."""

    package: Path
    written: set[str]
    log: str


def build_in_place(folder: Path, **switches: str) -> InPlace:
    before = files_under(export(folder))
    # Hooks are there at any level of optimisation; at this one it takes a third of the time.
    log = succeed(sys.executable, "setup.py", "build", cwd=folder, CFLAGS="-O0", **switches)
    return InPlace(next(folder.glob("build/*/lib*")), files_under(folder) - before, log)


@pytest.fixture(scope="module")
def profile_build(tmp_path_factory: pytest.TempPathFactory) -> InPlace:
    return build_in_place(tmp_path_factory.mktemp("profile"), MPGAMESERVER_PROFILE="1")


@pytest.fixture(scope="module")
def debug_build(tmp_path_factory: pytest.TempPathFactory) -> InPlace:
    return build_in_place(tmp_path_factory.mktemp("debug"), MPGAMESERVER_DEBUG="1")


def test_the_sdist_holds_every_source(in_sdist):
    sources = {
        str(path.relative_to(ROOT))
        for folder in ("_core", "bench", "examples", "mpgameserver", "tests", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SOURCE_SUFFIXES
    }
    assert sources - in_sdist == set()
    documents = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
    documents |= {"CODE_OF_CONDUCT.md", "CITATION.cff", "docs/security.md", "docs/installing.md"}
    documents |= {str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("README.md")}
    build = {"setup.py", "pyproject.toml", "constraints.txt", "Makefile"}
    build |= {str(path.relative_to(ROOT)) for path in (ROOT / "_core").glob("*.h")}
    assert documents | build <= in_sdist


def test_the_sdist_holds_nothing_generated(in_sdist):
    assert {name for name in in_sdist if GENERATED.search(name)} == set()


def test_the_wheel_holds_the_package_and_nothing_else(in_wheel):
    suffix = next(name.partition(".")[2] for name in in_wheel if "_core/build.c" in name)
    expected = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in (ROOT / "mpgameserver").rglob(pattern)
    }
    expected |= {f"mpgameserver/_core/{name}.{suffix}" for name in COMPILED}
    assert set(in_wheel) == expected


def test_the_metadata_is_what_the_package_says_of_itself(metadata):
    assert metadata["Name"] == "mpgameserver"
    assert metadata["Version"] == mpgameserver.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.10"
    required = [name for name in metadata.get_all("Requires-Dist") if "extra ==" not in name]
    assert [re.match(r"\w+", name)[0] for name in required] == ["cryptography"]


def test_an_index_would_take_both(built):
    succeed(
        *(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel),
        cwd=built.wheel.parent,
    )


def test_the_compiler_has_nothing_to_warn_of(built):
    warned = re.compile(r"\.(c|pyx|pxd):\d.*warning")
    assert [line for line in built.log.splitlines() if warned.search(line)] == []


def test_a_release_build_carries_no_hooks(in_wheel):
    assert [name for name, content in in_wheel.items() if HOOK.search(content)] == []


def test_the_wheel_works_in_an_empty_environment_from_another_folder(built, tmp_path):
    python = new_environment(tmp_path)
    pip_install(python, "--only-binary", ":all:", built.wheel)
    (tmp_path / "elsewhere").mkdir()
    output = succeed(python, "-c", SEE_WHAT_IS_INSTALLED, *COMPILED, cwd=tmp_path / "elsewhere")
    *modules, kind = output.splitlines()
    assert kind == f"release {mpgameserver.__version__}"
    assert len(modules) == len(COMPILED)
    for line in modules:
        assert line.startswith(f"ExtensionFileLoader {tmp_path}/venv/")
        assert "/site-packages/mpgameserver/_core/" in line


def test_it_can_be_installed_from_a_folder_as_the_page_says(built, tmp_path):
    python = new_environment(tmp_path)
    commands = re.findall(r"^python -m pip install (.*)$", INSTALLING.read_text(), re.M)
    from_folder = commands[1:3]
    assert "path/to/folder" in from_folder[0]
    for command in from_folder:
        words = shlex.split(command.replace("path/to/folder", str(built.wheel.parent)))
        pip_install(python, *words)
    output = succeed(python, "-c", SEE_WHAT_IS_INSTALLED, *COMPILED, cwd=tmp_path)
    assert output.endswith(f"release {mpgameserver.__version__}\n")


build_with_hooks = pytest.mark.extra  # two builds of all modules take minutes
profiles_compiled_code = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="the cProfile of Python 3.12 listens to events that compiled code cannot raise yet",
)


@build_with_hooks
@profiles_compiled_code
def test_a_profile_build_shows_the_compiled_functions_to_cprofile(profile_build, tmp_path):
    path = str(profile_build.package)
    output = succeed(sys.executable, "-c", SEE_WHAT_IS_PROFILED, cwd=tmp_path, PYTHONPATH=path)
    assert output == "profile ['_core/seqnum.pyx']\n"


@build_with_hooks
@profiles_compiled_code
def test_the_profile_of_the_hot_path_has_the_functions_that_the_page_explains(
    profile_build, tmp_path
):
    file = tmp_path / ".venv" / "profile" / "hotpath.prof"
    file.parent.mkdir(parents=True)
    shown = succeed(
        sys.executable,
        ROOT / "bench" / "profile_hotpath.py",
        file,
        cwd=tmp_path,
        PYTHONPATH=str(profile_build.package),
    )
    page = (ROOT / "docs" / "profiling.md").read_text()
    explained = ROW_OF_A_PROFILE.findall(page)
    assert len(explained) > 5
    assert len(ROW_OF_A_PROFILE.findall(shown)) > 20
    assert "under cProfile" in shown
    profiled = pstats.Stats(str(file)).stats
    assert set(explained) <= {(Path(source).name, function) for source, _, function in profiled}
    [question] = re.findall(r"^echo .*pstats.*$", page, re.M)
    answer = succeed("sh", "-c", question, cwd=tmp_path)
    assert re.search(r"endpoint\.pyx:\d+\(receive\) +-> .*\.pyx", answer)


@build_with_hooks
def test_a_debug_build_traces_lines(debug_build, tmp_path):
    path = str(debug_build.package)
    output = succeed(sys.executable, "-c", SEE_WHAT_IS_TRACED, cwd=tmp_path, PYTHONPATH=path)
    assert output == "debug ['_core/seqnum.pyx']\n"


@build_with_hooks
def test_every_module_of_a_build_with_hooks_has_them(profile_build, debug_build):
    for build in (profile_build, debug_build):
        modules = list(build.package.rglob("*.so"))
        assert len(modules) == len(COMPILED)
        assert [module.name for module in modules if not HOOK.search(module.read_bytes())] == []


@build_with_hooks
def test_a_build_says_which_one_it_is(profile_build, debug_build, built):
    assert "mpgameserver: profile build" in profile_build.log
    assert "mpgameserver: debug build" in debug_build.log
    assert "mpgameserver: release build" in built.log


@build_with_hooks
def test_a_build_writes_nothing_outside_its_folder(profile_build, debug_build):
    for build in (profile_build, debug_build):
        assert {name for name in build.written if not name.startswith("build/")} == set()


def test_both_switches_at_once_are_refused(tmp_path):
    done = run(
        sys.executable,
        "setup.py",
        "build",
        cwd=export(tmp_path),
        MPGAMESERVER_PROFILE="1",
        MPGAMESERVER_DEBUG="1",
    )
    assert done.returncode != 0
    assert "exclude each other" in done.stdout
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_is_on_or_off_and_nothing_else(switch, tmp_path):
    done = run(sys.executable, "setup.py", "build", cwd=export(tmp_path), **{switch: "yes"})
    assert done.returncode != 0
    assert f"{switch}=yes: expected 0 or 1" in done.stdout
