"""TCP, Unix and UDP servers: what gevent.server offers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from socket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOL_SOCKET
from typing import Any

from treadle import socket as _socket
from treadle.baseserver import BaseServer, Listener, Spawn

__all__ = ["DatagramServer", "StreamServer"]


class StreamServer(BaseServer):
    """Serves connections: ``handle(socket, address)`` for each; see :class:`BaseServer`.

    The socket is closed when the handler returns, unless something else refers to it still.
    *backlog* is how many connections may wait to be accepted.

    Other arguments make it serve TLS: *ssl_context*, one of :mod:`treadle.ssl` or, after patching,
    of
    :mod:`ssl`, with those of its ``wrap_socket``; or *certfile* and *keyfile*, paths of PEM files.
    A handshake that fails is reported as an error of its handler would be.
    """

    #: How many connections may wait to be accepted, unless *backlog* says otherwise.
    backlog: int = 256
    #: Whether the address may be bound while old connections of it linger; None: not on Windows.
    reuse_addr: bool | None = None

    def __init__(
        self,
        listener: Listener,
        handle: Callable[[_socket.socket, Any], object] | None = None,
        backlog: int | None = None,
        spawn: Spawn = "default",
        **ssl_args: Any,
    ) -> None:
        super().__init__(listener, handle, spawn)
        #: The arguments of :meth:`wrap_socket`; None: it serves without TLS.
        self.ssl_args: dict[str, Any] | None = None
        try:
            if ssl_args:
                self.wrap_socket = self._take_context(ssl_args).wrap_socket
                self.ssl_args = {"server_side": True, **ssl_args}
            if backlog is not None:
                if not self.closed:
                    raise TypeError("a socket has its backlog already: give an address instead")
                self.backlog = backlog
        except BaseException:
            self.close()
            raise

    #: What makes a TLS socket of each connection, with :attr:`ssl_args`.
    wrap_socket: Callable[..., Any]

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
            from treadle import ssl  # imports the standard one: only for who serves TLS

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(ssl_args.pop("certfile"), ssl_args.pop("keyfile", None))
        return context

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Shake hands with a client of a TLS server, then call the handler."""
        # It closes what it takes over; should it fail, do_close() does.
        client = self.wrap_socket(client_socket, **(self.ssl_args or {}))
        with client:
            return self.handle(client, address)

    def init_socket(self) -> None:
        """Make, bind and listen, unless a socket was given."""
        if self.closed:
            self.socket: Any = self.get_listener(self.address, self.backlog, self.family)
            self.address: Any = self.socket.getsockname()
        self._handle = self.wrap_socket_and_handle if self.ssl_enabled else self.handle

    @classmethod
    def get_listener(
        cls, address: Any, backlog: int | None = None, family: int | None = None
    ) -> _socket.socket:
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
        return self._accepting.accept()

    def do_close(self, *args: Any) -> None:
        """Close the connection."""
        args[0].close()


class DatagramServer(BaseServer):
    """Serves messages: ``handle(data, address)`` for each; see :class:`BaseServer`."""

    def __init__(
        self,
        listener: Listener,
        handle: Callable[[bytes, Any], object] | None = None,
        spawn: Spawn = "default",
    ) -> None:
        super().__init__(listener, handle, spawn)

    #: Whether the address may be bound while another socket is; None: not on Windows.
    reuse_addr: bool | None = None
    #: The longest message that is taken whole, in bytes.
    max_size = 65536

    def init_socket(self) -> None:
        """Make and bind the socket, unless one was given."""
        if self.closed:
            self.socket: Any = self.get_listener(self.address, self.family)
            self.address: Any = self.socket.getsockname()

    @classmethod
    def get_listener(cls, address: Any, family: int | None = None) -> _socket.socket:
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
        return self._accepting.recvfrom(self.max_size)

    def sendto(self, *args: Any) -> int:
        """Send a message from the server's socket, as :meth:`socket.sendto`."""
        return self._accepting.sendto(*args)  # type: ignore[no-any-return]
