"""Strike greenlets in Condition.wait() while they take its lock again. Print what was seen."""

import json
import random
import sys
import threading

from treadle import monkey

monkey.patch_all()

from locks import LOCKS, LOCKS_FOR_THREADING, depth, is_free  # noqa: E402

import treadle  # noqa: E402
import treadle.lock  # noqa: E402

KIND, SEED, ROUNDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
#: The longest of any wait, in seconds.
LONGEST = 0.0006


class Strike(Exception):
    pass


def strike(make_condition, make_lock, numbers):
    """Return what ended the wait, after checking that the lock is intact."""
    lock = make_lock()
    condition = make_condition(lock)
    ends = []

    def wait():
        with condition:
            try:
                with treadle.Timeout(numbers.random() * LONGEST):
                    condition.wait(numbers.choice([None, LONGEST / 2]))
                ends.append("end")
            except (treadle.Timeout, Strike) as exc:
                ends.append(type(exc).__name__)
            finally:
                assert depth(lock) == 1, (lock, depth(lock))

    def hold():
        with condition:
            condition.notify()
            treadle.sleep(numbers.random() * LONGEST)

    waiter = treadle.spawn(wait)
    treadle.sleep(0)
    holders = [treadle.spawn_later(numbers.random() * LONGEST, hold) for _ in range(2)]
    if numbers.random() < 0.5:
        treadle.spawn_later(numbers.random() * LONGEST, waiter.kill, Strike, block=False)
    treadle.joinall([waiter, *holders], timeout=5)
    assert all(greenlet.successful() for greenlet in holders), (lock, holders)
    assert waiter.successful() or isinstance(waiter.exception, Strike), (lock, waiter.exception)
    assert is_free(lock), lock
    return ends[0]


treadle.get_hub().NOT_ERROR += (Strike,)
numbers = random.Random(SEED)
condition, locks = {
    "treadle": (treadle.lock.Condition, LOCKS),
    "threading": (threading.Condition, LOCKS_FOR_THREADING),
}[KIND]
seen = {
    name: [strike(condition, make, numbers) for _ in range(ROUNDS)] for name, make in locks.items()
}
print(json.dumps({name: {end: ends.count(end) for end in ends} for name, ends in seen.items()}))
