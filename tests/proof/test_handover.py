"""Hand-over with each primitive, between greenlets, native threads and other threads' hubs."""

from itertools import product

import pytest

from . import support

COUNT = 10_000 if support.FULL else 500
KINDS = ["greenlet", "native", "hub"]
PRIMITIVES = [
    "semaphore",
    "semaphore_timeout",
    "bounded_semaphore",
    "lock",
    "rlock",
    "condition",
    "event",
    "async_result",
    "queue",
    "lifo_queue",
    "priority_queue",
    "joinable_queue",
    "simple_queue",
    "channel",
    "threadpool",
]


@pytest.mark.parametrize("primitive", PRIMITIVES)
@pytest.mark.parametrize(("holder", "waiter"), list(product(KINDS, KINDS)))
def test_hand_over(primitive, holder, waiter):
    support.run("handover", primitive, holder, waiter, COUNT).json()


@pytest.mark.parametrize("waiter", KINDS)
@pytest.mark.parametrize("holder", ["greenlet", "hub"])
def test_join(holder, waiter):
    support.run("handover", "join", holder, waiter, COUNT).json()
