"""Runs of one module's tests, each in a process of its own."""

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
#: Seconds for a test, and for a module.
TEST_LIMIT, MODULE_LIMIT = 60, 900


def outcomes(module: str, mode: str, without: Iterable[str] = ()) -> dict[str, str]:
    """How each test of *module* but those of *without* ended: "ok", "skipped" or what went wrong.

    A test that hangs or brings the process down is noted as that, and the others are run without.
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
        # Where no test was on, it is the module itself that failed.
        fatal[open_[-1] if open_ else f"test.{module}"] = why
        if not open_ or len(fatal) == before or len(fatal) > 30:
            break
    return ended | fatal


def once(module: str, mode: str, skipped: list[str]) -> tuple[list[dict[str, object]], str]:
    """One run: what the child recorded, and, if it did not finish, how it ended."""
    with tempfile.TemporaryDirectory(prefix="treadle-stdlib-") as folder:
        record = Path(folder, "record")
        record.touch()
        errors = Path(folder, "errors")  # no pipe: what a test leaves behind would keep it open
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
            with contextlib.suppress(ValueError):  # cut off by the end of the process
                lines.append(json.loads(text))
    return lines, why
