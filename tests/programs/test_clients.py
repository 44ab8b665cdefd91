"""Client libraries for servers, each in a program that a user would start."""

import json
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from redis import Redis

from .conftest import Program
from .servers import START_SECONDS, SecureShell

Run = Callable[..., str]

#: Python's arguments to run a program in each of the styles of apps/crowd.py.
COMMANDS = {
    "threads": ["-m", "treadle", "run"],
    "gevent": ["-m", "treadle", "run", "--gevent"],
    "treadle": [],
}
LOAD = 500


class Called(NamedTuple):
    """The report of a program of apps/crowd.py."""

    results: list[Any]
    seconds: float


def called(run: Run, style: str, program: str, url: str, *what: Any) -> Called:
    """Run a program of apps/crowd.py to its end and return its report."""
    report = json.loads(run(*COMMANDS[style], program, style, url, *what))
    return Called(report["results"], report["wall"])


def crowd(run: Run, style: str, program: str, url: str, *extra: Any) -> None:
    """Check that 50 waits of 0.2 s take less than 3 s, and that LOAD quick calls are right."""
    waits = called(run, style, program, url, "waits", 50, *extra)
    assert waits.results == list(range(50))
    assert 0.2 <= waits.seconds < 3  # 10 one after the other
    assert called(run, style, program, url, "load", LOAD, *extra).results == list(range(LOAD))


@pytest.mark.parametrize("style", COMMANDS)
def test_redis(run: Run, redis: str, style: str) -> None:
    crowd(run, style, "redis_py.py", redis)


@pytest.mark.parametrize("style", COMMANDS)
def test_an_interrupt_ends_a_program_as_it_ends_python(
    start: Callable[..., Program], redis: str, style: str
) -> None:
    many = 10_000_000
    program = start(*COMMANDS[style], "redis_py.py", style, redis, "waits", many)
    with Redis.from_url(redis) as client:
        deadline = time.monotonic() + START_SECONDS
        while client.info("clients")["blocked_clients"] < 50:
            assert time.monotonic() < deadline, program.stderr
    assert program.stop(signal.SIGINT) == -signal.SIGINT
    assert program.stderr.count("Traceback") == 1
    assert program.stderr.endswith("\nKeyboardInterrupt\n")


@pytest.mark.parametrize("library", ["requests", "urllib3", "httpx"])
@pytest.mark.parametrize("style", COMMANDS)
def test_http(run: Run, site: str, style: str, library: str) -> None:
    crowd(run, style, "http_clients.py", site, library)


@pytest.mark.parametrize("style", COMMANDS)
def test_paramiko(run: Run, openssh: SecureShell, style: str) -> None:
    crowd(run, style, "ssh.py", openssh.url, openssh.private_key, openssh.known_hosts)


@pytest.mark.parametrize("style", COMMANDS)
def test_psycopg_with_sqlalchemy(run: Run, postgresql: str, style: str) -> None:
    crowd(run, style, "orm.py", postgresql, "psycopg")


def test_psycopg2_with_sqlalchemy_by_psycogreen(run: Run, postgresql: str) -> None:
    crowd(run, "gevent", "orm.py", postgresql, "psycopg2")


def test_geventhttpclient(run: Run, site: str) -> None:
    crowd(run, "gevent", "gevent_http_client.py", site)


def test_zmq_green_requests(run: Run) -> None:
    crowd(run, "gevent", "zmq_green.py", "")


def test_zmq_green_patterns(run: Run) -> None:
    report = json.loads(run(*COMMANDS["gevent"], "zmq_patterns.py"))
    # zmq.green retries by itself after 1.33 s (poll) and 11.6 s (recv): no wait needed that.
    assert report.pop("seconds") < 1.3
    a, b = ([f"{topic}{number}" for number in range(5)] for topic in "ab")
    assert report == {
        "subscribers": [a, b, a],
        "polled": list(range(200)),
        "gave up": ["poll", "Timeout"],
        "threaded": 42,
    }
