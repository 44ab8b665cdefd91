"""Celery jobs that use Redis; ``python jobs.py CHECK`` runs some in a worker and reports."""

import json
import os
import socket
import sys
import threading
import time
from typing import Any

from celery import Celery, group
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from kombu.utils.compat import detect_environment

import treadle.thread

app = Celery("jobs", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True
SECONDS = 30

running = most = 0
ended: list[str] = []


@app.task
def wait(number: int, seconds: float) -> int:
    """Sleep *seconds* and return *number*; all_ended() lists the calls that have ended."""
    global running, most
    running += 1
    most = max(most, running)
    try:
        time.sleep(seconds)
        return number
    finally:
        running -= 1
        ended.append(str(number))


@app.task
def most_at_once() -> int:
    """Return how many calls of wait() ran at once since the last call of this task."""
    global most
    most, before = 0, most
    return before


@app.task
def all_ended() -> list[str]:
    return ended


@app.task(soft_time_limit=0.2)
def limited_softly() -> str:
    try:
        time.sleep(SECONDS)
    except SoftTimeLimitExceeded as exc:
        return f"tidied up after {exc.args[0]}"
    return "not limited"


@app.task(time_limit=0.2)
def limited_hard() -> None:
    time.sleep(SECONDS)


@app.task
def surroundings() -> list[object]:
    return [
        socket.socket is treadle.socket.socket,
        type(threading.Lock()) is treadle.thread.LockType,
        detect_environment(),
    ]


def get(task: Any, *args: Any, **options: Any) -> Any:
    """Run *task* in the worker and return its result."""
    return task.apply_async(args, **options).get(timeout=SECONDS)


def waits(count: int, seconds: float) -> list[int]:
    jobs = group(wait.s(number, seconds) for number in range(count))
    results: list[int] = jobs.apply_async().get(timeout=SECONDS)
    return results


def ask_worker() -> Any:
    """Return the object that queries the worker's state."""
    return app.control.inspect(limit=1)


def await_active() -> None:
    """Wait until the worker runs a task."""
    while not any(ask_worker().active().values()):
        time.sleep(0.02)


def check_waits() -> Any:
    """Run 50 waits at once, after a first round that opens all connections."""
    waits(50, 0.0)
    began = time.perf_counter()
    results = waits(50, 0.2)
    return time.perf_counter() - began, results, get(surroundings)


def check_limits() -> Any:
    """Check hard and soft time limits, and a countdown."""
    try:
        get(limited_hard)
    except TimeLimitExceeded as exc:
        hard = str(exc)
    began = time.perf_counter()
    get(wait, 1, 0.0, countdown=0.5)
    return hard, get(limited_softly), time.perf_counter() - began


def check_revocation() -> Any:
    """Revoke a running task and one that has not begun: both must end as revoked."""
    running = wait.delay("running", SECONDS)
    await_active()
    later = wait.apply_async(("later", 0.0), countdown=1)
    for job in (running, later):
        job.revoke(terminate=True)
    outcomes = []
    for job in (running, later):
        try:
            job.get(timeout=SECONDS)
        except TaskRevokedError as exc:
            outcomes.append(str(exc))
    return outcomes, get(all_ended)


def check_control() -> Any:
    """Grow a pool of 2 by 4, and then shrink it by 5, while it is in use."""
    found = []
    for change, count in ((None, 0), (app.control.pool_grow, 4), (app.control.pool_shrink, 5)):
        jobs = group(wait.s(number, 0.1) for number in range(12)).apply_async()
        if change is not None:
            assert change(count, reply=True, limit=1)
        jobs.get(timeout=SECONDS)
        get(most_at_once)
        waits(12, 0.1)
        found.append(get(most_at_once))
    (pong,) = app.control.ping(limit=1)
    (statistics,) = ask_worker().stats().values()
    return found, list(pong.values()), statistics["pool"]["max-concurrency"]


def check_shutdown() -> Any:
    """Print when a long wait has begun, so that the worker can be stopped; return its result."""
    job = wait.delay(7, 2.0)
    await_active()
    print("begun", flush=True)
    return job.get(timeout=SECONDS)


if __name__ == "__main__":
    while not app.control.ping(limit=1):
        pass  # the worker is about to start
    print(json.dumps(globals()[f"check_{sys.argv[1]}"]()))
    app.close()
