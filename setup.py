"""The compiled modules and the two build switches; all the rest is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = """
    build duplicates endpoint fifo fragments header message outbox packet roundtrip seqnum traffic
    window
"""
# A None where a compiled class is expected would crash the interpreter: such arguments are refused.
DIRECTIVES = {"language_level": 3, "embedsignature": True, "allow_none_for_extension_args": False}


def is_on(switch: str) -> bool:
    """Tell whether a build switch is set; anything but 0 and 1 is a mistake."""
    value = os.environ.get(switch) or "0"
    if value not in ("0", "1"):
        raise SystemExit(f"{switch}={value}: expected 0 or 1")
    return value == "1"


def kind_of_build() -> str:
    """Return release, profile or debug, as the environment asks for."""
    profile, debug = is_on("MPGAMESERVER_PROFILE"), is_on("MPGAMESERVER_DEBUG")
    if profile and debug:
        raise SystemExit("MPGAMESERVER_PROFILE=1 and MPGAMESERVER_DEBUG=1 exclude each other")
    return "profile" if profile else "debug" if debug else "release"


def extensions(kind: str) -> list[Extension]:
    """Return the compiled modules, translated into a folder that no other kind of build uses."""
    directives, macros = dict(DIRECTIVES), []
    flags = [] if os.name == "nt" else ["-Wall", "-Wsign-compare"]
    if kind == "profile":
        directives.update(profile=True)
        macros = [("CYTHON_PROFILE", "1")]
    elif kind == "debug":
        directives.update(linetrace=True, nonecheck=True)
        macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
        flags += ["/Od", "/Z7"] if os.name == "nt" else ["-O0", "-g3", "-UNDEBUG"]
    c = {"define_macros": macros, "extra_compile_args": flags}
    modules = [
        Extension(f"mpgameserver._core.{name}", [f"_core/{name}.pyx"], **c)
        for name in MODULES.split()
    ]
    cython = {"build_dir": f"build/{kind}/cython", "annotate": kind == "debug"}
    return cythonize(modules, compiler_directives=directives, **cython)


kind = kind_of_build()
print(f"mpgameserver: {kind} build", flush=True)
options = {"build": {"build_base": f"build/{kind}"}, "build_ext": {"parallel": True}}
setup(ext_modules=extensions(kind), options=options)
