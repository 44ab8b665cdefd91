"""HTTP endpoints for monitoring: liveness, readiness and metrics."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from socket import SHUT_RDWR
from typing import Any

from treadle.http.http1 import Handler
from treadle.http.policy import STRICT
from treadle.pywsgi import WSGIServer
from treadle.serve.log import SaysInOneLine

__all__ = ["AdminServer"]


#: The most connections at once. They use descriptors that the supervisor needs for its workers.
_CONNECTIONS = 256
#: How long a request may take to come, and the client to take a part of the answer, at most, in
#: seconds: less if the settings give the workers' clients less.
_PATIENCE = 5.0


class AdminHandler(Handler):
    """Serves a connection; the one that has been used last stays longest."""

    def handle_one_response(self) -> None:
        """Answer a request."""
        self.server.note_use(self.socket)
        super().handle_one_response()


class AdminServer(SaysInOneLine, WSGIServer):
    """Answers /livez, /readyz and /metrics in the supervisor's process.

    Clients that do nothing keep no probe waiting: a new connection beyond the limit ends the one
    that has not been used for longest.
    """

    policy = STRICT
    handler_class: Any = AdminHandler

    def __init__(self, supervisor: Any, listener: Any) -> None:
        self._supervisor = supervisor
        self.errors = supervisor.errors
        self._open: dict[Any, None] = {}  # connections; the one used last is the last
        self._ending: set[Any] = set()  # those that were ended for others
        limits = supervisor.settings.limits()
        self.limits = replace(
            limits,
            header_time=min(limits.header_time or _PATIENCE, _PATIENCE),
            body_time=min(limits.body_time or _PATIENCE, _PATIENCE),
            write_time=min(limits.write_time or _PATIENCE, _PATIENCE),
        )
        super().__init__(listener, self._answer, log=None, error_log=supervisor.errors)

    def do_handle(self, *args: Any) -> None:
        """Serve a connection in a greenlet."""
        if len(self._open) >= _CONNECTIONS:
            self._end_oldest()
        self._open[args[0]] = None
        super().do_handle(*args)

    def do_close(self, *args: Any) -> None:
        """Close a connection."""
        self._open.pop(args[0], None)
        self._ending.discard(args[0])
        super().do_close(*args)

    def note_use(self, sock: Any) -> None:
        """Note that a request came on a connection."""
        if sock in self._open:
            del self._open[sock]
            self._open[sock] = None

    def _end_oldest(self) -> None:
        sock = next(iter(self._open))
        del self._open[sock]
        self._ending.add(sock)
        with suppress(OSError):  # it has just ended
            sock.shutdown(SHUT_RDWR)

    def abandon(self) -> None:
        """Run in a forked worker: close what is the supervisor's.

        Otherwise a connection would not end before the worker, and the file of a Unix socket would
        seem to be served when the supervisor is not.
        """
        self.socket.close()
        for sock in (*self._open, *self._ending):
            sock.close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        kind = "text/plain; charset=utf-8"
        board = self._supervisor.board
        path = environ["PATH_INFO"]
        status, body = "404 Not Found", "there are /livez, /readyz and /metrics\n"
        if path == "/livez":
            status, body = "200 OK", "alive\n"
        elif path == "/readyz":
            ready = board.ready() and not self._supervisor.stopping
            status = "200 OK" if ready else "503 Service Unavailable"
            body = f"{board.ready()} workers serve\n"
        elif path == "/metrics":
            status, kind = "200 OK", "text/plain; version=0.0.4; charset=utf-8"
            body = "\n".join(board.prometheus()) + "\n"
        start_response(status, [("Content-Type", kind)])
        return [body.encode()]
