"""The standard library's socket module, cooperative.

:class:`socket` is a subclass of the standard one: what is not about waiting is the standard
library's own. The timeout is kept here. As with the standard library, the operating system's socket
blocks if there is none: whoever else uses the descriptor, such as a child, may rely on that. No
call of ours does, see ``_core_sockets.DONTWAIT``.
"""

from __future__ import annotations

import errno as _errno
import os as _os
import socket as _stdlib
import types as _types
from collections.abc import Iterator as _Iterator
from contextlib import contextmanager as _contextmanager
from time import monotonic as _monotonic
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# Here, for look-ups as the interpreter ends: nothing can be imported then.
import treadle.resolver.thread as _default_resolver  # noqa: F401
from treadle._core import sockets as _core_sockets
from treadle._core.builtins import builtin as _builtin
from treadle._core.builtins import getnameinfo
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.sockets import SocketState as _SocketState
from treadle._core.sockets import call_when_ready as _call_when_ready
from treadle.exceptions import ConcurrentObjectUseError as _ConcurrentObjectUseError
from treadle.hub import get_hub as _get_hub
from treadle.hub import sleep as _sleep
from treadle.resolver import is_address as _is_address
from treadle.timeout import Timeout as _Timeout

if _TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.socket import *  # noqa: F403

_READ, _WRITE = 1, 2

#: What treadle does itself.
__implements__ = [
    "create_connection",
    "create_server",
    "fromfd",
    "getaddrinfo",
    "getfqdn",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "socket",
    "socketpair",
]
#: What treadle adds.
__extensions__ = ["cancel_wait", "wait", "wait_read", "wait_readwrite", "wait_write"]
#: What is the standard library's own.
__imports__ = [
    name for name in dir(_stdlib) if not name.startswith("__") and name not in __implements__
]

globals().update({name: getattr(_stdlib, name) for name in __imports__})
__all__ = [*getattr(_stdlib, "__all__", []), *__extensions__]

_native = _stdlib.socket
_DONTWAIT: int = _core_sockets.DONTWAIT
_GiveupOnSendfile = _stdlib._GiveupOnSendfile  # type: ignore[attr-defined]
_native_sendfile = getattr(_os, "sendfile", None)
#: What one call of the system may copy, in bytes: others wait for as long as that takes.
_SENDFILE_PART = 1 << 20
_PENDING = frozenset({_errno.EINPROGRESS, _errno.EALREADY, _errno.EWOULDBLOCK, _errno.EINTR})
#: How long to wait before a Unix server whose queue is full is tried again, in seconds.
_RETRY_UNIX_CONNECT = 0.002


class socket(_native):
    """:class:`socket.socket`, whose calls let other greenlets run while they wait."""

    __slots__ = ("_state",)

    #: Whether the system's socket blocks where there is no timeout.
    _may_block = bool(_DONTWAIT)

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        super().__init__(family, type, proto, fileno)
        timeout = super().gettimeout()  # the default, or 0 by SOCK_NONBLOCK
        if timeout is not None or not self._may_block:
            super().settimeout(0)
        # On TCP alone a short read means that all is read: a Unix stream also stops at descriptors
        # that come with the data.
        stream = self.type == _stdlib.SOCK_STREAM and self.family in _INTERNET
        self._state = _SocketState(self.fileno(), stream=stream, timeout=timeout)

    # -- timeouts

    def settimeout(self, value: float | None) -> None:
        """Let every call wait *value* seconds at most: None for ever, 0 not at all."""
        before = self._state.get_timeout()
        self._state.set_timeout(value)
        if value is None or before is None or self._state.accepting:
            self._set_native_timeout()  # a call to the system, otherwise for nothing

    def _set_native_timeout(self) -> None:
        """Let the system's socket block, or not, as the standard library's would."""
        super().settimeout(None if self._may_block and self.gettimeout() is None else 0)
        self._state.accepting = False

    @_contextmanager
    def _not_blocking(self) -> _Iterator[None]:
        blocks = self._may_block and self.gettimeout() is None
        if blocks:
            super().settimeout(0)
        try:
            yield
        finally:
            if blocks and self.fileno() >= 0:
                self._set_native_timeout()

    def gettimeout(self) -> float | None:
        """The timeout in seconds, or None."""
        seconds: float | None = self._state.get_timeout()
        return seconds

    def setblocking(self, flag: bool) -> None:
        """``settimeout(None)`` if *flag* is true, else ``settimeout(0)``."""
        self.settimeout(None if flag else 0)

    def getblocking(self) -> bool:
        """Whether the timeout is not 0."""
        return self._state.get_timeout() != 0

    @property
    def timeout(self) -> float | None:
        """The timeout in seconds, or None."""
        return self.gettimeout()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called; files made of it may keep the descriptor open."""
        return self._closed  # type: ignore[attr-defined, no-any-return]

    @property
    def ref(self) -> bool:
        """Whether who waits for it, from now on, keeps the loop going: true unless assigned."""
        return not self._state.unref

    @ref.setter
    def ref(self, value: bool) -> None:
        self._state.unref = not value

    # -- calls that wait

    recv = _core_sockets.recv
    recv_into = _core_sockets.recv_into
    send = _core_sockets.send
    sendall = _core_sockets.sendall

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> _Any:
        return _call_when_ready(
            self._state, _READ, flags, super().recvfrom, bufsize, flags | _DONTWAIT
        )

    def recvfrom_into(self, buffer: _Any, nbytes: int = 0, flags: int = 0) -> _Any:
        return _call_when_ready(
            self._state, _READ, flags, super().recvfrom_into, buffer, nbytes, flags | _DONTWAIT
        )

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> _Any:
        return _call_when_ready(
            self._state, _READ, flags, super().recvmsg, bufsize, ancbufsize, flags | _DONTWAIT
        )

    def recvmsg_into(self, buffers: _Any, ancbufsize: int = 0, flags: int = 0, /) -> _Any:
        return _call_when_ready(
            self._state, _READ, flags, super().recvmsg_into, buffers, ancbufsize, flags | _DONTWAIT
        )

    def sendto(self, *args: _Any) -> _Any:
        """Send ``sendto(data[, flags], address)``; returns how many bytes were sent."""
        flags = 0
        if len(args) == 2 or (len(args) == 3 and isinstance(args[1], int)):
            flags = args[1] if len(args) == 3 else 0
            args = (args[0], flags | _DONTWAIT, self._resolved(args[-1]))
        return _call_when_ready(self._state, _WRITE, flags, super().sendto, *args)

    def sendmsg(
        self, buffers: _Any, ancdata: _Any = (), flags: int = 0, address: _Any = None, /
    ) -> _Any:
        address = self._resolved(address)
        return _call_when_ready(
            self._state,
            _WRITE,
            flags,
            super().sendmsg,
            buffers,
            ancdata,
            flags | _DONTWAIT,
            address,
        )

    def sendfile(self, file: _Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file until its end or *count* bytes; returns how many bytes were sent.

        The system copies a regular file where it can; the timeout is for each part of it.
        """
        return super().sendfile(file, offset, count)

    def _sendfile_use_sendfile(self, file: _Any, offset: int = 0, count: int | None = None) -> int:
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            fd = file.fileno()
            size = _os.fstat(fd).st_size  # 0 ends it at once, as the standard library has it
        except (AttributeError, OSError, ValueError) as error:  # io.UnsupportedOperation is both
            raise _GiveupOnSendfile(error) from None
        if _native_sendfile is None:
            raise _GiveupOnSendfile("this system copies no files to sockets")
        end = size if count is None else offset + count
        at = offset
        try:
            with self._not_blocking():
                while at < end:
                    part = min(end - at, _SENDFILE_PART)
                    sent = _call_when_ready(
                        self._state, _WRITE, 0, _native_sendfile, self.fileno(), fd, at, part
                    )
                    if not sent:
                        break
                    at += sent
        finally:
            if at > offset and hasattr(file, "seek"):
                file.seek(at)
        return at - offset

    def _accept(self) -> tuple[int, _Any]:
        if not self._state.accepting:
            # Looking first is not enough: another process may take the connection.
            _os.set_blocking(self.fileno(), False)
            self._state.accepting = True
        return _call_when_ready(self._state, _READ, 0, super()._accept)  # type: ignore[misc, no-any-return]

    def accept(self) -> tuple[socket, _Any]:
        """Wait for a connection; returns its socket and the peer's address."""
        fd, address = self._accept()
        return socket(self.family, self.type, self.proto, fileno=fd), address

    def connect(self, address: _Any) -> None:
        """Connect to *address*, waiting by the timeout."""
        if self.gettimeout() == 0:
            return super().connect(self._resolved(address))
        error = self._connect_waiting(address)
        if error:
            raise OSError(error, _os.strerror(error))

    def connect_ex(self, address: _Any) -> int:
        """The same, returning the error number instead of raising, or 0."""
        if self.gettimeout() == 0:
            return super().connect_ex(self._resolved(address))
        try:
            return self._connect_waiting(address)
        except TimeoutError:
            return _errno.EAGAIN

    def _connect_waiting(self, address: _Any) -> int:
        address = self._resolved(address)
        with self._not_blocking():
            return self._connect(address)

    def _connect(self, address: _Any) -> int:
        timeout = self.gettimeout()
        deadline = None if timeout is None else _monotonic() + timeout
        while True:
            error = super().connect_ex(address)
            if error == _errno.EAGAIN and self.family == getattr(_stdlib, "AF_UNIX", None):
                self._await_unix_queue(deadline)
            elif error in _PENDING:
                self._state.connecting()
                _core_sockets.wait_until_writable(self._state)
                return self.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
            else:
                return 0 if error == _errno.EISCONN else error

    def _await_unix_queue(self, deadline: float | None) -> None:
        # The system tells nobody when a place becomes free.
        if deadline is not None and _monotonic() >= deadline:
            raise TimeoutError("timed out")
        _sleep(_RETRY_UNIX_CONNECT)

    def _resolved(self, address: _Any) -> _Any:
        """Look a host's name up here, lest the native call does, blocking the thread."""
        if self.family not in _INTERNET or not isinstance(address, tuple) or len(address) < 2:
            return address
        host = address[0]
        if not isinstance(host, str | bytes) or host in _NOT_NAMES or _is_address(host):
            return address
        found = getaddrinfo(host, None, self.family, self.type, self.proto)
        return (found[0][4][0], *address[1:])

    @property
    def _sock(self) -> socket:
        """The socket itself: gevent's wraps another, which libraries ask for."""
        return self

    # -- ends

    def _real_close(self, *args: _Any) -> None:
        self._state.closed()
        super()._real_close(*args)  # type: ignore[misc]

    def detach(self) -> int:
        """Close the socket object and return its descriptor, which stays open."""
        self._state.closed()
        return super().detach()

    def shutdown(self, how: int) -> None:
        """Shut one or both halves of the connection; who waits for them is told."""
        super().shutdown(how)


_INTERNET = frozenset({_stdlib.AF_INET, _stdlib.AF_INET6})
#: Hosts that the native calls know by themselves.
_NOT_NAMES = frozenset({"", b"", "<broadcast>", b"<broadcast>"})


def _rebound(function: _Any, namespace: dict[str, _Any]) -> _Any:
    """The same function, but the names it uses are those of *namespace*."""
    copy = _types.FunctionType(
        function.__code__,
        namespace,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__ = function.__doc__
    return copy


_native_socketpair = _stdlib.socketpair


def socketpair(family: int | None = None, type: int = _stdlib.SOCK_STREAM, proto: int = 0) -> _Any:
    """A pair of connected sockets, of the Unix family where there is one."""
    # After patching, the standard function makes sockets of this class itself.
    return tuple(
        end
        if isinstance(end, socket)
        else socket(end.family, end.type, end.proto, fileno=end.detach())
        for end in _native_socketpair(family, type, proto)
    )


# -- names


def getaddrinfo(
    host: _Any, port: _Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[_Any]:
    """:func:`socket.getaddrinfo`, by the hub's resolver."""
    return _get_hub().resolver.getaddrinfo(host, port, family, type, proto, flags)  # type: ignore[no-any-return]


getnameinfo.__module__ = __name__


@_builtin
def gethostbyname(hostname: _Any) -> str:
    """:func:`socket.gethostbyname`, by the hub's resolver."""
    return _get_hub().resolver.gethostbyname(hostname)  # type: ignore[no-any-return]


@_builtin
def gethostbyname_ex(hostname: _Any) -> tuple[str, list[str], list[str]]:
    """:func:`socket.gethostbyname_ex`, by the hub's resolver."""
    return _get_hub().resolver.gethostbyname_ex(hostname)  # type: ignore[no-any-return]


@_builtin
def gethostbyaddr(ip_address: _Any) -> tuple[str, list[str], list[str]]:
    """:func:`socket.gethostbyaddr`, by the hub's resolver."""
    return _get_hub().resolver.gethostbyaddr(ip_address)  # type: ignore[no-any-return]


# -- made of these


def _standing(name: str) -> _Any:
    """Calls what has this name when it is called: here, or in the standard module once patched.

    Programs put a class or a look-up of their own in the place of either.
    """
    namespace = globals()
    ours = namespace[name]

    def call(*args: _Any, **kwargs: _Any) -> _Any:
        standing = namespace[name]
        if standing is ours and name in _patched:
            standing = getattr(_stdlib, name)
        return standing(*args, **kwargs)

    return call


#: What stands in the standard module as well.
_patched: set[str] = set()


def _gevent_did_monkey_patch(module: _Any, items: _Any, warn: _Any) -> None:
    _patched.update(items)


_namespace = globals() | {n: _standing(n) for n in ("socket", "getaddrinfo", "gethostbyaddr")}


def create_connection(
    address: tuple[_Any, _Any],
    timeout: _Any = _stdlib._GLOBAL_DEFAULT_TIMEOUT,  # type: ignore[attr-defined]
    source_address: _Any = None,
    *,
    all_errors: bool = False,
) -> _Any:
    """:func:`socket.create_connection`; whoever is killed or times out in it leaves no socket."""
    host, port = address
    errors: list[OSError] = []
    for family, kind, proto, _, where in _namespace["getaddrinfo"](
        host, port, 0, _stdlib.SOCK_STREAM
    ):
        sock = None
        try:
            sock = _namespace["socket"](family, kind, proto)
            if timeout is not _stdlib._GLOBAL_DEFAULT_TIMEOUT:  # type: ignore[attr-defined]
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(where)
        except BaseException as exc:
            if sock is not None:
                sock.close()
            if not isinstance(exc, OSError):
                raise
            errors.append(exc)
        else:
            errors.clear()  # they hold this frame
            return sock
    if not errors:
        raise OSError("getaddrinfo returns an empty list")
    try:
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1]
    finally:
        errors.clear()


create_server = _rebound(_stdlib.create_server, _namespace)
fromfd = _rebound(_stdlib.fromfd, _namespace)
getfqdn = _rebound(_stdlib.getfqdn, _namespace)


# -- descriptors of others

#: Stands for a new TimeoutError each time: a kept instance would collect tracebacks.
_TIMED_OUT: _Any = TimeoutError


def _wait(fileno: int, event: int, timeout: float | None, timeout_exc: _Any) -> None:
    if not _wait_for(fileno, event, timeout):
        raise timeout_exc("timed out") if timeout_exc is _TIMED_OUT else timeout_exc


def wait(
    io: _Any,
    timeout: float | None = None,
    timeout_exc: _Any = None,
) -> None:
    """Wait until the watcher *io*, which must not be started, is ready.

    Raises *timeout_exc* after *timeout* seconds, ConcurrentObjectUseError if somebody uses *io*.
    """
    if io.callback is not None:
        raise _ConcurrentObjectUseError(f"another greenlet waits for {io!r}")
    with _Timeout(timeout, TimeoutError("timed out") if timeout_exc is None else timeout_exc):
        _get_hub().wait(io)


def wait_read(fileno: int, timeout: float | None = None, timeout_exc: _Any = _TIMED_OUT) -> None:
    """Wait until the descriptor can be read; raise *timeout_exc* after *timeout* seconds."""
    _wait(fileno, _READ, timeout, timeout_exc)


def wait_write(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: _Any = _TIMED_OUT,
    event: _Any = None,
) -> None:
    """Wait until the descriptor can be written; raise *timeout_exc* after *timeout* seconds."""
    _wait(fileno, _WRITE, timeout, timeout_exc)


def wait_readwrite(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: _Any = _TIMED_OUT,
    event: _Any = None,
) -> None:
    """Wait until the descriptor can be read or written, whichever comes first."""
    watcher = _get_hub().loop.io(fileno, _READ | _WRITE)
    with _Timeout(timeout, timeout_exc):
        try:
            _get_hub().wait(watcher)
        finally:
            watcher.close()


#: What :func:`cancel_wait` raises.
cancel_wait_ex = OSError(_errno.EBADF, "File descriptor was closed in another greenlet")


def cancel_wait(watcher: _Any, error: BaseException | type[BaseException] = cancel_wait_ex) -> None:
    """Raise *error* in the greenlet that is in :meth:`treadle.hub.Hub.wait` for *watcher*.

    For a descriptor's number: in the greenlets of this thread that wait for it, an OSError (EBADF).
    """
    if isinstance(watcher, int):
        _cancel_waits(watcher)
    else:
        _get_hub().cancel_wait(watcher, error)
