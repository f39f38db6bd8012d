"""The compiled modules and the build switches; all the rest is in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LIBRARIES = ["dl"] if sys.platform == "linux" else []  # where dlopen is before glibc 2.34
HEADERS = ["_core/openssl.h", "_core/udp.h", "_core/wipe.h"]
# A None where a compiled class is expected would crash the interpreter: such arguments are refused.
DIRECTIVES = {"language_level": 3, "embedsignature": True, "allow_none_for_extension_args": False}
DIRECTIVES |= {"auto_pickle": False}  # it would copy pointers, and nothing here is to be pickled
HOOKS = {"profile": {"profile": True}, "debug": {"linetrace": True, "nonecheck": True}}
MACROS = {"profile": ["CYTHON_PROFILE"], "debug": ["CYTHON_TRACE", "CYTHON_TRACE_NOGIL"]}
FLAGS = {"debug": ["/Od", "/Z7"] if os.name == "nt" else ["-O0", "-g3", "-UNDEBUG"]}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FLAGS["sanitize"] = ["-O1", "-g1", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZERS]
FLAGS["release"] = ["-g0"] * (os.name != "nt" and "CFLAGS" not in os.environ)  # a third faster


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


class TranslateAndBuild(build_ext):
    """Translates the modules when they are built; an sdist and metadata need only their names."""

    def build_extensions(self) -> None:
        folder = Path(f"build/{kind}/cython")  # which no other kind of build uses
        # Cython does not look into the .pxd of a module for those that it needs in turn.
        declared = max(path.stat().st_mtime for path in Path("mpgameserver/_core").glob("*.pxd"))
        stale = any(path.stat().st_mtime < declared for path in folder.rglob("*.c"))
        cython = {"build_dir": str(folder), "annotate": kind == "debug", "force": stale}
        cython["compiler_directives"] = DIRECTIVES | HOOKS.get(kind, {})
        for module in self.extensions:
            module.sources = cythonize(module, **cython)[0].sources
        super().build_extensions()


kind = kind_of_build()
print(f"mpgameserver: {kind} build", flush=True)
c = {"include_dirs": ["_core"], "depends": HEADERS, "libraries": LIBRARIES}
c["define_macros"] = [(macro, "1") for macro in MACROS.get(kind, [])]
c["extra_compile_args"] = ["-Wall", "-Wsign-compare"] * (os.name != "nt") + FLAGS.get(kind, [])
c["extra_link_args"] = SANITIZERS if kind == "sanitize" else []
paths = sorted(Path("_core").glob("*.pyx"))
modules = [Extension(f"mpgameserver._core.{path.stem}", [str(path)], **c) for path in paths]
options = {"build": {"build_base": f"build/{kind}"}, "build_ext": {"parallel": True}}
setup(ext_modules=modules, options=options, cmdclass={"build_ext": TranslateAndBuild})
