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
    """The root of the checkout with these tests; treadle itself may be installed elsewhere."""
    return ROOT


@pytest.fixture(scope="session")
def fresh() -> Callable[..., str]:
    """Return a function that runs Python source in a fresh interpreter and returns its output.

    The function fails the test unless the interpreter ends within *timeout* seconds with exit
    code 0 and an empty stderr: a warning or a traceback from a stray thread fails it too.
    """

    def run(source: str, *arguments: str, timeout: float = 60) -> str:
        # The interpreter warns of a fork beside native threads, which thread pools start.
        warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
        command = [sys.executable, *warnings, "-c", source, *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    return run


def _armed() -> tuple[int, int]:
    """Return how many timers this thread's hub has set, and how many waits keep its loop alive."""
    hub = get_hub_if_exists()
    if hub is None:
        return 0, 0
    for _ in range(100):  # callbacks that are ready belong to the test that scheduled them
        if not hub.pending():
            break
        sleep(0)
    return hub.timer_count(), hub.refs


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves behind a timer, or a greenlet or watcher that waits for I/O."""
    before = _armed()
    yield
    for _ in range(50):  # a peer may see the end of a connection only now
        if _armed() == before:
            break
        sleep(0.01)
    assert _armed() == before, "(timers, waits) left over"
