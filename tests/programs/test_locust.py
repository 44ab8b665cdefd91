"""The locust command, which imports gevent: alone, and as a master with two workers."""

import json
import signal
import time
from collections.abc import Callable
from operator import itemgetter
from typing import Any
from urllib.request import urlopen

import pytest

from .conftest import Program
from .servers import free_port
from .test_clients import COMMANDS

USERS, SECONDS, WAIT = 50, 3, 0.2
LOCUST = [*COMMANDS["gevent"], "-m", "locust", "-f", "locustfile.py", "--headless"]
LOAD = ["--only-summary", "--json", "-u", USERS, "-r", USERS, "-t", f"{SECONDS}s"]

Start = Callable[..., Program]


def check(statistics: list[dict[str, Any]]) -> None:
    """Check *statistics*: USERS users waited concurrently for as long as they ran."""
    form, page = sorted(statistics, key=itemgetter("name"))
    assert (form["name"], page["name"]) == ("form", "page")
    for entry in form, page:
        assert entry["num_failures"] == 0
        requests = entry["num_requests"]
        assert sum(entry["num_reqs_per_sec"].values()) == requests
        assert sum(entry["response_times"].values()) == requests
        assert entry["min_response_time"] >= WAIT * 1000
        assert WAIT <= entry["total_response_time"] / requests / 1000 < 1
        # Each entry has half of the requests, and a request takes one second at most.
        assert requests >= USERS / 2 * (SECONDS - 1)
    assert page["total_content_length"] == len('{"path": "/1"}') * page["num_requests"]


def printed_by(program: Program, status: int = 0) -> list[dict[str, Any]]:
    """Return the statistics that *program* printed before it ended.

    It must exit with *status* and without complaints. Its report and its log go to stderr.
    """
    printed = program.process.communicate(timeout=60)[0]
    assert program.process.returncode == status, program.stderr
    for word in ("Traceback", "WARNING", "ERROR", "CRITICAL"):
        assert word not in program.stderr
    statistics: list[dict[str, Any]] = json.loads(printed)
    return statistics


def test_alone(start: Start, site: str) -> None:
    check(printed_by(start(*LOCUST, *LOAD, "-H", site)))


def test_failures_are_its_exit_status(start: Start) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for entry in printed_by(start(*LOCUST, *LOAD, "-H", nobody), status=1):
        assert entry["num_failures"] == entry["num_requests"] > 0


def test_master_with_two_workers(start: Start, site: str) -> None:
    port = free_port()
    mastering = ["--master", "--expect-workers", 2, "--master-bind-port", port]
    master = start(*LOCUST, *mastering, *LOAD, "-H", site)
    workers = [start(*LOCUST, "--worker", "--master-port", port) for _ in range(2)]
    check(printed_by(master))
    assert [worker.wait() for worker in workers] == [0, 0]
    for worker in workers:
        assert "Traceback" not in worker.stderr
        assert "Got quit message from master, shutting down" in worker.stderr


def test_processes_that_it_forks(start: Start, site: str) -> None:
    port = free_port()
    forking = ["--processes", 2, "--master-bind-port", port, "--master-port", port]
    master = start(*LOCUST, *forking, *LOAD, "-H", site)
    printed = master.process.communicate(timeout=60)[0]
    assert master.process.returncode == 0, master.stderr
    assert "Traceback" not in master.stderr
    # Both children print an empty list to the stream that also gets the master's own report.
    nothing, _, report = printed.partition("{")
    assert sorted("".join(nothing.split())) == sorted("[][][")
    check(json.loads("[{" + report))


def test_its_web_pages(start: Start, site: str) -> None:
    port = free_port()
    browsing = ["--autostart", "--autoquit", 1, "--web-host", "127.0.0.1", "--web-port", port]
    program = start(*LOCUST[:-1], *browsing, *LOAD[2:], "-H", site)
    program.wait_for_stderr("All users spawned")
    with urlopen(f"http://127.0.0.1:{port}/") as page:
        assert b"<title>Locust" in page.read()
    deadline = time.monotonic() + SECONDS
    while True:
        with urlopen(f"http://127.0.0.1:{port}/stats/requests") as answer:
            shown = json.load(answer)
        *_, total = shown["stats"]
        if total["num_requests"] >= USERS:
            break
        assert time.monotonic() < deadline, shown
    assert (shown["state"], shown["user_count"]) == ("running", USERS)
    program.process.communicate(timeout=60)
    assert program.process.returncode == 0
    assert "Traceback" not in program.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_its_statistics(start: Start, site: str, number: int) -> None:
    program = start(*LOCUST, *LOAD[:-2], "-H", site)
    program.wait_for_stderr("All users spawned")
    time.sleep(3 * WAIT)
    program.process.send_signal(number)
    for entry in printed_by(program):
        assert entry["num_failures"] == 0
        assert entry["num_requests"] >= USERS / 2
