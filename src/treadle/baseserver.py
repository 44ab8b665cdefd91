"""The base class of the servers: it listens, accepts, runs handlers and stops."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from socket import AF_INET, AF_INET6, AF_UNIX
from socket import socket as _stdlib_socket
from typing import Any, Literal, Protocol, Self

from treadle import socket as _socket
from treadle.event import Event
from treadle.greenlet import Greenlet
from treadle.hub import get_hub, sleep
from treadle.pool import Pool

__all__ = ["BaseServer"]


def parse_address(address: Any) -> tuple[int, Any]:
    """Return the family and the socket address for ``(host, port)``, a port or a Unix path.

    A string is ``"host:port"``, a Unix path that begins with ``/``, or ``"unix:path"``. Raises
    TypeError for anything else.
    """
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
            return parse_address(("" if host == "*" else host, int(port)))
    raise TypeError(f"cannot listen on {address!r}: give (host, port), a port or 'unix:path'")


class Spawner(Protocol):
    """A pool or another object whose ``spawn()`` runs handlers."""

    def spawn(self, func: Callable[..., object], /, *args: Any) -> object:
        """Run ``func(*args)``."""


#: The ways for a server to run its handlers; see :class:`BaseServer`.
Spawn = Literal["default"] | int | Spawner | Callable[..., object] | None
#: Where a server listens: an address, or a bound socket.
Listener = tuple[Any, ...] | int | str | _stdlib_socket


class BaseServer:
    """A server that accepts in one greenlet and runs handlers in others.

    *listener* is an address (``(host, port)``, a port number, ``"unix:path"``) or a bound socket.
    *handle* is the handler; each subclass documents its arguments. A subclass may define it as a
    method instead. *spawn* is the way to run handlers:

    - ``"default"`` spawns a greenlet for each call.
    - A :class:`treadle.pool.Pool`, or its size as an int, limits the number of handlers that run
      at once.
    - None calls the handler in the accepting greenlet.
    - A function with the signature of :func:`treadle.spawn`, such as :func:`treadle.spawn_raw`, is
      called with the handler and its arguments.

    The listening ``socket`` is an attribute from :meth:`start` (or from the beginning, if one was
    given) until :meth:`close`.
    """

    #: The first and the longest pause after accepting failed, in seconds. Each failure doubles the
    #: pause.
    min_delay: float = 0.01
    max_delay: float = 1.0
    #: The number of connections that are accepted before the accepting greenlet yields.
    max_accept = 100
    #: Seconds that :meth:`stop` waits for running handlers before it kills them.
    stop_timeout: float = 1.0
    #: Error numbers that end the server if accepting fails; after other errors it pauses and
    #: continues.
    fatal_errors: tuple[int, ...] = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

    _spawn: Any = Greenlet.spawn
    #: The listening socket; missing before :meth:`start` and after :meth:`close`.
    socket: Any

    def __init__(
        self,
        listener: Listener,
        handle: Callable[..., object] | None = None,
        spawn: Spawn = "default",
    ) -> None:
        self._stop_event = Event()
        self._stop_event.set()
        self._acceptor: Any = None
        self._accepting: Any = None  # the listener as a treadle socket, which the acceptor uses
        self._handle: Any = None
        self.family: int | None = None
        self.address: Any = None
        self.pool: Any = None
        try:
            self.set_listener(listener)
            self.set_spawn(spawn)
            self.set_handle(handle)
            self.delay: float = self.min_delay
            if self.max_accept < 1:
                raise ValueError(f"max_accept must be at least 1, not {self.max_accept!r}")
        except BaseException:
            self.close()
            raise

    @property
    def loop(self) -> Any:
        """The event loop of the current thread's hub."""
        return get_hub().loop

    def set_listener(self, listener: Listener) -> None:
        """Set the address or socket to listen on. Raises TypeError for a TLS socket."""
        if not hasattr(listener, "accept"):
            self.family, self.address = parse_address(listener)
            return
        if hasattr(listener, "do_handshake"):
            raise TypeError(f"give a plain socket, and TLS by arguments, not {listener!r}")
        self.socket = listener
        self.family, self.address = self.socket.family, self.socket.getsockname()

    def set_spawn(self, spawn: Spawn) -> None:
        """Set the way to run handlers; *spawn* is the argument of the class.

        Raises TypeError if *spawn* is of another type.
        """
        self.pool = None
        if spawn == "default":
            return
        run: Any = Pool(spawn) if isinstance(spawn, int) else spawn
        if hasattr(run, "spawn"):
            self.pool, run = run, run.spawn
        if run is not None and not callable(run):
            raise TypeError(f"'spawn' must be a pool, a function, an int or None, not {spawn!r}")
        self._spawn = run

    def set_handle(self, handle: Callable[..., object] | None) -> None:
        """Set the handler; None: the method ``handle`` of the subclass.

        Raises TypeError if *handle* is not callable, or if it is None and there is no method.
        """
        if handle is not None:
            if not callable(handle):
                raise TypeError(f"'handle' must be callable, not {handle!r}")
            self.handle = handle
        if not hasattr(self, "handle"):
            raise TypeError("'handle' must be given, or be a method")
        self._handle = self.handle

    # -- for subclasses

    def init_socket(self) -> None:
        """Make and bind the listening socket, unless a socket was given."""

    def do_read(self) -> Any:
        """Wait for one connection or message; return the handler's arguments."""
        raise NotImplementedError

    def do_handle(self, *args: Any) -> None:
        """Run the handler in the way that ``spawn`` says, with :meth:`do_close` at its end."""
        try:
            if self._spawn is None:
                _handle_and_close(self._handle, self.do_close, args)
            else:
                self._spawn(_handle_and_close, self._handle, self.do_close, args)
        except BaseException:
            self.do_close(*args)
            raise

    def do_close(self, *args: Any) -> None:
        """Close the handler's arguments, such as the connection, after the handler has ended."""

    def full(self) -> bool:
        """Return whether the pool is full: the server accepts nothing until it has a free place."""
        return bool(self.pool is not None and hasattr(self.pool, "full") and self.pool.full())

    def is_fatal_error(self, ex: BaseException) -> bool:
        """Return whether the server must end because accepting raised *ex*."""
        return isinstance(ex, OSError) and ex.errno in self.fatal_errors

    # -- starting and stopping

    @property
    def started(self) -> bool:
        """Whether the server was started and not stopped."""
        return not self._stop_event.is_set()

    @property
    def closed(self) -> bool:
        """Whether the server has no listening socket, before its start or after its end."""
        return not hasattr(self, "socket")

    @property
    def server_host(self) -> str | None:
        """The host that the server listens on; None for a Unix socket."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self) -> int | None:
        """The port that the server listens on; None for a Unix socket."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def start(self) -> None:
        """Begin to listen and accept. Raises AssertionError if the server is started already."""
        if self.started:
            raise AssertionError(f"{self!r} is started already")
        self.init_socket()
        self._stop_event.clear()
        try:
            self.start_accepting()
        except BaseException:
            self.close()
            raise

    def start_accepting(self) -> None:
        """Begin to accept, or continue after :meth:`stop_accepting`."""
        if self._accepting is None:
            listener = self.socket
            if not isinstance(listener, _socket.socket):
                listener = _socket.socket(
                    listener.family, listener.type, listener.proto, fileno=listener.fileno()
                )
            listener.settimeout(None)  # a server waits for its clients without limit
            self._accepting = listener
        if self._acceptor is None:
            self._acceptor = Greenlet.spawn(self._accept_forever)

    def stop_accepting(self) -> None:
        """Stop accepting for now: new connections wait in the listening socket's queue."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.kill(block=False)

    def close(self) -> None:
        """Stop accepting and close the listening socket; running handlers continue."""
        self._stop_event.set()
        self.stop_accepting()
        listener, self._accepting = self._accepting, None
        own = self.__dict__.pop("socket", None)
        if listener is not None and listener is not own:
            listener.detach()
            if own is not None and own.fileno() >= 0:
                own.settimeout(own.gettimeout())  # the system's socket is as its owner left it
        if own is not None:
            own.close()
        for name in ("handle", "_handle", "_spawn"):
            self.__dict__.pop(name, None)

    def stop(self, timeout: float | None = None) -> None:
        """Close the server, wait for the handlers in its pool, then kill those that still run.

        It waits at most *timeout* seconds, by default :attr:`stop_timeout`, and one second more
        for the killed handlers to end. Without a pool, running handlers continue.
        """
        self.close()
        if self.pool is not None:
            self.pool.join(timeout=self.stop_timeout if timeout is None else timeout)
            self.pool.kill(block=True, timeout=1)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start the server unless it is started, and wait until it is stopped or closed.

        At the end, call :meth:`stop` with *stop_timeout* seconds.
        """
        if not self.started:
            self.start()
        try:
            self._stop_event.wait()
        finally:
            Greenlet.spawn(self.stop, timeout=stop_timeout).join()

    def _accept_forever(self) -> None:
        me = self._acceptor
        while self._acceptor is me:
            for _ in range(self.max_accept):
                if not self._accept_one():
                    return
            sleep(0)

    def _accept_one(self) -> bool:
        """Wait for a place in the pool and accept once; return False if the server has ended."""
        while self.full():
            if hasattr(self.pool, "wait_available"):
                self.pool.wait_available()
            else:
                sleep(self.min_delay)
        try:
            arguments = self.do_read()
            self.delay = self.min_delay
        except Exception as exc:
            return self._pause_after(self, exc)
        if not arguments:
            return True
        try:
            self.do_handle(*arguments)
        except Exception as exc:
            return self._pause_after((arguments[1:], self), exc)
        return True

    def _pause_after(self, context: object, exc: Exception) -> bool:
        """Report *exc* to the hub and pause; return False if the server has ended."""
        if self.closed:
            return False
        get_hub().handle_error(context, type(exc), exc, exc.__traceback__)
        if context is self and self.is_fatal_error(exc):
            self.close()
            if sys.stderr is not None:
                sys.stderr.write(f"ERROR: {self} failed with {exc or repr(exc)}\n")
            return False
        if self.delay >= 0:
            delay, self.delay = self.delay, min(self.max_delay, self.delay * 2)
            sleep(delay)
        return True

    def __enter__(self) -> Self:
        if not self.started:
            self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {self._formatinfo()}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__} {self._formatinfo()}>"

    def _formatinfo(self) -> str:
        parts = [] if self.closed else [f"fileno={self.socket.fileno()}"]
        address = self.address
        if isinstance(address, tuple) and len(address) == 2:
            address = "{}:{}".format(*address)
        parts.append(f"address={address}")
        handle = self.__dict__.get("handle")
        if handle is not None and getattr(handle, "__self__", None) is self:
            parts.append(f"handle=<bound method {type(self).__name__}.{handle.__name__} of self>")
        elif handle is not None:
            parts.append(f"handle={handle!r}")
        return " ".join(parts)


def _handle_and_close(
    handle: Callable[..., object], close: Callable[..., object], args: tuple[Any, ...]
) -> None:
    try:
        if len(args) == 2:
            # For a starred call of a method the interpreter enters itself again, on the C stack:
            # every connection would hold up to 1 KiB more while it waits.
            first, second = args
            handle(first, second)
        else:
            handle(*args)
    finally:
        close(*args)
