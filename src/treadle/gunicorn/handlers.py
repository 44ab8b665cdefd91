"""Request handlers of treadle's gunicorn worker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from gunicorn.workers.base_async import ALREADY_HANDLED

from treadle.http.h1 import BadRequest
from treadle.http.http1 import Handler
from treadle.http.proxy import Proxies
from treadle.http.stream import Stream

__all__ = ["Forwarding", "WorkerHandler", "WorkerStream", "host"]


def host(address: Any) -> str:
    """Return the client's IP address, or "" for a client of a Unix socket."""
    return str(address[0]) if isinstance(address, tuple) else ""


class Forwarding:
    """Applies the headers of trusted proxies to a request's environment, such as its scheme."""

    def __init__(self, cfg: Any) -> None:
        self.trusted = Proxies([*cfg.forwarded_allow_ips, "unix"])
        self._schemes: dict[str, str] = cfg.secure_scheme_headers
        self._variables = {"HTTP_" + name.replace("-", "_") for name in self._schemes}
        self._names = frozenset(getattr(cfg, "forwarder_headers", ()))

    def apply(
        self, environ: dict[str, Any], headers: Iterable[tuple[bytes, bytes]]
    ) -> BadRequest | None:
        """Update *environ* from *headers*; return the error in the headers, or None."""
        # llhttp leaves the blanks after a value.
        trimmed = [(raw, value.decode("latin-1").rstrip(" \t")) for raw, value in headers]
        if not self._variables.isdisjoint(environ):
            schemes = {
                "https" if value == self._schemes[name] else "http"
                for raw, value in trimmed
                if (name := raw.decode("latin-1").upper()) in self._schemes
            }
            if len(schemes) > 1:
                return BadRequest("400 Bad Request", "headers that contradict each other")
            (environ["wsgi.url_scheme"],) = schemes
        for raw, value in trimmed:
            if b"_" not in raw:  # it is in the environment already
                continue
            name = raw.decode("latin-1").upper()
            if name in self._names or "*" in self._names:
                environ[f"HTTP_{name.replace('-', '_')}"] = value
                if name == "SCRIPT_NAME":
                    environ[name] = value
        return None


class HookRequest:
    """A request, in the form that gunicorn's hooks and loggers expect."""

    def __init__(self, exchange: Any) -> None:
        request = exchange.request
        self.method: Any = request.method
        self.uri: Any = request.target.decode("latin-1")
        self.path: str
        self.query: str
        self.path, _, self.query = self.uri.partition("?")
        self.version: tuple[int, ...] = tuple(
            int(part) for part in f"{request.version}.0".split(".")[:2]
        )
        self.scheme: Any = exchange.environ["wsgi.url_scheme"]
        self.body: Any = exchange.wsgi_input
        self.peer_addr: Any = exchange.client_address
        self.remote_addr: Any = self.peer_addr
        self._headers = request.headers

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """The headers: pairs of a name in capitals and a value."""
        return [
            (name.decode("latin-1").upper(), value.decode("latin-1"))
            for name, value in self._headers
        ]


class HookResponse:
    """A response, in the form that gunicorn's hooks and loggers expect."""

    def __init__(self, exchange: Any) -> None:
        self.status: Any = exchange.status
        self.status_code: Any = exchange.code
        self.headers: list[tuple[str, str]] = exchange.response_headers or []
        self.headers_sent: Any = exchange.headers_sent
        self.sent: Any = exchange.response_length
        self.response_length: Any = self.sent


class _OfWorker:
    """Mixin that reports requests to gunicorn's hooks, counters and logs."""

    server: Any
    environ: dict[str, Any]
    request: Any
    client_address: Any
    status: str | None
    result: Any
    headers_sent: bool
    close_connection: bool
    time_start: float
    time_finish: float

    def handle_one_response(self) -> None:
        base: Any = super()
        worker, hook_request = self.server.worker, HookRequest(self)
        worker.count_request()
        self.hook_request = hook_request
        try:
            base.handle_one_response()
        finally:
            try:
                worker.cfg.post_request(worker, hook_request, self.environ, HookResponse(self))
            except Exception:
                worker.log.exception("Exception in post_request hook")

    def run_application(self) -> None:
        base: Any = super()
        worker, environ = self.server.worker, self.environ
        worker.cfg.pre_request(worker, self.hook_request)
        fault = self._apply_headers()
        if fault is not None:
            worker.log.warning("Invalid request from ip=%s: %s", host(self.client_address), fault)
            self.application: partial[list[bytes]] = partial(refuse, fault.status)
        if not environ["SERVER_NAME"]:
            environ["SERVER_NAME"], environ["SERVER_PORT"] = named_host(environ)
        cut_script_name(environ)
        try:
            base.run_application()
        except StopIteration:  # raised by an application that answered on the socket itself
            self._leave()
        except SystemExit as exc:
            raise RuntimeError("the application raised SystemExit") from exc

    def _apply_headers(self) -> BadRequest | None:
        """Check the headers and apply those of trusted proxies; return the error, or None."""
        headers = self.request.headers
        most = self.server.field_size
        if any(len(name) + len(value) > most for name, value in headers):
            too_long = "431 Request Header Fields Too Large"
            return BadRequest(too_long, f"a header is longer than {most} bytes")
        forwarding: Forwarding = self.server.forwarding
        trusted = self.client_address in forwarding.trusted
        return forwarding.apply(self.environ, headers) if trusted else None

    def process_result(self) -> None:
        base: Any = super()
        if self.result is ALREADY_HANDLED:
            self._leave()
        else:
            base.process_result()

    def _leave(self) -> None:
        """Note that the application has answered on the socket itself."""
        self.headers_sent = self.close_connection = True

    def _log_error(self, typ: Any, value: Any, tb: Any) -> None:
        request = self.hook_request
        self.server.worker.log.error(
            "Error handling request %s %s", request.method, request.uri, exc_info=(typ, value, tb)
        )

    def log_request(self) -> None:
        log = self.server.worker.log
        if not self.environ:
            log.warning("Invalid request from ip=%s: %s", host(self.client_address), self.status)
        elif self.status is not None:
            took = timedelta(seconds=self.time_finish - self.time_start)
            log.access(HookResponse(self), self.hook_request, self.environ, took)


class WorkerHandler(_OfWorker, Handler):
    """Serves an HTTP/1.1 connection for a gunicorn worker."""

    def get_environ(self) -> dict[str, Any]:
        """Return the environment, with the socket for applications that speak WebSocket on it."""
        environ = super().get_environ()
        environ["gunicorn.socket"] = self.socket
        if self.request.upgrade:
            self.socket.settimeout(None)
        return environ


class WorkerStream(_OfWorker, Stream):
    """Serves an HTTP/2 request for a gunicorn worker."""


def named_host(environ: dict[str, Any]) -> tuple[str, str]:
    """Return the server name and port of a request on a Unix socket, from its Host header."""
    name, _, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not port.isdigit():
        name, port = environ.get("HTTP_HOST", ""), ""
    return name, port or {"https": "443"}.get(environ["wsgi.url_scheme"], "80")


def cut_script_name(environ: dict[str, Any]) -> None:
    """Remove SCRIPT_NAME from the start of PATH_INFO; raise ValueError if it is not there."""
    name, path = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    if not path.startswith(name):
        raise ValueError(f"request path {path!r} does not start with SCRIPT_NAME {name!r}")
    environ["PATH_INFO"] = path[len(name) :]


def refuse(status: str, environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer *status* and close the connection; with *status* bound, a WSGI application."""
    start_response(status, [("Content-Type", "text/plain"), ("Connection", "close")])
    return [f"{status}\n".encode()]
