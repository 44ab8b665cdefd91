"""HTTP endpoints for monitoring: liveness, readiness and metrics."""

from __future__ import annotations

from typing import Any

from treadle.http.policy import STRICT
from treadle.pywsgi import WSGIServer

__all__ = ["AdminServer"]


class AdminServer(WSGIServer):
    """Answers /livez, /readyz and /metrics in the supervisor's process."""

    policy = STRICT

    def __init__(self, supervisor: Any, listener: Any) -> None:
        self._supervisor = supervisor
        self.limits = supervisor.settings.limits()
        super().__init__(listener, self._answer, log=None, error_log=supervisor.errors)

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
