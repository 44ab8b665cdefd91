"""No timer and no socket starves, whatever is always ready beside it."""

import pytest

from . import support

# A beat is due every 10 ms. A greenlet whose I/O always succeeds at once keeps the thread for at
# most 128 operations or so, far less than 1 ms. The promise is 25 ms from beat to beat.
PROMISE_MS = 25
# From writing a byte in another process to reading it: one round of everything else that is ready.
LATENCY_MS = 15
SECONDS = 1.5

READY = [
    "read_little",
    "read_much",
    "read_into",
    "read_datagrams",
    "write",
    "write_all",
    "accept",
    "spin",
    "short_sleeps",
    "queue",
    "spawn",
    "callback",
    "timer",
]
# How often the neighbour must have run for the test to show anything. Other processes make the
# connections, which is slow on a busy machine.
BUSY = dict.fromkeys(READY, 1000) | {"accept": 50}


@pytest.mark.parametrize("neighbour", READY)
def test_timer_beside(neighbour):
    seen = support.run("fairness", neighbour, "timer", SECONDS).json()
    assert seen["turns"] > BUSY[neighbour], seen
    assert seen["net_ms"] < PROMISE_MS, seen


@pytest.mark.parametrize("neighbour", READY)
def test_socket_beside(neighbour):
    seen = support.run("fairness", neighbour, "socket", SECONDS).json()
    assert seen["turns"] > BUSY[neighbour], seen
    assert seen["net_ms"] < LATENCY_MS, seen


@pytest.mark.parametrize("kind", ["sleeping", "under_timeout", "all"])
def test_idle(kind):
    """With 1,000 waiting greenlets and nothing to do, the thread sleeps once and stays asleep."""
    seen = support.run("idle", kind).json()
    # One more is allowed: the kernel's timers may end a poll a little early.
    assert seen["sleeps"] <= 2, seen
    assert seen["used_ms"] < 5, seen
    assert seen["threads"] == 1, seen
