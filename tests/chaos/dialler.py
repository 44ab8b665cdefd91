"""Connecting to the server, with TLS or without."""

from __future__ import annotations

import ssl
from typing import Any

from treadle import socket
from treadle import ssl as treadle_ssl

from .connections import PATIENCE, Http1, Http2


class Dialler:
    """Connects to *port*, with TLS if *authority* is a file of certificates to trust."""

    def __init__(self, port: int, authority: str = "") -> None:
        self._port = port
        self._contexts: dict[str, Any] = {}
        for protocol in (Http1.PROTOCOL, Http2.PROTOCOL) if authority else ():
            context = treadle_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(authority)
            context.set_alpn_protocols([protocol])
            self._contexts[protocol] = context

    def dial(self, protocol: str) -> Any:
        """Return a new connection for *protocol*."""
        sock: Any = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        if not self._contexts:
            return sock
        return self._contexts[protocol].wrap_socket(sock, server_hostname="localhost")
