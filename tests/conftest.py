"""Fixtures that every test module may use."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout these tests stand in; the weft they import may be installed elsewhere."""
    return ROOT


@pytest.fixture(scope="session")
def fresh() -> Callable[..., str]:
    """Run Python source in a fresh interpreter and return what it printed.

    It fails the test unless the interpreter ends within the time, with exit code 0 and a silent
    stderr: a warning or a traceback of a stray thread is a failure too.
    """

    def run(source: str, *arguments: str, timeout: float = 60) -> str:
        command = [sys.executable, "-W", "error", "-c", source, *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    return run
