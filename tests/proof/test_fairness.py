"""Nobody starves: not a timer, not a socket, whatever is always ready beside it."""

import pytest

from . import support

# A beat is due every 10 ms. A greenlet whose I/O succeeds at once keeps the thread for at most
# about 128 operations, well under 1 ms of them; the promise is 25 ms from beat to beat.
PROMISE_MS = 25
# From a byte's being written elsewhere to its being read: one round of whatever else is ready.
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
# How often the neighbour must have run, or nothing was shown. Connections are made by other
# processes, which are slow on a busy machine.
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
    """1,000 that wait and nothing to do: the thread goes to sleep once, and nothing wakes it."""
    seen = support.run("idle", kind).json()
    # Once more is allowed for a poll whose timeout the kernel's timers cut a little short.
    assert seen["sleeps"] <= 2, seen
    assert seen["used_ms"] < 5, seen
    assert seen["threads"] == 1, seen
