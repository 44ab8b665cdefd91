"""What the servers share: listening, accepting, handing over, stopping."""

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
            return parse_address(("" if host == "*" else host, int(port)))
    raise TypeError(f"cannot listen on {address!r}: give (host, port), a port or 'unix:path'")


class Spawner(Protocol):
    """A pool, or anything else that runs handlers by its ``spawn()``."""

    def spawn(self, func: Callable[..., object], /, *args: Any) -> object:
        """Run ``func(*args)``."""


#: How a server runs its handlers; :class:`BaseServer` explains each.
Spawn = Literal["default"] | int | Spawner | Callable[..., object] | None
#: Where a server listens: an address, or a bound socket.
Listener = tuple[Any, ...] | int | str | _stdlib_socket


class BaseServer:
    """Accepts in a greenlet and handles what comes in others.

    *listener* is an address (``(host, port)``, a port number, ``"unix:path"``) or a bound socket.
    *handle* is called with what each subclass says; a subclass may have it as a method instead.
    *spawn* tells how it is run: ``"default"`` spawns a greenlet for each; a
    :class:`treadle.pool.Pool` limits how many there are, and so does an int; None calls it in the
    accepting greenlet; or any function with :func:`treadle.spawn`'s signature, as
    :func:`treadle.spawn_raw`.

    The listening ``socket`` is an attribute from :meth:`start` (or from the beginning, if one was
    given) until :meth:`close`.
    """

    #: The first and the longest pause, in seconds, after accepting failed; each failure doubles it.
    min_delay: float = 0.01
    max_delay: float = 1.0
    #: How many connections are accepted before others run.
    max_accept = 100
    #: Seconds that :meth:`stop` gives to handlers that still run, before killing them.
    stop_timeout: float = 1.0
    #: Numbers of errors that end the server; after others it pauses and goes on.
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
        self._accepting: Any = None  # what the acceptor waits on: the listener, as treadle's socket
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
        """The loop of the thread it serves in."""
        return get_hub().loop

    def set_listener(self, listener: Listener) -> None:
        """Take the address or socket to listen on; TypeError for a TLS socket."""
        if not hasattr(listener, "accept"):
            self.family, self.address = parse_address(listener)
            return
        if hasattr(listener, "do_handshake"):
            raise TypeError(f"give a plain socket, and TLS by arguments, not {listener!r}")
        self.socket = listener
        self.family, self.address = self.socket.family, self.socket.getsockname()

    def set_spawn(self, spawn: Spawn) -> None:
        """Choose how handlers are run; see the class."""
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
        """Choose the handler; None: the method of the subclass, without which it is a TypeError."""
        if handle is not None:
            if not callable(handle):
                raise TypeError(f"'handle' must be callable, not {handle!r}")
            self.handle = handle
        if not hasattr(self, "handle"):
            raise TypeError("'handle' must be given, or be a method")
        self._handle = self.handle

    # -- for subclasses

    def init_socket(self) -> None:
        """Make and bind the socket, unless one was given."""

    def do_read(self) -> Any:
        """Wait for one connection or message; returns the handler's arguments."""
        raise NotImplementedError

    def do_handle(self, *args: Any) -> None:
        """Run the handler the way ``spawn`` says."""
        try:
            if self._spawn is None:
                _handle_and_close(self._handle, self.do_close, args)
            else:
                self._spawn(_handle_and_close, self._handle, self.do_close, args)
        except BaseException:
            self.do_close(*args)
            raise

    def do_close(self, *args: Any) -> None:
        """Let go of the handler's arguments when it has ended."""

    def full(self) -> bool:
        """Whether nothing may be accepted for now."""
        return bool(self.pool is not None and hasattr(self.pool, "full") and self.pool.full())

    def is_fatal_error(self, ex: BaseException) -> bool:
        """Whether the server must end because accepting raised this."""
        return isinstance(ex, OSError) and ex.errno in self.fatal_errors

    # -- life

    @property
    def started(self) -> bool:
        """Whether it was started and not stopped."""
        return not self._stop_event.is_set()

    @property
    def closed(self) -> bool:
        """Whether it has no listening socket (yet, or any more)."""
        return not hasattr(self, "socket")

    @property
    def server_host(self) -> str | None:
        """The address it listens on, for IP."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self) -> int | None:
        """The port it listens on, for IP."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def start(self) -> None:
        """Begin to listen and to accept; AssertionError if it does already."""
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
        """Accept again after :meth:`stop_accepting`."""
        if self._accepting is None:
            listener = self.socket
            if not isinstance(listener, _socket.socket):
                listener = _socket.socket(
                    listener.family, listener.type, listener.proto, fileno=listener.fileno()
                )
            self._accepting = listener
        if self._acceptor is None:
            self._acceptor = Greenlet.spawn(self._accept_forever)

    def stop_accepting(self) -> None:
        """Accept nothing for now: who connects waits in the listening socket's queue."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.kill(block=False)

    def close(self) -> None:
        """Stop accepting and close the listening socket; handlers go on."""
        self._stop_event.set()
        self.stop_accepting()
        listener, self._accepting = self._accepting, None
        own = self.__dict__.pop("socket", None)
        if listener is not None and listener is not own:
            listener.detach()
        if own is not None:
            own.close()
        for name in ("handle", "_handle", "_spawn"):
            self.__dict__.pop(name, None)

    def stop(self, timeout: float | None = None) -> None:
        """Close it, then wait *timeout* seconds for the handlers in its pool and kill the rest.

        *timeout* is :attr:`stop_timeout` by default. Handlers without a pool are let alone.
        """
        self.close()
        if self.pool is not None:
            self.pool.join(timeout=self.stop_timeout if timeout is None else timeout)
            self.pool.kill(block=True, timeout=1)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start it if need be, and wait until somebody stops it."""
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
        """Accept one when there is a place for it; False if the server has ended."""
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
        """Report the error; False if it ends the server."""
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
        handle(*args)
    finally:
        close(*args)
