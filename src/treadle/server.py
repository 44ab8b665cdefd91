"""TCP, Unix and UDP servers, with the interface of gevent.server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from socket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOL_SOCKET
from typing import Any

from treadle import socket as _socket
from treadle.baseserver import BaseServer, Listener, Spawn

__all__ = ["DatagramServer", "StreamServer"]


class StreamServer(BaseServer):
    """A server that calls ``handle(socket, address)`` for each connection.

    :class:`BaseServer` documents *listener* and *spawn*. The socket is closed when the handler
    returns, unless something else, such as a file object, still uses it. *backlog* is the number of
    connections that may wait to be accepted.

    With other arguments it serves TLS. They are *ssl_context*, a context of :mod:`treadle.ssl` or,
    after patching, of :mod:`ssl`; or, to make one, *certfile* and *keyfile*, paths of PEM files,
    *ssl_version*, *cert_reqs*, *ca_certs* and *ciphers*, which have the meaning that they had for
    ``ssl.wrap_socket()``. The rest are arguments of the context's ``wrap_socket()``. A failed
    handshake is reported like an error of the handler.
    """

    #: The number of connections that may wait to be accepted, if *backlog* is not given.
    backlog: int = 256
    #: Whether to set SO_REUSEADDR, so that the address can be bound while old connections linger.
    #: None: set it except on Windows.
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
        #: The arguments of :meth:`wrap_socket`; None: the server does not use TLS.
        self.ssl_args: dict[str, Any] | None = None
        try:
            if ssl_args:
                self.wrap_socket = self._take_context(ssl_args).wrap_socket
                self.ssl_args = {"server_side": True, **ssl_args}
                signature(self.wrap_socket).bind(None, **self.ssl_args)  # raises TypeError
            if backlog is not None:
                if not self.closed:
                    raise TypeError("a socket has its backlog already: give an address instead")
                self.backlog = backlog
        except BaseException:
            self.close()
            raise

    #: Makes a TLS socket of each connection; called with the connection and :attr:`ssl_args`.
    wrap_socket: Callable[..., Any]

    @property
    def ssl_enabled(self) -> bool:
        """Whether the server uses TLS."""
        return self.ssl_args is not None

    @staticmethod
    def _take_context(ssl_args: dict[str, Any]) -> Any:
        """Remove the arguments for a TLS context from *ssl_args*, and return the context."""
        context = ssl_args.pop("ssl_context", None)
        if context is None:
            if "certfile" not in ssl_args:
                raise TypeError("to serve TLS give ssl_context, or certfile (and keyfile)")
            from treadle import ssl  # imports the standard ssl, which only TLS servers need

            context = ssl.SSLContext(ssl_args.pop("ssl_version", None) or ssl.PROTOCOL_TLS_SERVER)
            context.verify_mode = ssl_args.pop("cert_reqs", None) or ssl.CERT_NONE
            context.load_cert_chain(ssl_args.pop("certfile"), ssl_args.pop("keyfile", None))
            authorities, ciphers = ssl_args.pop("ca_certs", None), ssl_args.pop("ciphers", None)
            if authorities:
                context.load_verify_locations(authorities)
            if ciphers:
                context.set_ciphers(ciphers)
        return context

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Do the TLS handshake with a client, then call the handler with the TLS socket."""
        handle = self.handle  # close() takes it away, and may come during the handshake
        # wrap_socket() detaches client_socket. If it fails later, it closes the connection itself;
        # if it fails earlier, do_close() does.
        client = self.wrap_socket(client_socket, **(self.ssl_args or {}))
        with client:
            return handle(client, address)

    def init_socket(self) -> None:
        """Make the listening socket, bind it and listen, unless a socket was given."""
        if self.closed:
            self.socket: Any = self.get_listener(self.address, self.backlog, self.family)
            self.address: Any = self.socket.getsockname()
        self._handle = self.wrap_socket_and_handle if self.ssl_enabled else self.handle

    @classmethod
    def get_listener(
        cls, address: Any, backlog: int | None = None, family: int | None = None
    ) -> _socket.socket:
        """Return a new socket that listens on *address*."""
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
        """Accept one connection; return its socket and the client's address."""
        return self._accepting.accept()

    def do_close(self, *args: Any) -> None:
        """Close the connection."""
        args[0].close()


class DatagramServer(BaseServer):
    """A UDP server that calls ``handle(data, address)`` for each datagram.

    :class:`BaseServer` documents *listener* and *spawn*.
    """

    def __init__(
        self,
        listener: Listener,
        handle: Callable[[bytes, Any], object] | None = None,
        spawn: Spawn = "default",
    ) -> None:
        super().__init__(listener, handle, spawn)

    #: Whether to set SO_REUSEADDR, so that the address can be bound while another socket is bound
    #: to it. None: do not set it.
    reuse_addr: bool | None = None
    #: The longest datagram that is received whole, in bytes.
    max_size = 65536

    def init_socket(self) -> None:
        """Make and bind the socket, unless a socket was given."""
        if self.closed:
            self.socket: Any = self.get_listener(self.address, self.family)
            self.address: Any = self.socket.getsockname()

    @classmethod
    def get_listener(cls, address: Any, family: int | None = None) -> _socket.socket:
        """Return a new UDP socket that is bound to *address*."""
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
        """Receive one datagram; return its data and the sender's address."""
        return self._accepting.recvfrom(self.max_size)

    def sendto(self, *args: Any) -> int:
        """Send a datagram from the server's socket, with the arguments of :meth:`socket.sendto`."""
        return self._accepting.sendto(*args)  # type: ignore[no-any-return]
