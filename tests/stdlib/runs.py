"""Run the tests of one module, each time in a new process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import treadle

from .modules import RESOURCES

LIBRARY = str(Path(treadle.__file__).resolve().parents[1])
CHILD = Path(__file__).with_name("child.py")
#: Time limits in seconds for one test and for a whole module.
TEST_LIMIT, MODULE_LIMIT = 60, 900


def outcomes(module: str, mode: str, without: Iterable[str] = ()) -> dict[str, str]:
    """Return how each test of *module*, except those in *without*, ended.

    An outcome is "ok", "skipped" or an error text. If a test hangs or brings the process down, that
    is its outcome, and the other tests run again without it.
    """
    ended: dict[str, str] = {}
    fatal: dict[str, str] = {}
    while True:
        before = len(fatal)
        lines, why = once(module, mode, [*without, *fatal])
        ended = {line["end"]: line["outcome"] for line in lines if "end" in line}
        if {"done": True} in lines:
            break
        open_ = [line["begin"] for line in lines if "begin" in line and line["begin"] not in ended]
        # If no test was running, the module itself failed.
        fatal[open_[-1] if open_ else f"test.{module}"] = why
        if not open_ or len(fatal) == before or len(fatal) > 30:
            break
    return ended | fatal


def once(module: str, mode: str, skipped: list[str]) -> tuple[list[dict[str, object]], str]:
    """Run the tests once; return what the child recorded, and how it ended if it did not finish."""
    with tempfile.TemporaryDirectory(prefix="treadle-stdlib-") as folder:
        record = Path(folder, "record")
        record.touch()
        errors = Path(folder, "errors")  # no pipe: a process left behind would keep it open
        work = Path(folder, "work")
        work.mkdir()
        resources = ",".join(RESOURCES.get(module, []))
        command = [sys.executable, "-X", "faulthandler", str(CHILD), module, str(record), mode]
        with errors.open("wb") as stderr:
            child = subprocess.Popen(
                [*command, str(TEST_LIMIT), resources, *skipped],
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=os.environ | {"TMPDIR": str(work), "PYTHONWARNINGS": "", "PYTHONPATH": LIBRARY},
                start_new_session=True,
            )
        why = ""
        try:
            child.wait(MODULE_LIMIT)
        except subprocess.TimeoutExpired:
            why = f"the module took {MODULE_LIMIT} s, "
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # also what its tests left behind
            child.wait()
        why += f"ended by {child.returncode}: {errors.read_text(errors='replace')[-3000:]}"
        lines = []
        for text in record.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the end of the process may cut off a line
                lines.append(json.loads(text))
    return lines, why
