"""Connections of a server: which protocol each speaks, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from treadle.hub import sleep

__all__ = ["end_connections", "serve"]

#: How long a client that is between two requests may send another, once a server stops.
_LAST_REQUESTS = 0.06
#: How often a server that stops looks whether connections have ended, in seconds.
_LOOK = 0.005


def serve(sock: Any, address: Any, server: Any) -> None:
    """Serve one connection until it ends, in HTTP/1.1 or, if the *server* does, HTTP/2.

    A client chooses HTTP/2 by ALPN, or by what it begins with. *server* has ``handler_class``,
    if its ``http2`` is true ``stream_class``, and a set of its ``connections``.
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
    """Serve a connection of HTTP/2, of which *first* was received already."""
    from treadle.http.http2 import Connection

    _handle(Connection(sock, address, server, first), server)


def _handle(connection: Any, server: Any) -> None:
    """Serve it, among the *server*'s ``connections`` meanwhile."""
    server.connections.add(connection)
    try:
        connection.handle()
    finally:
        server.connections.discard(connection)


def end_connections(servers: Sequence[Any], left: Callable[[], int], deadline: float) -> None:
    """Let the connections of *servers* end, those that answer with the answer they are at.

    The servers are ``stopping`` and accept no more. Returns when :func:`time.monotonic` has come to
    *deadline* or none is *left*.
    """
    # Who has a connection open may just be sending a request: closing now would lose it.
    until = monotonic() + _LAST_REQUESTS
    while left() and monotonic() < until:
        sleep(_LOOK)
    while left() and monotonic() < deadline:
        for server in servers:
            for connection in list(server.connections):
                connection.stop()
        sleep(_LOOK)
