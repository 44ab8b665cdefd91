"""Fixtures that every test module may use."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treadle.hub import get_hub_if_exists, sleep

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout these tests stand in; the treadle they import may be installed elsewhere."""
    return ROOT


@pytest.fixture(scope="session")
def fresh() -> Callable[..., str]:
    """Run Python source in a fresh interpreter and return what it printed.

    It fails the test unless the interpreter ends within the time, with exit code 0 and a silent
    stderr: a warning or a traceback of a stray thread is a failure too.
    """

    def run(source: str, *arguments: str, timeout: float = 60) -> str:
        # The interpreter warns of forks beside native threads, which thread pools start.
        warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
        command = [sys.executable, *warnings, "-c", source, *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    return run


def _armed() -> tuple[int, int]:
    """How many timers this thread's hub has set, and how many waits keep its loop going."""
    hub = get_hub_if_exists()
    if hub is None:
        return 0, 0
    for _ in range(100):  # what is ready belongs to the test that made it so
        if not hub.pending():
            break
        sleep(0)
    return hub.timer_count(), hub.refs


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a timer, or a greenlet or watcher waiting for I/O, to the next."""
    before = _armed()
    yield
    for _ in range(50):  # a peer that sees the end of a connection only now
        if _armed() == before:
            break
        sleep(0.01)
    assert _armed() == before, "(timers, waits) left over"
