"""The web servers, and how to start each on a port with a number of workers."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..processes import cpu_seconds

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent

BJOERN = """
import bjoern, os, sys
from apps import app
bjoern.listen(app, "127.0.0.1", int(sys.argv[1]))
for _ in range(int(sys.argv[2]) - 1):
    if not os.fork():
        break
bjoern.run()
"""
PYWSGI = """
import sys
from gevent import monkey; monkey.patch_all()
from gevent.pywsgi import WSGIHandler, WSGIServer
from apps import app
if len(sys.argv) > 2:
    from geventwebsocket.handler import WebSocketHandler as WSGIHandler
address = "127.0.0.1", int(sys.argv[1])
WSGIServer(address, app, log=None, handler_class=WSGIHandler).serve_forever()
"""
GEVENT_WEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"

Tls = tuple[str, str] | None
#: Returns the command for a port, a number of workers, TLS files and whether WebSockets are needed;
#: [] if the server does not support that.
Command = Callable[[int, int, Tls, bool], list[str]]


def _treadle(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    files = ["--certfile", tls[0], "--keyfile", tls[1]] if tls else []
    bind = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    return [sys.executable, "-m", "treadle", "serve", *bind, *files, "apps:app"]


def _under_gunicorn(kind: str, port: int, workers: int, tls: Tls) -> list[str]:
    files = ["--certfile", tls[0], "--keyfile", tls[1]] if tls else []
    bind = ["-b", f"127.0.0.1:{port}", "-w", str(workers), "--worker-connections", "4000"]
    return [f"{BIN}/gunicorn", "-k", kind, *bind, *files, "--log-level", "error", "apps:app"]


def _gunicorn_treadle(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    return _under_gunicorn("treadle.gunicorn.Worker", port, workers, tls)


def _gunicorn(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    return _under_gunicorn(GEVENT_WEBSOCKET if websocket else "gevent", port, workers, tls)


def _pywsgi(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    if workers > 1 or tls:
        return []
    return [sys.executable, "-c", PYWSGI, str(port), *["websocket"] * websocket]


def _uvicorn(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    files = ["--ssl-certfile", tls[0], "--ssl-keyfile", tls[1]] if tls else []
    bind = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    quiet = ["--log-level", "error", "--no-access-log", "--http", "httptools", "--loop", "uvloop"]
    return [f"{BIN}/uvicorn", *bind, *quiet, *files, "apps:asgi"]


def _granian(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    files = ["--ssl-certificate", tls[0], "--ssl-keyfile", tls[1]] if tls else []
    bind = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    kind = ["--interface", "asgi", "--ws"] if websocket else ["--interface", "wsgi", "--no-ws"]
    bind += ["--http", "1", "--log-level", "error", "--backlog", "2048"]
    return [f"{BIN}/granian", *kind, *bind, *files, "apps:asgi" if websocket else "apps:app"]


def _bjoern(port: int, workers: int, tls: Tls, websocket: bool) -> list[str]:
    return [] if tls or websocket else [sys.executable, "-c", BJOERN, str(port), str(workers)]


#: name -> (distribution, command).
SERVERS: dict[str, tuple[str, Command]] = {
    "treadle serve": ("treadle", _treadle),
    "gunicorn -k treadle": ("gunicorn", _gunicorn_treadle),
    "gunicorn -k gevent": ("gunicorn", _gunicorn),
    "gevent pywsgi": ("gevent", _pywsgi),
    "uvicorn": ("uvicorn", _uvicorn),
    "granian": ("granian", _granian),
    "bjoern": ("bjoern", _bjoern),
}


def versions() -> dict[str, str]:
    """Return the versions of the servers that are installed."""
    found = {}
    for name, (distribution, _) in SERVERS.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            if importlib.util.find_spec(distribution):
                found[name] = "from source"
    return found


class Running:
    """A running server, held to the processors *cpus*."""

    def __init__(
        self, name: str, workers: int, cpus: str, tls: Tls = None, websocket: bool = False
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        command = SERVERS[name][1](self.port, workers, tls, websocket)
        if not command:
            raise LookupError(f"{name} does not do that")
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *command],
            cwd=HERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                time.sleep(1)  # until all its workers are ready
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise TimeoutError(f"{name} does not start: {' '.join(command)}")

    def cpu_seconds(self) -> float:
        """Return the processor time of all its processes so far, in seconds."""
        return cpu_seconds(self.process.pid)

    def stop(self) -> None:
        """End all its processes."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
