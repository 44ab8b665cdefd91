"""Compiles the C programs of the echo row on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class NoCompiler(Exception):
    """There is no C compiler to build the echo programs with."""


def build(name: str, folder: Path) -> Path:
    """Return the program `name` in `folder`, compiled from `name`.c with $CC (or cc) if needed."""
    program = folder / name
    if program.exists():
        return program
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler.split()[0]) is None:
        raise NoCompiler(f"no C compiler {compiler!r}: install one or set CC")
    source = HERE / f"{name}.c"
    subprocess.run([*compiler.split(), "-O2", "-Wall", "-o", program, source], check=True)
    return program
