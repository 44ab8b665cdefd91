"""HTTP endpoints for monitoring: liveness, readiness and metrics."""

from __future__ import annotations

from typing import Any

from treadle.http.policy import STRICT
from treadle.pywsgi import WSGIServer
from treadle.serve.log import SaysInOneLine

__all__ = ["AdminServer"]


#: The most connections at once. They use descriptors that the supervisor needs for its workers.
_CONNECTIONS = 256


class AdminServer(SaysInOneLine, WSGIServer):
    """Answers /livez, /readyz and /metrics in the supervisor's process."""

    policy = STRICT

    def __init__(self, supervisor: Any, listener: Any) -> None:
        self._supervisor = supervisor
        self.errors = supervisor.errors
        self._open: set[Any] = set()
        self.limits = supervisor.settings.limits()
        super().__init__(
            listener, self._answer, spawn=_CONNECTIONS, log=None, error_log=supervisor.errors
        )

    def do_handle(self, *args: Any) -> None:
        """Serve a connection in a greenlet."""
        self._open.add(args[0])
        super().do_handle(*args)

    def do_close(self, *args: Any) -> None:
        """Close a connection."""
        self._open.discard(args[0])
        super().do_close(*args)

    def abandon(self) -> None:
        """Run in a forked worker: close what is the supervisor's.

        Otherwise a connection would not end before the worker, and the file of a Unix socket would
        seem to be served when the supervisor is not.
        """
        self.socket.close()
        for sock in self._open:
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
