"""The contestants: how each runs a program that is written for gevent, and on which processor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

GEVENT, TREADLE = "gevent", "treadle"
NAMES = (GEVENT, TREADLE)
APPS = Path(__file__).parents[2] / "tests" / "programs" / "apps"

#: The measured program runs on the first processor; its peers run on the others if there are any.
MEASURED, *OTHERS = sorted(os.sched_getaffinity(0))


def make_room() -> None:
    """Move this process to the other processors: the first is for the measured program."""
    os.sched_setaffinity(0, OTHERS or [MEASURED])


def command(who: str, *arguments: object) -> list[str]:
    """Return the command by which a contestant runs ``python ARGUMENT ...``."""
    through = ["-m", "treadle", "run", "--gevent"] if who == TREADLE else []
    held = ["taskset", "-c", str(MEASURED)]
    return [*held, sys.executable, *through, *map(str, arguments)]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the programs' environment variables, in which they find each other's modules."""
    path = [str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | (extra or {})
