"""TCP, Unix and UDP servers: what gevent.server offers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from socket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOL_SOCKET
from typing import Any

from weft import socket as _socket
from weft.baseserver import BaseServer

__all__ = ["DatagramServer", "StreamServer"]


class StreamServer(BaseServer):
    """Serves connections: ``handle(socket, address)`` for each; see :class:`BaseServer`.

    The socket is closed when the handler returns, unless something else refers to it still.
    *backlog* is how many connections may wait to be accepted.

    Other arguments make it serve TLS: *ssl_context*, one of :mod:`weft.ssl` or, after patching, of
    :mod:`ssl`, with those of its ``wrap_socket``; or *certfile* and *keyfile*, paths of PEM files.
    A handshake that fails is reported as an error of its handler would be.
    """

    #: How many connections may wait to be accepted, unless *backlog* says otherwise.
    backlog = 256
    #: Whether the address may be bound while old connections of it linger; None: not on Windows.
    reuse_addr: bool | None = None

    def __init__(
        self,
        listener: Any,
        handle: Callable[..., object] | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        **ssl_args: Any,
    ) -> None:
        self.ssl_args = {"server_side": True, **ssl_args} if ssl_args else None
        self._ssl_context = self._take_context(self.ssl_args) if self.ssl_args else None
        if backlog is not None:
            self.backlog = backlog
        super().__init__(listener, handle, spawn)

    @property
    def ssl_enabled(self) -> bool:
        """Whether it serves TLS."""
        return self.ssl_args is not None

    @staticmethod
    def _take_context(ssl_args: dict[str, Any]) -> Any:
        """Remove from the arguments those that make a context, and return it."""
        context = ssl_args.pop("ssl_context", None)
        if context is None:
            if "certfile" not in ssl_args:
                raise TypeError("to serve TLS give ssl_context, or certfile (and keyfile)")
            ssl = importlib.import_module("weft.ssl")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(ssl_args.pop("certfile"), ssl_args.pop("keyfile", None))
        return context

    def _handle_and_end(self, *args: Any) -> None:
        if self._ssl_context is None:
            super()._handle_and_end(*args)
            return
        with args[0]:  # until the other takes its descriptor over
            client = self._ssl_context.wrap_socket(args[0], **(self.ssl_args or {}))
        super()._handle_and_end(client, *args[1:])

    def init_socket(self) -> None:
        """Make, bind and listen, unless a socket was given."""
        if self.socket is None:
            self.socket = self.get_listener(self.address, self.backlog, self.family)

    @classmethod
    def get_listener(
        cls, address: Any, backlog: int | None = None, family: int | None = None
    ) -> Any:
        """A socket that listens on *address*."""
        listener = _socket.socket(AF_INET if family is None else family)
        try:
            if cls.reuse_addr or (cls.reuse_addr is None and sys.platform != "win32"):
                listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(cls.backlog if backlog is None else backlog)
        except BaseException:
            listener.close()
            raise
        return listener

    def do_read(self) -> Any:
        """Accept one connection."""
        return self.socket.accept()

    def do_close(self, *args: Any) -> None:
        """Close the connection."""
        args[0].close()


class DatagramServer(BaseServer):
    """Serves messages: ``handle(data, address)`` for each; see :class:`BaseServer`."""

    #: Whether the address may be bound while another socket is; None: not on Windows.
    reuse_addr: bool | None = None
    #: The longest message that is taken whole, in bytes.
    max_size = 65536

    def init_socket(self) -> None:
        """Make and bind the socket, unless one was given."""
        if self.socket is None:
            self.socket = self.get_listener(self.address, self.family)

    @classmethod
    def get_listener(cls, address: Any, family: int | None = None) -> Any:
        """A socket bound to *address*."""
        listener = _socket.socket(AF_INET if family is None else family, SOCK_DGRAM)
        try:
            if cls.reuse_addr:
                listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
        return listener

    def do_read(self) -> Any:
        """Receive one message."""
        return self.socket.recvfrom(self.max_size)

    def sendto(self, *args: Any) -> int:
        """Send a message from the server's socket, as :meth:`socket.sendto`."""
        return self.socket.sendto(*args)  # type: ignore[no-any-return]
