"""Build the compiled modules. Everything else about the package is in pyproject.toml."""

import os
import sys
from glob import glob

import greenlet
from Cython.Build import cythonize
from Cython.Compiler.Options import parse_directive_list
from setuptools import Extension, setup

CORE = "src/treadle/_core"
HTTP = "src/treadle/http"
#: Cython module -> the C sources that it is compiled with.
ALSO = {f"{HTTP}/h1.pyx": sorted(glob(f"{HTTP}/llhttp/*.c"))}

DIRECTIVES = {
    "language_level": 3,
    # Methods check the type of self then, and are called faster, unless a Python class overrides
    # them. With binding, Semaphore.release(object()) would reach the C struct.
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    # An index into a sequence of the program's is checked. C arrays and pointers never are.
    "boundscheck": True,
    "wraparound": False,
    "cdivision": True,
    # A switch may happen inside any call, so the error indicator must live in the thread
    # state that greenlet saves, never in a local copy (gevent#1985, greenlet#3.0 notes).
    "fast_gil": False,
    # No __reduce_cython__ in help(): what has C state cannot be pickled, and object says so itself.
    "auto_pickle": False,
    # The core counts on the GIL, so an interpreter that runs without it has to take it.
    "freethreading_compatible": False,
    # More for one build, such as "nonecheck=True".
    **parse_directive_list(os.environ.get("TREADLE_DIRECTIVES", "")),
}
ONLY_ON = {f"{CORE}/{name}.pyx": "linux" for name in ("epoll", "signals")}
# CFLAGS may choose another level.
OPTIMISE = [] if "-O" in os.environ.get("CFLAGS", "") else ["-O2"]
MACROS = [("CYTHON_FAST_THREAD_STATE", "0"), ("CYTHON_USE_EXC_INFO_STACK", "1")]


def extension(source: str) -> Extension:
    name = os.path.splitext(os.path.relpath(source, "src"))[0].replace(os.sep, ".")
    return Extension(
        name,
        [source, *ALSO.get(source, [])],
        include_dirs=[os.path.dirname(greenlet.__file__), CORE, HTTP],
        depends=[*glob(f"{CORE}/*.h"), *glob(f"{HTTP}/llhttp/*.h")],
        define_macros=MACROS,
        extra_compile_args=[*OPTIMISE, "-Wno-unreachable-code", "-Wno-unused-variable"]
        if os.name == "posix"
        else [],
    )


setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=cythonize(
        [
            extension(source)
            for source in sorted([*glob(f"{CORE}/*.pyx"), *glob(f"{HTTP}/*.pyx")])
            if ONLY_ON.get(source, sys.platform) == sys.platform
        ],
        include_path=["src"],
        build_dir="build/cython",  # keeps generated C out of the source tree
        compiler_directives=DIRECTIVES,
    ),
)
