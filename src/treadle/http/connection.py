"""Serving the connections of a server, in the protocol that each client speaks, and ending them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle._core.clock import seconds as monotonic
from treadle.hub import sleep

__all__ = ["OF_ACTIVE_CLIENTS", "ON_THEIR_WAY", "end_connections", "serve"]

#: How long a client may still send a request once the server stops, in seconds: one that is on its
#: way, and one of a client that uses its connection often.
ON_THEIR_WAY, OF_ACTIVE_CLIENTS = 0.06, 1.0
#: How often a server that stops checks whether its connections have ended, in seconds.
_LOOK = 0.005


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
    from treadle.http.http2 import Connection

    _handle(Connection(sock, address, server, first), server)


def _handle(connection: Any, server: Any) -> None:
    """Serve *connection*, which is in the ``connections`` of *server* while it is served."""
    server.connections.add(connection)
    try:
        connection.handle()
    finally:
        server.connections.discard(connection)


def end_connections(
    servers: Sequence[Any],
    left: Callable[[], int],
    deadline: float,
    last_requests: float = ON_THEIR_WAY,
) -> None:
    """End the connections of *servers*; a connection with a pending response ends after it.

    The servers are ``stopping`` and accept no more connections. An idle connection stays open for
    *last_requests* seconds. Returns when *left* returns 0, or at *deadline*, a time of
    :func:`time.monotonic`.
    """
    # Closing a connection loses the request that its client sends at the same moment. A request
    # that comes before is answered with "Connection: close", which loses nothing.
    until = min(monotonic() + last_requests, deadline)
    while left() and monotonic() < until:
        sleep(_LOOK)
    while left() and monotonic() < deadline:
        for server in servers:
            for connection in list(server.connections):
                connection.stop()
        sleep(_LOOK)
