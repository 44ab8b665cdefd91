"""The HTTP server that a gunicorn worker runs for each of its listening sockets."""

from __future__ import annotations

import os
import ssl
import sys
from dataclasses import replace
from typing import Any

from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context

from treadle.gunicorn.handlers import Forwarding, WorkerHandler, WorkerStream, host
from treadle.http.connection import Greeting
from treadle.http.limits import UNBOUNDED, Limits
from treadle.http.policy import STRICT
from treadle.http.proxy import Proxies
from treadle.pool import Pool
from treadle.pywsgi import WSGIServer

__all__ = ["Server"]


class Server(WSGIServer):
    """Serves one listening socket of *worker*, with a greenlet of *pool* for each connection."""

    handler_class = WorkerHandler
    stream_class = WorkerStream
    policy = STRICT

    def __init__(self, worker: Any, listener: Any, pool: Pool) -> None:
        cfg = worker.cfg
        self.worker = worker
        self.limits: Limits = limits(cfg)
        self.stopping: bool = not cfg.keepalive
        self.forwarding: Forwarding = Forwarding(cfg)
        self.field_size: Any | int = cfg.limit_request_field_size or sys.maxsize
        options: dict[str, Any] = {}
        if cfg.is_ssl:
            self.http2: bool = "h2" in getattr(cfg, "http_protocols", ())
            options["ssl_context"] = ssl_context(cfg)
            options["suppress_ragged_eofs"] = cfg.suppress_ragged_eofs
        if cfg.proxy_protocol not in (False, "off"):
            self.proxies: Proxies = Proxies([*cfg.proxy_allow_ips, "unix"])
        super().__init__(
            listener,
            worker.wsgi,
            spawn=pool,
            error_log=ErrorLog(worker.log),
            environ=connection_environ(cfg, listener.getsockname()),
            **options,
        )

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Do the TLS handshake within the limit ``header_time``, then serve the connection.

        A failed handshake is logged in one line.
        """
        client_socket.settimeout(self.limits.header_time)
        try:
            with Greeting(self):
                client = self.wrap_socket(client_socket, **(self.ssl_args or {}))
        except (ssl.SSLEOFError, ConnectionError) as exc:  # probes, for example
            self.worker.log.debug("No TLS handshake from ip=%s: %s", host(address), exc)
            return
        except OSError as exc:  # includes ssl.SSLError: old clients, plain HTTP
            self.worker.log.warning("Invalid request from ip=%s: %s", host(address), exc)
            return
        with client:
            self.handle(client, address)

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection until it ends."""
        try:
            super().handle(sock, address)
        except Exception:
            self.worker.log.exception("Socket error processing request.")


def limits(cfg: Any) -> Limits:
    """Return gunicorn's settings as treadle's limits; what gunicorn does not limit is unlimited.

    ``keepalive`` also limits the time for a request's head, as in gunicorn's greenlet workers.
    """
    size = cfg.limit_request_fields * cfg.limit_request_field_size
    return replace(
        UNBOUNDED,
        request_line=cfg.limit_request_line or sys.maxsize,
        header_count=cfg.limit_request_fields,
        header_size=size or sys.maxsize,
        header_time=cfg.keepalive or None,
        idle_time=cfg.keepalive or None,
        streams=getattr(cfg, "http2_max_concurrent_streams", UNBOUNDED.streams),
    )


def connection_environ(cfg: Any, address: Any) -> dict[str, Any]:
    """Return the base environment of all requests at *address*."""
    name, port = address[:2] if isinstance(address, tuple) else ("", "")
    return {
        **base_environ(cfg),
        "wsgi.multithread": True,
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "SCRIPT_NAME": os.environ.get("SCRIPT_NAME", ""),
    }


class ErrorLog:
    """A file object that writes the server's reports to gunicorn's error log."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def write(self, text: str) -> None:
        """Log *text*."""
        self._log.error("%s", text.rstrip("\n"))

    def flush(self) -> None:
        """Do nothing: the logger's handlers flush."""
