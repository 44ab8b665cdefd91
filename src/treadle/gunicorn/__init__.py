"""A worker class for gunicorn: its processes, settings, signals and logs, treadle's HTTP server.

    gunicorn -k treadle.gunicorn.Worker shop.wsgi:app
    treadle run -m gunicorn -k treadle shop.wsgi:app

gunicorn knows short names of its own workers alone; ``treadle run`` adds treadle's to them. A
program that has treadle installed may also say ``egg:treadle#treadle``.
"""

from __future__ import annotations

import os
import signal
import warnings
from time import monotonic
from typing import Any

from gunicorn.workers import base

from treadle import monkey
from treadle.event import Event
from treadle.greenlet import spawn
from treadle.gunicorn.server import Server
from treadle.http.connection import end_connections
from treadle.hub import sleep
from treadle.pool import Pool

__all__ = ["Worker"]

#: How often a worker says that it lives, in seconds, at the least.
_BEAT = 1.0
#: Settings that change how requests are read; treadle reads them strictly, in one way.
_IGNORED = (
    "casefold_http_method",
    "header_map",
    "http2_cleartext",
    "permit_obsolete_folding",
    "permit_unconventional_http_method",
    "permit_unconventional_http_version",
    "sendfile",
    "strip_header_spaces",
)


class Worker(base.Worker):
    """One worker process, in which each connection has a greenlet.

    It patches the standard library before it imports the application. With ``preload_app`` that is
    imported already: what cannot be repaired then is named in the log, and ``treadle run`` avoids
    it. It does what gunicorn's own gevent worker does, and what treadle's server can do besides:
    HTTP/2 where ``http_protocols`` has h2, and ``environ["wsgi.websocket"]``.
    """

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Name the settings that this worker does not follow; RuntimeError if it cannot serve."""
        if getattr(cfg, "protocol", "http") != "http":
            raise RuntimeError(f"treadle's worker serves HTTP, not the protocol {cfg.protocol!r}")
        for name in _IGNORED:
            setting = cfg.settings.get(name)
            if setting is not None and setting.get() != setting.default:
                log.warning("treadle's worker does not follow the setting %s", name)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._stop = Event()
        self._servers: list[Server] = []

    def init_process(self) -> None:
        """Patch, load the application and serve; the worker process calls it."""
        # Until gunicorn sets them it would be the arbiter's handlers that heard of a signal.
        signal.signal(signal.SIGTERM, self.handle_exit)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self.handle_quit)
        # Not in the arbiter: it waits by an object that it made before it knows its workers' class.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
            patched = monkey.patch_all()
        if patched:
            for line in monkey.unpatched_references():
                if not line.startswith("gunicorn."):  # the arbiter's, which does not run here
                    self.log.warning("imported before treadle's worker could patch: %s", line)
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop, then answer what was asked; gunicorn calls it."""
        pool = Pool(self.cfg.worker_connections)
        for each in self.sockets:
            listener = each.sock
            listener.setblocking(True)
            server = Server(self, listener, pool)
            server.start()
            self._servers.append(server)
        spawn(self._beat)
        self._stop.wait()
        self._finish(pool)

    def _beat(self) -> None:
        interval = min(_BEAT, self.timeout or _BEAT)
        while True:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
            if not self.alive:  # the reloader sets it
                self._stop.set()
            sleep(interval)

    def _finish(self, pool: Pool) -> None:
        deadline = monotonic() + self.cfg.graceful_timeout
        for server in self._servers:
            server.stopping = True
            server.close()
        end_connections(self._servers, lambda: len(pool), deadline)
        if len(pool):
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
            pool.kill(timeout=_BEAT)

    def count_request(self) -> None:
        """Note that a request has come, and stop after ``max_requests``."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.stop()

    def stop(self) -> None:
        """Let :meth:`run` come to its end; answers end their connections from now on."""
        self.alive = False
        for server in self._servers:
            server.stopping = True
        self._stop.set()

    # -- signals. Handlers run wherever the signal comes, so what may wait has a greenlet.

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: stop gracefully."""
        self.stop()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT and SIGINT: call the hook ``worker_int`` and end."""
        spawn(super().handle_quit, sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """SIGUSR1: open the log files anew."""
        spawn(super().handle_usr1, sig, frame)
