"""Celery workers with treadle's pool, by both names, and Celery's gevent pool on the alias."""

import json
from collections.abc import Callable

import pytest

from .conftest import Program

Run = Callable[..., str]
Worker = Callable[..., Program]

#: How to start a worker: Python's arguments, and the name of the pool.
TREADLE = (["-m", "treadle", "run", "-m", "celery"], "treadle")
CUSTOM = (["-m", "celery"], "custom")
GEVENT = (["-m", "treadle", "run", "--gevent", "-m", "celery"], "gevent")
KINDS = [
    pytest.param(TREADLE, id="treadle"),
    pytest.param(CUSTOM, id="custom"),
    pytest.param(GEVENT, id="gevent"),
]


@pytest.fixture
def worker(start: Worker, redis: str, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Return a function that starts a worker of *kind* with *places* places."""
    monkeypatch.setenv("REDIS_URL", redis)
    monkeypatch.setenv("CELERY_CUSTOM_WORKER_POOL", "treadle.celery:TaskPool")

    def launch(kind: tuple[list[str], str], places: int = 60) -> Program:
        command, pool = kind
        quiet = ["-W", "ignore:You're running the worker with superuser"]
        options = ["-P", pool, "-c", places, "--loglevel", "ERROR"]
        options += ["--without-gossip", "--without-mingle"]
        return start(*quiet, *command, "-A", "jobs", "worker", *options)

    return launch


def errors_of(worker: Program) -> str:
    """Stop *worker* and return its stderr."""
    assert worker.stop() == 0, worker.stderr
    return worker.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_waits_at_once(run: Run, worker: Worker, kind: tuple[list[str], str]) -> None:
    running = worker(kind)
    seconds, results, surroundings = json.loads(run("jobs.py", "waits"))
    assert results == list(range(50))
    assert 0.2 <= seconds < 3  # 10 one after the other
    assert surroundings == [True, True, "gevent"]
    assert errors_of(running) == ""


@pytest.mark.parametrize("kind", KINDS[:2])  # Celery's own pool does not support soft limits
def test_time_limits(run: Run, worker: Worker, kind: tuple[list[str], str]) -> None:
    running = worker(kind)
    hard, soft, countdown = json.loads(run("jobs.py", "limits"))
    assert hard == "TimeLimitExceeded(0.2,)"
    assert soft == "tidied up after 0.2"
    assert countdown >= 0.5
    (line,) = errors_of(running).splitlines()
    assert "Hard time limit (0.2s) exceeded for jobs.limited_hard" in line


@pytest.mark.parametrize("kind", KINDS)
def test_revoked_tasks_end(run: Run, worker: Worker, kind: tuple[list[str], str]) -> None:
    running = worker(kind)
    outcomes, ended = json.loads(run("jobs.py", "revocation"))
    assert outcomes == ["terminated", "revoked"]
    assert ended == ["running"]
    assert errors_of(running) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_pools_grow_and_shrink(run: Run, worker: Worker, kind: tuple[list[str], str]) -> None:
    running = worker(kind, places=2)
    most, pong, places = json.loads(run("jobs.py", "control"))
    assert most == [2, 6, 1]
    assert (pong, places) == ([{"ok": "pong"}], 1)
    assert errors_of(running) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_is_finished(start: Worker, worker: Worker, kind: tuple[list[str], str]) -> None:
    running = worker(kind)
    client = start("jobs.py", "shutdown")
    assert client.process.stdout is not None
    assert client.process.stdout.readline() == "begun\n"
    assert errors_of(running) == ""
    assert client.wait() == 0
    assert json.loads(client.process.stdout.read()) == 7
    assert client.stderr == ""
