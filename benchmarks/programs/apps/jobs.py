"""A queue of Celery's, in Redis; ``python -m jobs COUNT`` puts jobs in and gets their results."""

import json
import os
import sys
import time

from celery import Celery, group

app = Celery("jobs", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_prefetch_multiplier = 4


@app.task
def double(number: int) -> int:
    return 2 * number


def run(count: int) -> float:
    """The seconds until all results are there."""
    begun = time.perf_counter()
    results = group(double.s(number) for number in range(count)).apply_async().get(timeout=120)
    assert results == [2 * number for number in range(count)]
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
