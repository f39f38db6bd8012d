"""The compiled modules and the build switches; all the rest is in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

LIBRARIES = ["dl"] if sys.platform == "linux" else []  # where dlopen is before glibc 2.34
# A None where a compiled class is expected would crash the interpreter: such arguments are refused.
DIRECTIVES = {"language_level": 3, "embedsignature": True, "allow_none_for_extension_args": False}
DIRECTIVES |= {"auto_pickle": False}  # it would copy pointers, and nothing here is to be pickled


def is_on(switch: str) -> bool:
    """Tell whether a build switch is set; anything but 0 and 1 is a mistake."""
    value = os.environ.get(switch) or "0"
    if value not in ("0", "1"):
        raise SystemExit(f"{switch}={value}: expected 0 or 1")
    return value == "1"


def kind_of_build() -> str:
    """Return release, or the kind that a switch of the environment asks for."""
    switches = {f"MPGAMESERVER_{kind.upper()}": kind for kind in ("profile", "debug", "sanitize")}
    on = [switch for switch in switches if is_on(switch)]
    if len(on) > 1:
        raise SystemExit(f"{'=1 and '.join(on)}=1 exclude each other")
    return switches[on[0]] if on else "release"


def extensions(kind: str) -> list[Extension]:
    """Return the compiled modules, translated into a folder that no other kind of build uses."""
    directives, macros, links = dict(DIRECTIVES), [], []
    flags = [] if os.name == "nt" else ["-Wall", "-Wsign-compare"]
    if kind == "profile":
        directives.update(profile=True)
        macros = [("CYTHON_PROFILE", "1")]
    elif kind == "debug":
        directives.update(linetrace=True, nonecheck=True)
        macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
        flags += ["/Od", "/Z7"] if os.name == "nt" else ["-O0", "-g3", "-UNDEBUG"]
    elif kind == "sanitize":
        links = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        flags += ["-O1", "-g1", "-UNDEBUG", "-fno-omit-frame-pointer", *links]
    c = {"define_macros": macros, "extra_compile_args": flags, "extra_link_args": links}
    c.update(include_dirs=["_core"], depends=["_core/openssl.h", "_core/udp.h", "_core/wipe.h"])
    c.update(libraries=LIBRARIES)
    modules = [
        Extension(f"mpgameserver._core.{path.stem}", [str(path)], **c)
        for path in sorted(Path("_core").glob("*.pyx"))
    ]
    folder = Path(f"build/{kind}/cython")
    # Cython does not look into the .pxd of a module for those that it needs in turn.
    declared = max(path.stat().st_mtime for path in Path("mpgameserver/_core").glob("*.pxd"))
    stale = any(path.stat().st_mtime < declared for path in folder.rglob("*.c"))
    cython = {"build_dir": str(folder), "annotate": kind == "debug", "force": stale}
    return cythonize(modules, compiler_directives=directives, **cython)


kind = kind_of_build()
print(f"mpgameserver: {kind} build", flush=True)
options = {"build": {"build_base": f"build/{kind}"}, "build_ext": {"parallel": True}}
setup(ext_modules=extensions(kind), options=options)
