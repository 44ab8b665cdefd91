"""The command line of ``python -m treadle.monkey``, the same as gevent.monkey's."""

from __future__ import annotations

import runpy
import sys
from typing import Any

USAGE = """\
usage: python -m treadle.monkey [OPTION ...] [--module] SCRIPT_OR_MODULE [ARG ...]

Run a program with the standard library patched. Without options, all of it is; --no-PART leaves one
part out, and --PART patches that part and no other. PART is one of:
  {parts}
--verbose tells what is patched, --module runs a module by its name."""

#: Arguments that say how a part is patched. They do not select parts.
_DETAILS = {"aggressive", "Event"}


def run(patch_all: Any) -> None:
    """Patch as the options in ``sys.argv`` say, then run the named program as ``__main__``."""
    parts = patch_all.__code__.co_varnames[: patch_all.__code__.co_argcount]
    usage = USAGE.format(parts=" ".join(parts))
    arguments = sys.argv[1:]
    options = []
    while arguments and arguments[0].startswith("--"):
        options.append(arguments.pop(0)[2:])
    known = {"verbose", "module", *parts, *(f"no-{part}" for part in parts)}
    unknown = [f"--{option}" for option in options if option not in known]
    if unknown:
        sys.exit(f"{usage}\n\nunknown option: {' '.join(unknown)}")
    if not arguments:
        print(usage)
        return
    chosen = _chosen(parts, options)
    if "verbose" in options:
        print(f"patch_all({', '.join(f'{name}={on}' for name, on in chosen.items())})")
        print(f"sys.version={sys.version!r}", f"sys.path={sys.path}", sep="\n")
    sys.argv[:] = arguments
    patch_all(**chosen)
    if "module" in options:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


def _chosen(parts: tuple[str, ...], options: list[str]) -> dict[str, bool]:
    chosen = {part: True for part in parts if part in options}
    if chosen.keys() - _DETAILS:
        chosen = {part: part in chosen for part in parts if part not in _DETAILS} | chosen
    return chosen | {part: False for part in parts if f"no-{part}" in options}
