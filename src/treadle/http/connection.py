"""Serving the connections of a server, in the protocol that each client speaks, and ending them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle._core.clock import seconds as monotonic
from treadle.greenlet import getcurrent, kill
from treadle.hub import sleep

__all__ = ["PATIENT", "URGENT", "Greeting", "end_connections", "http2_connection", "serve"]

#: How long the connections of a server that stops have to end by themselves, in seconds: if the
#: end is urgent, and if active clients are to use them once more.
URGENT, PATIENT = 0.04, 1.0
#: How long a request may be on its way, in seconds.
_ON_ITS_WAY = 0.06
#: How long a client that has just connected may take to send its first request, in seconds: over
#: long distances that is several times as long as a request is on its way.
_FIRST_REQUEST = 1.0
#: How long clients whose requests were not answered in time have to be told so, in seconds.
_LAST_ANSWERS = 0.5
#: How often a server that stops checks whether its connections have ended, in seconds.
_LOOK = 0.005


class Greeting:
    """Context of what comes before HTTP on a connection: a TLS handshake, or a proxy's header.

    It stands for the connection in the ``connections`` of *server*. :func:`end_connections` gives
    it the time of a first request, and then kills the greenlet.
    """

    fresh = True

    def __init__(self, server: Any) -> None:
        self._server = server
        self._greenlet: Any = None

    def __enter__(self) -> None:
        self._greenlet = getcurrent()
        self._server.connections.add(self)

    def __exit__(self, *exc_info: object) -> None:
        self._server.connections.discard(self)

    def warn(self, at_once: bool) -> None:
        """Do nothing: there is no way to say it yet."""

    def stop(self) -> None:
        """Give up the connection."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            kill(greenlet)

    def abandon(self) -> None:
        """Do nothing: there is no application."""


def serve(sock: Any, address: Any, server: Any) -> None:
    """Serve one connection until it ends, in HTTP/1.1 or, if *server* supports it, HTTP/2.

    A client chooses HTTP/2 by ALPN or by the connection preface. *server* has the attributes
    ``http2``, ``handler_class``, ``connections``, which is a set, and if ``http2`` is true
    ``stream_class``.
    """
    if server.http2 and _chosen(sock) == "h2":
        serve_http2(sock, address, server)
        return
    handler = server.handler_class(sock, address, server)
    _handle(handler, server)
    if server.http2 and handler.preface:
        serve_http2(sock, address, server, handler.preface)


def _chosen(sock: Any) -> str | None:
    ask = getattr(sock, "selected_alpn_protocol", None)
    return None if ask is None else ask()


def serve_http2(sock: Any, address: Any, server: Any, first: bytes = b"") -> None:
    """Serve an HTTP/2 connection; *first* are the bytes that were received already."""
    _handle(http2_connection()(sock, address, server, first), server)


def http2_connection() -> type[Any]:
    """Return the class of HTTP/2 connections; raise ImportError if h2 is missing."""
    from treadle.http.http2 import Connection

    return Connection


def _handle(connection: Any, server: Any) -> None:
    """Serve *connection*, which is in the ``connections`` of *server* while it is served."""
    server.connections.add(connection)
    try:
        connection.handle()
    finally:
        server.connections.discard(connection)


def end_connections(
    servers: Sequence[Any], left: Callable[[], int], deadline: float, patience: float = URGENT
) -> int:
    """End the connections of *servers*; a connection with a pending response ends after it.

    The servers are ``stopping`` and accept no more connections. Each response says that its
    connection ends; *patience* is how many seconds one may go without a request until it is ended,
    except for the first request on a new connection. Returns when *left* returns 0.

    At *deadline*, a time of :func:`time.monotonic`, the applications that have not answered are
    killed, and their clients get 500. Returns soon after that, and says how many connections were
    left at the deadline.
    """
    # Closing a connection loses the request that its client sends at the same moment.
    began = monotonic()
    new: dict[Any, float] = {}  # connections that had no request when they were met, and when
    while left() and monotonic() < deadline:
        now = monotonic()
        connections = [each for server in servers for each in server.connections]
        # Some are new even now, because TLS has begun only now.
        new = {each: new.get(each, now) for each in connections if each.fresh or each in new}
        for each in connections:
            if each in new and now < new[each] + _FIRST_REQUEST:
                continue  # its answer will say that it ends
            if now < began + patience + _ON_ITS_WAY:
                each.warn(at_once=now >= began + patience)
            else:
                each.stop()
        sleep(_LOOK)
    late = left()
    for server in servers:
        for each in list(server.connections):
            each.stop()
            each.abandon()
    while left() and monotonic() < deadline + _LAST_ANSWERS:
        sleep(_LOOK)
    return late
