"""No memory, no object and no descriptor stays behind."""

import pytest

from . import support

MILLION = 1_000_000
# Without PROOF_FULL, a case runs a tenth of its count, but no fewer times than FEW.
PART = 10
FEW = 5_000

# What may remain after a case. The allocators alone vary by some 100 KiB. 1 MiB is one byte for
# each of a million repetitions, ten bytes for each of 100,000. The counts of objects and blocks
# are exact, except for a few in caches of the interpreter.
RESIDENT_KIB = 1024
OBJECTS = 20
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
