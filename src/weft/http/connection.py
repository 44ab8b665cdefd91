"""Which protocol a connection speaks."""

from __future__ import annotations

from typing import Any

__all__ = ["serve"]


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
    from weft.http.http2 import Connection

    _handle(Connection(sock, address, server, first), server)


def _handle(connection: Any, server: Any) -> None:
    """Serve it, among the *server*'s ``connections`` meanwhile."""
    server.connections.add(connection)
    try:
        connection.handle()
    finally:
        server.connections.discard(connection)
