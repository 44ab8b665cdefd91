"""A worker class for gunicorn that serves requests with treadle's HTTP server.

gunicorn still manages processes, settings, signals and logs.

    gunicorn -k treadle.gunicorn.Worker shop.wsgi:app
    treadle run -m gunicorn -k treadle shop.wsgi:app

gunicorn accepts short names only for its own workers; ``treadle run`` adds ``treadle`` to them.
Where treadle is installed, ``-k egg:treadle#treadle`` works too.
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

#: The longest interval between two heartbeats of a worker, in seconds.
_BEAT = 1.0
#: Settings that this worker ignores. Most of them relax how requests are parsed; treadle always
#: parses strictly.
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
    """A gunicorn worker process that serves each connection in a greenlet.

    The worker patches the standard library before it imports the application. With ``preload_app``
    the application is already imported: the worker then logs the references that it cannot patch.
    ``treadle run`` avoids them. The worker supports what gunicorn's gevent worker supports, and
    also HTTP/2, if ``http_protocols`` contains h2, and ``environ["wsgi.websocket"]``.
    """

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Warn about settings that this worker ignores.

        Raises RuntimeError if ``protocol`` is not HTTP.
        """
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
        """Patch the standard library, load the application and serve.

        gunicorn calls this method in the worker process.
        """
        # Until gunicorn installs the worker's signal handlers, those of the arbiter would run.
        signal.signal(signal.SIGTERM, self.handle_exit)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self.handle_quit)
        # The arbiter itself is not patched: it waits on an object that it creates before it loads
        # the worker class.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
            patched = monkey.patch_all()
        if patched:
            for line in monkey.unpatched_references():
                if not line.startswith("gunicorn."):  # used by the arbiter, which runs elsewhere
                    self.log.warning("imported before treadle's worker could patch: %s", line)
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop, then finish the pending requests.

        gunicorn calls this method.
        """
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
            if not self.alive:  # gunicorn's reloader clears it
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
        """Count a request, and stop the worker after ``max_requests``."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.stop()

    def stop(self) -> None:
        """Make :meth:`run` finish; from now on each response closes its connection."""
        self.alive = False
        for server in self._servers:
            server.stopping = True
        self._stop.set()

    # -- signals. A handler can interrupt any code, so work that may block runs in a new greenlet.

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop gracefully, on SIGTERM."""
        self.stop()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Call the hook ``worker_int`` and exit, on SIGQUIT or SIGINT."""
        spawn(super().handle_quit, sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """Reopen the log files, on SIGUSR1."""
        spawn(super().handle_usr1, sig, frame)
