"""The shape of the source: layers, sizes, and what must not be in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from statistics import quantiles

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mpgameserver"
CORE = ROOT / "_core"
COMPILED = sorted(path.stem for path in CORE.glob("*.pyx"))
PYTHON = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

IO_AND_CLOCKS = {
    "asyncio",
    "concurrent",
    "multiprocessing",
    "select",
    "selectors",
    "socket",
    "threading",
    "time",
}
# Time is an argument, and the network is bytes in and bytes out, for these and all they import.
PROTOCOL = (
    "client.handshake",
    "client.handshake2",
    "client.setup2",
    "connection",
    "crypto",
    "stats",
    "wire.handshake",
    "wire.packet",
)
# No module knows, not even through another, of those above it.
UNKNOWN_TO = {
    "connection": {"client", "server", "cli"},
    "client.udpclient": {"server", "cli"},
    "server.udpserver": {"client", "cli"},
}

PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROOM_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", re.M)
ROOMS = {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in ROOM_ROW.findall(PAGE)}
"""The rule: each room of the package, and the rooms that it may import from."""
ON_TOP = {"mpgameserver", "mpgameserver.__main__"}
"""The modules that users start with, which import whatever they offer."""
PLACE_ROW = re.compile(r"^\| [^|]+\? \| (.+) \|$", re.M)

MAX_PXD_LINES = 80
MAX_FUNCTION_LINES = 80
MAX_FUNCTION_LINES_OF_NINE_IN_TEN = 45

CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(\([^)]*\)|[^\n]*)|c?import\s+([\w.]+))", re.M
)
CYTHON_FUNCTION = re.compile(
    r"^(\s*)(?:(?:async )?def|cdef|cpdef)\b(?!\s+(?:class|extern|enum|struct)\b)[^=]*\("
)


def module_name(path: Path) -> str:
    """Return the dotted name of the module that a source file of the tree is."""
    if path.is_relative_to(CORE):
        return f"mpgameserver._core.{path.stem}"
    parts = path.resolve().relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python_imports(path: Path) -> set[str]:
    """Return every dotted name that a Python file imports, wherever in it."""
    package = module_name(path)
    if path.name != "__init__.py":
        package = package.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names.update({base} | {f"{base}.{alias.name}" for alias in node.names})
    return names


def cython_imports(path: Path) -> set[str]:
    """Return every dotted name that a .pyx or .pxd file imports or cimports."""
    names = set()
    for base, members, whole in CYTHON_IMPORT.findall(path.read_text()):
        names.add(base or whole)
        names.update(f"{base}.{member}" for member in re.findall(r"\w+", members))
    return names


def source_files() -> list[Path]:
    return [*PACKAGE.rglob("*.py"), *CORE.glob("*.pyx"), *PACKAGE.rglob("*.pxd")]


def imports_of(path: Path) -> set[str]:
    return python_imports(path) if path.suffix == ".py" else cython_imports(path)


@cache
def import_graph() -> dict[str, set[str]]:
    """Return, for each module of the package, which others it imports."""
    names = {module_name(path) for path in source_files()}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for path in source_files():
        name = module_name(path)
        graph[name] |= (imports_of(path) & names) - {name}
    # `from mpgameserver import x` names the package and the module: the module is what is meant.
    return {
        name: {
            wanted for wanted in wants if not any(other.startswith(f"{wanted}.") for other in wants)
        }
        for name, wants in graph.items()
    }


def all_imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports, directly or through others."""
    graph, found, waiting = import_graph(), set(), [f"mpgameserver.{name}"]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def function_lengths(path: Path) -> dict[str, int]:
    """Return the lines of each function of a file, from its `def` to its last statement."""
    if path.suffix == ".py":
        tree = ast.walk(ast.parse(path.read_text()))
        functions = [n for n in tree if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        return {f"{path.name}:{f.lineno} {f.name}": f.end_lineno - f.lineno + 1 for f in functions}
    return cython_function_lengths(path)


def cython_function_lengths(path: Path) -> dict[str, int]:
    lines = path.read_text().splitlines()
    lengths = {}
    for start, line in enumerate(lines):
        if not (match := CYTHON_FUNCTION.match(line)):
            continue
        last = start
        for number in range(start + 1, len(lines)):
            text = lines[number]
            # A closing bracket in the column of the `def` still belongs to the signature.
            if text.strip() and not text.startswith((match[1] + " ", match[1] + ")")):
                break
            last = number if text.strip() else last
        lengths[f"{path.name}:{start + 1} {line.strip()}"] = last - start + 1
    return lengths


@pytest.mark.parametrize("name", COMPILED)
def test_every_compiled_module_has_its_types(name):
    assert (PACKAGE / "_core" / f"{name}.pyi").is_file()


def test_every_declaration_file_is_short():
    lines = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.pxd")}
    assert {name: count for name, count in lines.items() if count > MAX_PXD_LINES} == {}


def test_functions_are_short():
    lengths = {}
    for path in source_files():
        lengths |= function_lengths(path)
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}
    assert quantiles(lengths.values(), n=10)[-1] <= MAX_FUNCTION_LINES_OF_NINE_IN_TEN


def test_setup_py_stays_small():
    assert len((ROOT / "setup.py").read_text().splitlines()) <= 65


def test_who_reads_imports_in_python_code_finds_every_compiled_module():
    """Freezers look there, because they cannot see how compiled modules import each other."""
    named = python_imports(PACKAGE / "_core" / "__init__.py")
    assert {f"mpgameserver._core.{name}" for name in COMPILED} <= named


def test_no_module_imports_itself_in_a_circle():
    TopologicalSorter(import_graph()).prepare()


def room_of(name: str) -> str:
    """Return the room of a module: the first part of its name below the package."""
    return name.split(".")[1]


@pytest.mark.parametrize("room", sorted({room_of(n) for n in import_graph() if n not in ON_TOP}))
def test_a_room_imports_from_those_that_the_architecture_page_grants(room):
    imported = {
        room_of(wanted)
        for name, wants in import_graph().items()
        if name not in ON_TOP and room_of(name) == room
        for wanted in wants - ON_TOP
    }
    assert imported - {room} == ROOMS[room]


def test_the_architecture_page_names_every_module():
    named = set(re.findall(r"`([\w.]+)`", PAGE))
    modules = {name.removeprefix("mpgameserver.") for name in import_graph() if name not in ON_TOP}
    packages = {name.rpartition(".")[0] for name in modules}
    assert modules - packages - named == set()


def is_defined(owner: str, function: str) -> bool:
    """Tell whether a class of the package has a method of that name."""
    sources = (path.read_text() for path in source_files() if path.suffix != ".pxd")
    of_class = re.compile(rf"^(cdef )?class {owner}\b.*? {function}\(", re.M | re.S)
    return any(of_class.search(text) for text in sources)


def test_what_the_architecture_page_leads_to_is_there():
    places = PLACE_ROW.findall(PAGE)
    assert len(places) >= 9
    for place in places:
        for path in re.findall(r"`([\w/]+\.(?:pyx|pxd|py))`", place):
            assert ((ROOT if path.endswith(".pyx") else PACKAGE) / path).is_file(), path
        for owner, function in re.findall(r"`([A-Z]\w+)\.(\w+)`", place):
            assert is_defined(owner, function), f"{owner}.{function}"


def test_the_compiled_core_imports_nothing_of_the_package_but_its_leaves():
    core = {name for name in import_graph() if name.startswith("mpgameserver._core")}
    imported = set().union(*(import_graph()[name] for name in core))
    assert imported - core <= {"mpgameserver.enums", "mpgameserver.errors"}


def test_the_protocol_knows_no_network_no_thread_and_no_clock():
    protocol = {name for name in import_graph() if name.startswith("mpgameserver._core")}
    for name in PROTOCOL:
        protocol |= {f"mpgameserver.{name}"} | all_imports(name)
    found = {
        f"{path.name} imports {name}"
        for path in source_files()
        if module_name(path) in protocol
        for name in imports_of(path)
        if name.partition(".")[0] in IO_AND_CLOCKS
    }
    assert found == set()


def test_the_package_reads_the_clock_that_is_fine_everywhere():
    """On Windows before Python 3.13 `time.monotonic` has steps of 15.6 ms."""
    coarse = [path.name for path in source_files() if "time.monotonic" in path.read_text()]
    assert coarse == []


@pytest.mark.parametrize("name", ["client", "driver", "lingering", "server", "watch"])
def test_the_covers_for_asyncio_have_nothing_of_the_protocol(name):
    of_the_protocol = {
        *("client.connect", "client.handshake", "connection", "server.engine", "server.sessions"),
        *(f"_core.{module}" for module in COMPILED if module != "seqnum"),
    }
    used = {
        imported.removeprefix("mpgameserver.")
        for imported in import_graph()[f"mpgameserver.aio.{name}"]
    }
    assert used & of_the_protocol == set()


def test_no_compiled_module_switches_hooks_on_or_checks_off():
    banned = re.compile(r"\b(profile|linetrace|boundscheck|wraparound|initializedcheck)\s*(=|\()")
    found = {
        f"{path.name}: {match[0]}"
        for path in [*CORE.glob("*.pyx"), *PACKAGE.rglob("*.pxd")]
        if (match := banned.search(path.read_text()))
    }
    assert found == set()


def test_nothing_is_declared_to_work_without_the_global_lock():
    """Some state of the core is the whole process's, and has no other lock (docs/installing.md)."""
    files = [ROOT / "setup.py", *CORE.glob("*.pyx"), *PACKAGE.rglob("*.pxd")]
    assert [path.name for path in files if "freethreading" in path.read_text()] == []


IMPORT_EACH_FIRST = """
import importlib, os, sys, traceback
import mpgameserver  # what every import of one of its modules begins with

failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(f"cannot be the first import: {failed}" if failed else 0)
"""


def test_each_module_can_be_the_first_to_be_imported(tmp_path):
    names = {module_name(ROOT / path) for path in PYTHON} - {"mpgameserver.__main__"}
    command = [sys.executable, "-I", "-c", IMPORT_EACH_FIRST, *sorted(names)]
    subprocess.run(command, cwd=tmp_path, check=True)
