"""A worker: one process that serves the application until it is told to stop."""

from __future__ import annotations

import gc
import importlib
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from inspect import iscoroutinefunction
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from treadle.event import Event
from treadle.greenlet import spawn
from treadle.http.connection import PATIENT, URGENT, Greeting, end_connections
from treadle.http.counters import Counters
from treadle.http.forwarded import Forwarded
from treadle.http.http1 import Handler
from treadle.http.limits import Limits
from treadle.http.log import FORMATS, SILENCE
from treadle.http.policy import STRICT
from treadle.http.proxy import Proxies
from treadle.http.stream import Stream
from treadle.hub import sleep
from treadle.lock import Semaphore
from treadle.pywsgi import WSGIServer
from treadle.serve.log import LogFile, SaysInOneLine
from treadle.serve.place import LAST_WORDS
from treadle.serve.settings import Settings, SettingsError
from treadle.serve.stats import Slot

__all__ = ["Worker", "load_application"]

#: The interval between two heartbeats of a worker, in seconds; shorter if its timeout is short.
BEAT = 1.0
#: How long a worker that ends may take to write what waits for its logs, in seconds.
LAST_LINES = 1.0
_LONGEST_ALARM = 1 << 30
#: What a client gets whose address has too many connections: an answer, or before TLS has begun its
#: fatal alert "internal_error" (RFC 8446, 6).
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_FULL_TLS = b"\x15\x03\x01\0\x02\x02\x50"


def load_application(text: str) -> Any:
    """Return the application ``module:name``, or what ``module:name()`` returns.

    Raises SettingsError if the module or the name does not exist or the result is no WSGI
    application.
    """
    module_name, _, name = text.partition(":")
    called = name.endswith("()")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name != module_name.partition(".")[0] and exc.name != module_name:
            raise
        raise SettingsError(
            f"{text}: there is no module {module_name!r} in {sys.path[0]!r}"
        ) from exc
    for part in name.removesuffix("()").split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise SettingsError(f"{text}: {module_name} has no {part!r}") from None
    if called:
        found = found()
    if not callable(found):
        raise SettingsError(f"{text} is not callable, so it is no WSGI application: {found!r}")
    if iscoroutinefunction(found) or iscoroutinefunction(type(found).__call__):
        raise SettingsError(f"{text} is an ASGI application; WSGI applications are served")
    return found


class _Logged:
    """Mixin that formats access log lines as the settings say."""

    server: Any

    def format_request(self) -> str:
        line: str = self.server.format(self)
        return line


class _Gated(_Logged):
    """Mixin that limits concurrent requests in the application; the others wait in a queue."""

    application: Any

    def handle_one_response(self) -> None:
        serve: Any = super()
        gate = self.server.gate
        if not gate.acquire(blocking=False) and not self.server.wait_in_queue():
            self.server.slot.add("refused_total")
            self.application = overloaded
            serve.handle_one_response()
            return
        try:
            serve.handle_one_response()
        finally:
            gate.release()


class ServeHandler(_Logged, Handler):
    """Serves an HTTP/1.1 connection."""


class GatedHandler(_Gated, Handler):
    """Serves an HTTP/1.1 connection; the number of concurrent requests is limited."""


class ServeStream(_Logged, Stream):
    """Serves an HTTP/2 request."""


class GatedStream(_Gated, Stream):
    """Serves an HTTP/2 request; the number of concurrent requests is limited."""


def overloaded(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """WSGI application that answers 503, for requests that find the queue full."""
    headers = [("Content-Type", "text/plain"), ("Retry-After", "1"), ("Connection", "close")]
    start_response("503 Service Unavailable", headers)
    return [b"503 Service Unavailable\n"]


class WorkerServer(SaysInOneLine, WSGIServer):
    """Serves one listening socket within a worker."""

    handler_class: Any = ServeHandler
    stream_class: Any = ServeStream
    policy = STRICT
    base_env: ClassVar[dict[str, Any]] = {
        **WSGIServer.base_env,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
    }

    def __init__(self, worker: Worker, listener: Any, **options: Any) -> None:
        settings = worker.settings
        self.worker = worker
        self.errors = worker.errors
        self.slot: Slot = worker.slot
        self.limits: Limits = settings.limits()
        self.gate: Any = worker.gate
        self.counters: Counters = worker.counters
        self.http2: bool = settings.http2
        if settings.proxy_protocol:
            self.proxies: Proxies = Proxies(settings.proxy_protocol)
        self.forwarded: Forwarded | None = settings.forwarded()
        self.of_address: Counter[str] = Counter()
        self.format: Callable[[Any], str] = FORMATS[settings.access_log_format]
        self.context: Context = Context()
        super().__init__(
            listener, worker.application, log=worker.access, error_log=worker.errors, **options
        )
        if self.gate is not None:
            self.handler_class, self.stream_class = GatedHandler, GatedStream

    def full(self) -> bool:
        """Return whether the worker has reached its limit of connections."""
        limit = self.limits.connections
        return limit is not None and self.worker.connections >= limit

    def do_handle(self, *args: Any) -> None:
        """Serve a connection in a greenlet; answer 503 if its address has too many."""
        sock, address = args
        host = self._host(address)
        limit = self.limits.connections_per_address
        self.slot.add("connections_total")
        if host and limit is not None and self.of_address[host] >= limit:
            self.slot.add("refused_total")
            with sock, suppress(OSError):
                sock.settimeout(0)
                sock.send(_FULL_TLS if self.ssl_enabled else _FULL)
            return
        self.worker.connections += 1
        self.of_address[host] += 1
        super().do_handle(*args)

    def do_close(self, *args: Any) -> None:
        """Close a connection and stop counting it."""
        super().do_close(*args)
        host = self._host(args[1])
        self.worker.connections -= 1
        self.of_address[host] -= 1
        if not self.of_address[host]:
            del self.of_address[host]

    def _host(self, address: Any) -> str:
        """Return the host by which connections are limited, or "" for no limit.

        Behind a proxy there is none, since all connections come from the proxy's address.
        """
        if self.proxies is not None or not isinstance(address, tuple):
            return ""
        if self.forwarded is not None and address in self.forwarded.trusted:
            return ""
        return str(address[0])

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Do the TLS handshake within the limit ``header_time``, then serve the connection.

        A failed handshake is counted and not logged.
        """
        client_socket.settimeout(self.limits.header_time)
        try:
            with Greeting(self):
                client = self.wrap_socket(client_socket, **(self.ssl_args or {}))
        except OSError:  # includes ssl.SSLError: probes, old clients, plain HTTP
            self.slot.add("refused_total")
            return
        with client:
            self.handle(client, address)

    def wait_in_queue(self) -> bool:
        """Wait until the application may take the request; return False if the queue is full."""
        limit = self.limits.queue
        if limit is not None and self.worker.queued >= limit:
            return False
        self.worker.queued += 1
        began = monotonic()
        try:
            self.gate.acquire()
        finally:
            self.worker.queued -= 1
            self.slot.add("queued_total")
            self.slot.add("queue_seconds_sum", monotonic() - began)
        return True

    def accept_rest(self) -> None:
        """Accept the pending connections, then close the listening socket."""
        self.stop_accepting()
        listener = self.socket
        listener.settimeout(0)
        with suppress(OSError):  # BlockingIOError when none is pending
            while True:
                sock, address = listener.accept()
                sock.settimeout(None)
                self.do_handle(sock, address)
        listener.close()


class Worker:
    """Serves *listeners* with the application until :attr:`stop_event` is set.

    *spent* is called when another worker is to serve in its place: when ``max_requests`` are
    served, after which the worker serves on until it is told to stop; and when it stops though the
    supervisor has not told it to. It also stops when *supervisor* is not the id of its parent
    process. Raises SettingsError if a log cannot be opened and *first* is true. Otherwise it serves
    nevertheless, as the workers before.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: list[Any],
        slot: Slot,
        spent: Callable[[], object],
        supervisor: int,
        *,
        first: bool,
    ) -> None:
        self.settings: Settings = settings
        self.supervisor: int = supervisor
        self.slot: Slot = slot
        self.application: Any = None
        self.stop_event: Event = Event()
        self._interval = min(BEAT, settings.timeout / 4) if settings.timeout else BEAT
        self.connections = self.queued = 0
        self.counters: Counters = slot.counters()
        self.counters.left = settings.max_requests
        self.counters.enough = spent
        limit = settings.limit_concurrency
        self.gate: Semaphore | None = Semaphore(limit) if limit else None
        lost = self._count_loss
        self.errors: LogFile = LogFile(settings.error_log, 2, lost, needed=first)
        self.access: Any = SILENCE
        if settings.access_log:
            try:
                self.access = LogFile(settings.access_log, 1, lost, self.errors, needed=first)
            except OSError as exc:
                raise SettingsError(f"access_log: {exc}") from exc
        self._listeners, self._spent = listeners, spent
        self.servers: list[WorkerServer] = []

    def run(self) -> None:
        """Load the application, serve, and stop gracefully."""
        self.application = load_application(self.settings.app)
        tls = tls_context(self.settings)
        options = {"ssl_context": tls} if tls is not None else {}
        for listener in self._listeners:
            server = WorkerServer(self, listener, **options)
            server.start()
            self.servers.append(server)
        # What was loaded stays. Without this, each full collection goes through it and holds up
        # all requests meanwhile, for tens of milliseconds.
        gc.collect()
        gc.freeze()
        self.slot["beat"] = monotonic()
        self.slot["loaded"] = 1
        self.slot["ready"] = not self.stop_event.is_set()
        spawn(self._beat)
        self.stop_event.wait()
        self.stop()
        for log in self._logs():
            log.drain(LAST_LINES)

    def _logs(self) -> list[LogFile]:
        return [log for log in (self.errors, self.access) if isinstance(log, LogFile)]

    def _count_loss(self) -> None:
        self.slot.add("log_lost_total")

    def reopen_logs(self) -> None:
        """Reopen the log files; one that cannot be opened goes on where it was."""
        for log in self._logs():
            try:
                log.reopen()
            except OSError as exc:
                self.errors.write(f"treadle serve: cannot reopen a log: {exc}\n")

    def _beat(self) -> None:
        slot = self.slot
        while True:
            slot["beat"] = monotonic()
            slot["connections"] = self.connections
            slot["queued"] = self.queued
            slot["requests_active"] = self.counters.active
            if os.getppid() != self.supervisor:
                self.leave()  # the supervisor has ended
            sleep(self._interval)

    def leave(self) -> None:
        """Have the worker stop, and have another one started if the supervisor has not asked.

        A signal handler calls it, though the application may never let the worker stop. So one that
        has lost its supervisor ends by itself in any case, and one that loads ends at once: nobody
        waits for its answers, and what it imports may hang.
        """
        if not self.slot["loaded"]:
            os._exit(0)
        if os.getppid() != self.supervisor:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            seconds = self.settings.graceful_timeout + LAST_WORDS
            signal.alarm(math.ceil(min(seconds, _LONGEST_ALARM)))
        self.slot["ready"] = 0
        if not self.slot["succeeded"]:
            self._spent()
        self.stop_event.set()

    def stop(self) -> None:
        """Finish the pending requests, for at most ``graceful_timeout``, and stop serving."""
        deadline = monotonic() + self.settings.graceful_timeout
        for server in self.servers:
            server.stopping = True
            server.accept_rest()
        # Nobody waits for the end of a worker whose successor serves, unless its code is outdated.
        patient = self.slot["succeeded"] and not self.settings.reload
        patience = PATIENT if patient else URGENT
        late = end_connections(self.servers, lambda: self.connections, deadline, patience)
        if late:
            what = f"worker {os.getpid()} leaves with {late} connections that have not ended"
            self.errors.write(f"treadle serve: {what} within graceful_timeout\n")


def _no_password() -> str:
    """Raise SettingsError; by default OpenSSL would ask at the terminal, once per worker."""
    raise SettingsError("keyfile: the key is encrypted, and nobody is asked for its password")


def tls_context(settings: Settings) -> Any:
    """Return the TLS context of the server, or None if it has no certificate."""
    if not settings.certfile:
        return None
    import ssl

    def context_of(certfile: str, keyfile: str) -> Any:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certfile, keyfile or None, _no_password)
        except OSError as exc:  # includes ssl.SSLError
            raise SettingsError(f"certfile {certfile!r}: {exc}") from exc
        # Otherwise a connection that this end stops reading from ends with a fatal alert, and no
        # close notification can follow.
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        context.set_alpn_protocols(["h2", "http/1.1"] if settings.http2 else ["http/1.1"])
        return context

    context = context_of(settings.certfile, settings.keyfile)
    others = {
        name.lower(): context_of(files[0], files[1] if len(files) > 1 else "")
        for name, files in settings.sni.items()
    }

    def choose(sock: Any, name: str | None, _: Any) -> None:
        other = others.get((name or "").lower())
        if other is not None:
            sock.context = other

    if others:
        context.sni_callback = choose
    return context


def source_files() -> dict[str, float]:
    """Return the source files of all imported modules and the time of each one's last change."""
    found: dict[str, float] = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py"):
            try:
                found[path] = Path(path).stat().st_mtime
            except OSError:
                continue
    return found
