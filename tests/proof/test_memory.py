"""Nothing is left behind: not a byte, not an object, not a descriptor."""

import pytest

from . import support

MILLION = 1_000_000
# Without PROOF_FULL: a tenth, and of little no less than this.
PART = 10
FEW = 5_000

# What may remain after a case. The allocators' own ups and downs come to some 100 KiB here; over
# a million times 1 MiB is one byte each, over 100,000 it is ten. Objects and blocks are exact but
# for a few that caches of the interpreter keep.
RESIDENT_KIB = 1024 if support.FULL else 4096  # of a part, mostly what allocators keep
OBJECTS = 30
BLOCKS = 200

CASES = [
    ("ended", MILLION),
    ("slept", 200_000),
    ("forgotten", 200_000),
    ("raised", 200_000),
    ("killed", 200_000),
    ("killed_before_start", 200_000),
    ("killed_in_waits", 200_000),
    ("raw", 200_000),
    ("later", 200_000),
    ("linked", 200_000),
    ("pooled", 200_000),
    ("in_cycles", 200_000),
    ("cancelled_timeouts", MILLION),
    ("outstanding_timeouts", MILLION),
    ("expired_timeouts", 200_000),
    ("waits_timed_out", 200_000),
    ("waits_woken", 200_000),
    ("callbacks", 200_000),
    ("watchers", 200_000),
    ("greenlet_locals", 200_000),
    ("connections", 100_000),
    ("socketpairs", 100_000),
    ("dropped_sockets", 50_000),
    ("datagrams", 50_000),
    ("threadpool", 50_000),
    ("hubs", 500),
]


@pytest.mark.parametrize(("case", "count"), CASES)
def test_flat(case, count):
    if not support.FULL and count > FEW:
        count = max(count // PART, FEW)
    grown = support.run("memory", case, count, limit=110).json()
    assert grown["descriptors"] == 0, grown
    assert grown["objects"] <= OBJECTS, grown
    assert grown["blocks"] <= BLOCKS, grown
    assert grown["resident_kib"] <= RESIDENT_KIB, grown
