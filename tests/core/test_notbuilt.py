"""Where there are no compiled modules, the ImportError says what is wrong and what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import mpgameserver

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(mpgameserver.__file__).parent


def error_of(program: str, folder: Path) -> str:
    """The last line of the error that a program ends with, run in a folder.

    It writes no bytecode: in the source tree a new folder would have make build anew.
    """
    run = [sys.executable, "-B", "-c", program]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package, in which nothing is compiled."""
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(INSTALLED, tmp_path / "mpgameserver", ignore=ignored)
    return tmp_path


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="the tests have left the tree")
@pytest.mark.parametrize("program", ["import mpgameserver", "from mpgameserver import UdpClient"])
def test_in_the_source_tree_it_says_to_leave_it(program: str) -> None:
    error = error_of(program, ROOT)
    assert error.startswith(f"ImportError: mpgameserver was imported from its source tree ({ROOT})")
    assert "run your program from another folder" in error
    assert "make wheel" in error


def test_from_a_zip_file_it_says_to_unpack_it(copied: Path) -> None:
    with zipfile.ZipFile(copied / "game.pyz", "w") as archive:
        for path in (copied / "mpgameserver").rglob("*.py"):
            archive.write(path, path.relative_to(copied))
    shutil.rmtree(copied / "mpgameserver")
    error = error_of("import sys; sys.path.insert(0, 'game.pyz'); import mpgameserver", copied)
    assert error.startswith("ImportError: mpgameserver was imported from a zip file (")
    assert "game.pyz" in error
    assert "unpack it, or install the wheel" in error


def test_built_for_another_python_it_names_both(copied: Path) -> None:
    name = "aesgcm.cpython-399-x86_64-linux-gnu.so"
    (copied / "mpgameserver" / "_core" / name).touch()
    error = error_of("import mpgameserver", copied)
    assert f"was built for another Python ({name})" in error
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"this is {sys.implementation.name} {version}: install the wheel for this" in error


def test_a_copy_of_the_folder_has_no_compiled_modules(copied: Path) -> None:
    error = error_of("import mpgameserver", copied)
    folder = copied / "mpgameserver"
    assert error.startswith(f"ImportError: mpgameserver in {folder} has no compiled modules")
    assert "install it from a wheel" in error


def test_a_module_that_cannot_be_loaded_is_named_with_the_reason(copied: Path) -> None:
    broken = copied / "mpgameserver" / "_core" / f"aesgcm{EXTENSION_SUFFIXES[0]}"
    broken.write_bytes(b"nothing")
    error = error_of("import mpgameserver", copied)
    assert error.startswith("ImportError: a compiled module of mpgameserver cannot be loaded: ")
    assert broken.name in error


def test_a_dependency_that_is_missing_is_not_taken_for_it() -> None:
    program = "import sys; sys.modules['cryptography'] = None; import mpgameserver"
    error = error_of(program, Path("/"))
    assert "cryptography" in error
    assert "compiled" not in error


def test_without_the_global_interpreter_lock_it_refuses_to_go_on() -> None:
    program = "import sys; sys._is_gil_enabled = lambda: False; import mpgameserver"
    error = error_of(program, Path("/"))
    assert error.startswith("ImportError: mpgameserver needs the global interpreter lock")
    assert "PYTHON_GIL=0" in error


def test_with_the_lock_it_goes_on() -> None:
    program = "import sys; sys._is_gil_enabled = lambda: True; import mpgameserver; 1 / 0"
    assert error_of(program, Path("/")) == "ZeroDivisionError: division by zero"
