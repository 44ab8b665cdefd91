"""Takes a sample of each kind of program: units of work, processor time and elapsed time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tests.programs.servers import SecureShell, free_port, wait_until_listening

from ..machine import ROOT
from ..processes import cpu_seconds
from .contestants import APPS, GEVENT, command, environment

CONNECTIONS = 50
PATIENCE = 60.0


class Sample(NamedTuple):
    """A sample: *units* of work took *cpu* seconds of processor time and *wall* seconds."""

    units: float
    cpu: float
    wall: float


class Failed(Exception):
    """A program did not do what it should."""


def client(
    program: str, *extra: str, who: str, peer: str | SecureShell | None, amount: int
) -> Sample:
    """Measure a program of tests/programs/apps that makes *amount* calls, CONNECTIONS at a time."""
    if isinstance(peer, SecureShell):
        extra = (str(peer.private_key), str(peer.known_hosts))
        peer = peer.url
    asked = [APPS / program, "gevent", peer or "-", "load", amount, *extra]
    report = json.loads(_output(command(who, *asked)))
    if report["results"] != list(range(amount)):
        raise Failed(f"{program}: other results than expected")
    return Sample(amount, report["cpu"], report["wall"])


def locust(*, who: str, peer: str, amount: int) -> Sample:
    """Measure Locust with users that do not wait, for *amount* seconds."""
    users = ["-u", CONNECTIONS, "-r", CONNECTIONS, "-t", f"{amount}s", "-H", peer]
    file = Path(__file__).with_name("locust_load.py")
    printed = _output(command(who, "-m", "locust", "-f", file, "--headless", *users))
    report = re.search(r"^report: (.*)$", printed, re.MULTILINE)
    if report is None:
        raise Failed("locust reports nothing")
    return Sample(**json.loads(report[1]))


def django(*, who: str, peer: str, amount: int) -> Sample:
    """Measure Django under pywsgi, with wrk's requests for *amount* seconds."""
    port = free_port()
    started = command(who, APPS / "django_server.py", "gevent", port)
    with _running(started, port, {"DATABASE_URL": peer}) as server:
        return _asked_by_wrk(server, f"http://127.0.0.1:{port}/7", amount)


def gunicorn(*, who: str, peer: None, amount: int) -> Sample:
    """Measure Flask under gunicorn with the contestant's worker, by wrk for *amount* seconds."""
    port = free_port()
    worker = "gevent" if who == GEVENT else "treadle.gunicorn.Worker"
    started = command(
        GEVENT, "-m", "gunicorn", "-k", worker, "-b", f"127.0.0.1:{port}", "flask_site:app"
    )
    with _running(started, port) as server:
        return _asked_by_wrk(server, f"http://127.0.0.1:{port}/", amount)


def chat(*, who: str, peer: None, amount: int) -> Sample:
    """Measure Flask-SocketIO with events from CONNECTIONS clients, for *amount* seconds."""
    port = free_port()
    load = [sys.executable, "-m", "benchmarks.programs.chat_load", port, CONNECTIONS, amount]
    with _running(command(who, APPS / "chat.py", port), port) as server:
        before = cpu_seconds(server.pid)
        report = json.loads(_output(list(map(str, load))))
        cpu = cpu_seconds(server.pid) - before
    if report["bad"]:
        raise Failed(f"{report['bad']} wrong answers")
    return Sample(report["requests"], cpu, report["requests"] / report["rate"])


def celery(*, who: str, peer: str, amount: int) -> Sample:
    """Measure Celery's worker with the contestant's pool and *amount* jobs."""
    worker = ["-m", "celery", "-A", "jobs", "worker", "-P", who, "-c", CONNECTIONS]
    queue = {"REDIS_URL": peer}
    put_in = [sys.executable, "-m", "benchmarks.programs.job_load"]
    with _started(command(who, *worker, "--loglevel", "ERROR"), queue) as (server, _):
        _output([*put_in, str(CONNECTIONS)], queue)  # warms up, and waits until the worker is ready
        before = cpu_seconds(server.pid)
        wall = float(_output([*put_in, str(amount)], queue))
        return Sample(amount, cpu_seconds(server.pid) - before, wall)


def _asked_by_wrk(server: subprocess.Popen[bytes], url: str, seconds: int) -> Sample:
    load = ["wrk", "-t1", f"-c{CONNECTIONS}", "--timeout", "10"]
    _output([*load, "-d1s", url])
    before = cpu_seconds(server.pid)
    text = _output([*load, f"-d{seconds}s", url])
    cpu = cpu_seconds(server.pid) - before
    done = re.search(r"(\d+) requests in ([\d.]+)s", text)
    if done is None or "Non-2xx" in text or "Socket errors" in text:
        raise Failed(text)
    return Sample(int(done[1]), cpu, float(done[2]))


def _output(arguments: Sequence[str], variables: dict[str, str] | None = None) -> str:
    """Return what a program prints.

    Raises Failed for a bad exit status, subprocess.TimeoutExpired after PATIENCE seconds.
    """
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


@contextmanager
def _started(
    arguments: Sequence[str], variables: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a server and yield it with its log; end it and its child processes afterwards."""
    with tempfile.NamedTemporaryFile() as log:
        server = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield server, log
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextmanager
def _running(
    arguments: Sequence[str], port: int, variables: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server and yield it once it listens on *port* with all its workers."""
    with _started(arguments, variables) as (server, log):
        wait_until_listening(server, port, Path(log.name))
        time.sleep(1)
        yield server
