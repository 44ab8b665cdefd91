"""What the servers share: listening, accepting, handing over, stopping."""

from __future__ import annotations

import errno
from collections.abc import Callable
from socket import AF_INET, AF_INET6, AF_UNIX
from typing import Any

from weft import socket as _socket
from weft.event import Event
from weft.greenlet import Greenlet, spawn_raw
from weft.hub import sleep
from weft.pool import Pool

__all__ = ["BaseServer"]

#: Errors of accept() that end the server; after others it pauses and goes on.
FATAL_ERRORS = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)


def parse_address(address: Any) -> tuple[int, Any]:
    """The family and the address that *address* means: ``(host, port)``, port, or Unix path."""
    if isinstance(address, tuple):
        host = address[0]
        family = AF_INET6 if ":" in host else AF_INET
        return family, address
    if isinstance(address, int):
        return AF_INET, ("", address)
    if isinstance(address, str):
        if address.startswith(("/", "unix:")):
            return AF_UNIX, address.removeprefix("unix:")
        host, _, port = address.rpartition(":")
        if port.isdigit():
            host = host.strip("[]")
            return parse_address((host, int(port)))
    raise TypeError(f"cannot listen on {address!r}: give (host, port), a port or 'unix:path'")


class BaseServer:
    """Accepts in a greenlet and handles what comes in others.

    *listener* is an address (``(host, port)``, a port number, ``"unix:path"``) or a bound socket.
    *handle* is called with what each subclass says. *spawn* tells how it is run: ``"default"``
    spawns a greenlet for each; a :class:`weft.pool.Pool` limits how many there are, and so does
    an int; ``"raw"`` spawns bare greenlets; None calls it in the accepting greenlet; or any
    function with :func:`weft.spawn`'s signature.
    """

    #: The first and the longest pause, in seconds, after accepting failed for lack of resources.
    min_delay = 0.01
    max_delay = 1.0
    #: Seconds that :meth:`stop` gives to handlers that still run, before killing them.
    stop_timeout = 1.0
    #: What is called for each; given, or defined by a subclass.
    handle: Callable[..., object] | None = None

    def __init__(
        self, listener: Any, handle: Callable[..., object] | None = None, spawn: Any = "default"
    ) -> None:
        self.socket: Any = None
        self.family: int | None = None
        self.address: Any = None
        self.pool: Any = None
        self._acceptor: Any = None
        self._stopped = Event()
        self._stopped.set()
        self.closed = False
        if handle is not None and not callable(handle):
            raise TypeError(f"'handle' must be callable, not {handle!r}")
        if handle is not None:
            self.handle = handle
        self.set_listener(listener)
        self.set_spawn(spawn)

    def set_listener(self, listener: Any) -> None:
        """Take the address or socket to listen on."""
        if hasattr(listener, "accept") or hasattr(listener, "recvfrom"):
            if not isinstance(listener, _socket.socket):
                listener = _socket.socket(
                    listener.family, listener.type, listener.proto, fileno=listener.detach()
                )
            self.socket = listener
            self.family, self.address = listener.family, listener.getsockname()
        else:
            self.family, self.address = parse_address(listener)

    def set_spawn(self, spawn: Any) -> None:
        """Choose how handlers are run; see the class."""
        if spawn == "default":
            self._spawn: Any = Greenlet.spawn
        elif spawn == "raw":
            self._spawn = spawn_raw
        elif hasattr(spawn, "spawn"):
            self.pool, self._spawn = spawn, spawn.spawn
        elif isinstance(spawn, int):
            self.pool = Pool(spawn)
            self._spawn = self.pool.spawn
        elif spawn is None or callable(spawn):
            self._spawn = spawn
        else:
            raise TypeError(f"'spawn' must be a pool, a function, an int or None, not {spawn!r}")

    # -- for subclasses

    def init_socket(self) -> None:
        """Make and bind the socket, unless one was given."""
        raise NotImplementedError

    def do_read(self) -> Any:
        """Wait for one connection or message; returns the handler's arguments."""
        raise NotImplementedError

    # -- life

    @property
    def started(self) -> bool:
        """Whether it accepts."""
        return self._acceptor is not None

    @property
    def server_host(self) -> str | None:
        """The address it listens on, for IP."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self) -> int | None:
        """The port it listens on, for IP."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def start(self) -> None:
        """Begin to accept; AssertionError if it does already."""
        if self.closed:
            raise AssertionError(f"{self!r} was stopped and cannot be started again")
        if self.started:
            raise AssertionError(f"{self!r} is started already")
        self.init_socket()
        self.address = self.socket.getsockname()
        self._stopped.clear()
        self._acceptor = Greenlet.spawn(self._accept_forever)

    def close(self) -> None:
        """Stop accepting and close the listening socket; handlers go on."""
        self.closed = True
        self._stopped.set()
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.kill(block=False)
        if self.socket is not None:
            self.socket.close()

    def stop(self, timeout: float | None = None) -> None:
        """Close it, then wait *timeout* seconds for the handlers in its pool and kill the rest."""
        self.close()
        if self.pool is not None:
            self.pool.join(timeout=self.stop_timeout if timeout is None else timeout)
            self.pool.kill(block=True, timeout=1)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start it if need be, and wait until somebody stops it."""
        if not self.started:
            self.start()
        try:
            self._stopped.wait()
        finally:
            Greenlet.spawn(self.stop, timeout=stop_timeout).join()

    def _accept_forever(self) -> None:
        delay = self.min_delay
        while True:
            if self.pool is not None and hasattr(self.pool, "wait_available"):
                self.pool.wait_available()
            try:
                arguments = self.do_read()
            except OSError as exc:
                if self.closed or exc.errno in FATAL_ERRORS:
                    self.close()
                    return
                sleep(delay)
                delay = min(delay * 2, self.max_delay)
                continue
            delay = self.min_delay
            self.do_handle(*arguments)

    def do_handle(self, *args: Any) -> None:
        """Run the handler the way ``spawn`` says."""
        if self._spawn is None:
            self._handle_here(*args)
        else:
            self._spawn(self._handle_and_end, *args)

    def _handle_here(self, *args: Any) -> None:
        try:
            self._handle_and_end(*args)
        except Exception as exc:
            hub = self._acceptor.hub
            hub.handle_error(self, type(exc), exc, exc.__traceback__)

    def _handle_and_end(self, *args: Any) -> None:
        try:
            assert self.handle is not None, "give a handle, or override handle()"
            self.handle(*args)
        finally:
            self.do_close(*args)

    def do_close(self, *args: Any) -> None:
        """Let go of the handler's arguments when it has ended."""

    def __enter__(self) -> BaseServer:
        if not self.started:
            self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "started" if self.started else "closed" if self.closed else "not started"
        return f"<{type(self).__name__} at {id(self):#x} {self.address!r} {state}>"
