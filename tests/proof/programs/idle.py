"""idle.py KIND: 1,000 greenlets wait for an hour, and nothing happens for 2 s.

Prints how often the thread went to sleep in these 2 s, and the processor time it used. A thread
that polls, ticks or spins goes to sleep more than once, or uses more processor time.
"""

import json
import os
import sys
import threading
import time

from parked import park

import treadle

HOUR = 3600


def sleeps():
    """Return how often this thread has given up the processor voluntarily."""
    with open(f"/proc/self/task/{threading.get_native_id()}/status") as status:
        return int(status.read().split("voluntary_ctxt_switches:")[1].split()[0])


greenlets = park(sys.argv[1], 1000)
treadle.sleep(0.1)
before, used = sleeps(), time.thread_time()
treadle.sleep(2)
seen = {"sleeps": sleeps() - before, "used_ms": 1000 * (time.thread_time() - used)}
seen["threads"] = len(os.listdir("/proc/self/task"))
assert not any(g.dead for g in greenlets)
print(json.dumps(seen), flush=True)
os._exit(0)
