"""No timer and no socket starves, whatever is always ready beside it."""

import pytest

from . import support

# A greenlet whose I/O always succeeds at once keeps the thread for 128 operations at most. Whatever
# became ready meanwhile runs after it, or at the latest after the greenlet's next share; another
# two shares are allowed for a neighbour that runs dry in between.
TURNS = 4 * 128
# What yields by itself has no share: timers are looked at by the clock.
YIELDING = ["spin", "short_sleeps", "queue", "spawn", "callback", "timer"]
# 128 operations take far less than 1 ms, or a few if they are large. The promise is 15 ms.
PROMISE_MS = 15
SECONDS = 1.5

READY = ["read_little", "read_much", "read_into", "read_datagrams", "write", "write_all", "accept"]
READY += YIELDING
# How often the neighbour must have run for the test to show anything. Other processes make the
# connections, which is slow on a busy machine.
BUSY = dict.fromkeys(READY, 1000) | {"accept": 50}


@pytest.mark.parametrize("neighbour", READY)
@pytest.mark.parametrize("beat", ["timer", "descriptor"])
def test_beside(neighbour, beat):
    seen = support.run("fairness", neighbour, beat, SECONDS).json()
    assert seen["turns"] > BUSY[neighbour], seen
    assert seen["turns_late"] <= TURNS or neighbour in YIELDING, seen
    # The host of a virtual machine may stop it without saying so. That hits one beat or none; a
    # scheduler at fault would be late again and again.
    assert seen["late_ms"][-2] < PROMISE_MS, seen


@pytest.mark.parametrize("kind", ["sleeping", "under_timeout", "all"])
def test_idle(kind):
    """With 1,000 waiting greenlets and nothing to do, the thread sleeps once and stays asleep."""
    seen = support.run("idle", kind).json()
    # One more is allowed: the kernel's timers may end a poll a little early.
    assert seen["sleeps"] <= 2, seen
    assert seen["used_ms"] < 5, seen
    assert seen["threads"] == 1, seen
