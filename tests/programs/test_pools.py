"""What is left of a pool of connections after its user was interrupted at any of its waits.

apps/pools.py interrupts, by a kill, by a Timeout and by a cancelled scope. No connection may be
lost, nobody may hang or get the answer of another, and no lock may stay held, but for what is in
KNOWN.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

Run = Callable[..., str]


class Known(NamedTuple):
    """A fault of a library, not of treadle: KeyboardInterrupt shows it in a program of threads.

    Where only a scope does, it takes two in a row. gevent has the same ones, but for the locks of
    the queues in urllib3, requests and redis-py: it replaces the classes of `queue`.
    """

    fault: str
    how: str
    kinds: tuple[str, ...] = ("kill", "timeout", "scope")


# `with lock:` around a giving back. In a program that is on one thread nobody waits there, because
# nobody waits for anything else with the lock in hand: nothing is lost while the lock is "free".
# Otherwise what interrupts that wait also ends the giving back. A shield in the user's code helps,
# where it can be put around.
UNDER_A_LOCK = Known("lost", "held")
# All waits after the first one raise, also those of the library's own handlers of exceptions. They
# give back under a lock, and the user's code cannot shield them.
HANDLER_UNDER_A_LOCK = Known("lost", "shielded", ("scope",))
# urllib3 gives back a place that it has not taken yet, if it is interrupted while it waits for one:
# it expects EmptyPoolError there, and nothing else. Somebody else gets FullPoolError later.
PLACE_TOO_MANY = [Known("FullPoolError", "free"), Known("FullPoolError", "held")]
# psycopg_pool expects that a wait for a connection ends by an Exception, if any. GreenletExit and
# Timeout are none. So the waiter stays in line, and what it is given is lost. The pool's own
# timeout ends such a wait well, and so a shield costs little.
WAITER_LEFT_IN_LINE = Known("lost", "free")

KNOWN: dict[str, list[Known]] = {
    "urllib3": [*PLACE_TOO_MANY, UNDER_A_LOCK],
    "requests": [*PLACE_TOO_MANY, UNDER_A_LOCK],
    "psycopg": [WAITER_LEFT_IN_LINE, UNDER_A_LOCK],
    "sqlalchemy": [UNDER_A_LOCK, HANDLER_UNDER_A_LOCK],
    # It tries a second time what was interrupted, which helps unless all waits raise.
    "pymongo": [Known("lost", "held", ("scope",))],
    "redis": [UNDER_A_LOCK],
    "redis-blocking": [UNDER_A_LOCK],
    "queue": [UNDER_A_LOCK],
    "queue-full": [UNDER_A_LOCK],
    # treadle.queue has no lock.
    "queue-treadle": [],
    "queue-treadle-full": [],
    "tls": [],
    "tls-ended-by-peer": [],
}
SERVERS = {
    "urllib3": "site",
    "requests": "site",
    "psycopg": "postgresql",
    "sqlalchemy": "postgresql",
    "pymongo": "fake_mongodb",
    "redis": "redis",
    "redis-blocking": "redis",
}


@pytest.mark.parametrize("pool", KNOWN)
def test_an_interrupted_user_costs_a_pool_nothing(
    run: Run, request: pytest.FixtureRequest, pool: str
) -> None:
    url = request.getfixturevalue(SERVERS[pool]) if pool in SERVERS else ""
    seen = set()
    parks: dict[str, int] = {}
    for trial in json.loads(run("pools.py", pool, url)):
        kind, how, faults = trial["kind"], trial["how"], trial["faults"]
        known = {each for each in KNOWN[pool] if each.how == how and kind in each.kinds}
        assert set(faults) <= {each.fault for each in known}, trial
        seen |= {each for each in known if each.fault in faults}
        assert trial["parks"] >= 3, trial
        parks[how] = parks.get(how, 0) + trial["parks"]
    assert seen == set(KNOWN[pool])  # what is not seen any more need not be known
    assert parks.get("held", parks["free"] + 1) > parks["free"]  # its locks were waited for
