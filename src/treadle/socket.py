"""The standard library's socket module, made cooperative.

:class:`socket` is a subclass of the standard class and changes only the calls that may block. It
keeps the timeout itself. The operating system's socket is non-blocking, as libraries in C that work
on its descriptor expect. When the descriptor is given away, to a child process for example, and the
timeout is None, it blocks again, as it would in the standard library.
"""

from __future__ import annotations

import errno as _errno
import os as _os
import socket as _stdlib
import struct as _struct
import sys as _sys
import typing as _typing
from array import array as _array
from collections.abc import Callable as _Callable
from operator import index as _index
from typing import Any as _Any

# Imported now, for DNS lookups while the interpreter ends: nothing can be imported then.
import treadle.resolver.thread as _default_resolver  # noqa: F401
from treadle._core import sockets as _core_sockets
from treadle._core.builtins import builtin as _builtin
from treadle._core.builtins import getnameinfo as getnameinfo
from treadle._core.clock import seconds as _monotonic
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.rebound import rebound as _rebound
from treadle._core.sockets import SocketState as _SocketState
from treadle._core.sockets import call_at_once as _call_at_once
from treadle._core.sockets import call_when_ready as _call_when_ready
from treadle._core.sockets import hand_over as _hand_over
from treadle._core.sockets import send_file as _send_file
from treadle._core.thrown import thrown_in as _thrown_in
from treadle.exceptions import ConcurrentObjectUseError as _ConcurrentObjectUseError
from treadle.hub import get_hub as _get_hub
from treadle.hub import sleep as _sleep
from treadle.os import native_sendfile as _native_sendfile
from treadle.resolver import is_address as _is_address
from treadle.resolver import is_special as _is_special
from treadle.timeout import Timeout as _Timeout

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.socket import *  # noqa: F403

_READ, _WRITE = 1, 2

#: The names that treadle implements.
__implements__: list[str] = [
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
#: The names that treadle adds.
__extensions__: list[str] = ["cancel_wait", "wait", "wait_read", "wait_readwrite", "wait_write"]
#: The names that are the standard library's own.
__imports__: list[str] = [
    name for name in dir(_stdlib) if not name.startswith("__") and name not in __implements__
]

globals().update({name: getattr(_stdlib, name) for name in __imports__})
__all__ = [*getattr(_stdlib, "__all__", []), *__extensions__]

_native = _stdlib.socket
#: Whether setblocking() is to block; before CPython 3.12, it takes only integers.
_truth: _Callable[[_Any], _Any] = _index if _sys.version_info < (3, 12) else bool
#: The type of a socket as an int, which costs less than the standard library's property.
_type_of: _Any = _stdlib.SocketType.type.__get__
_DONTWAIT: int = _core_sockets.DONTWAIT
_GiveupOnSendfile = _stdlib._GiveupOnSendfile  # type: ignore[attr-defined]
#: How many bytes one sendfile() call may copy: the call blocks the thread while it copies.
_SENDFILE_PART = 1 << 20
_PENDING = frozenset({_errno.EINPROGRESS, _errno.EALREADY, _errno.EWOULDBLOCK, _errno.EINTR})
#: Seconds between two attempts to connect to a Unix server whose queue is full.
_RETRY_UNIX_CONNECT = 0.002


class socket(_native):
    """:class:`socket.socket`, whose calls switch to other greenlets while they wait."""

    __slots__ = ("_state",)

    #: Whether the native object, too, has no timeout when it is made while there is no default.
    _native_waits = True

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._begin(family, type, proto, fileno, fresh=fileno is None)

    def _begin(
        self, family: int, type: int, proto: int, fileno: int | None, *, fresh: bool
    ) -> None:
        """Initialise the socket; nobody else uses one that is *fresh*."""
        super().__init__(family, type, proto, fileno)
        timeout = super().gettimeout()  # the default timeout, or 0 with SOCK_NONBLOCK
        # A short read means that nothing is left to read on TCP only: a read from a Unix stream
        # also stops at descriptors that come with the data.
        splits = self.type == _stdlib.SOCK_STREAM
        self._state = _SocketState(
            self.fileno(),
            stream=splits and self.family in _INTERNET,
            splits=splits,
            timeout=timeout,
            fresh=fresh,
        )
        if timeout is not None or not self._native_waits:
            super().settimeout(0)  # the native calls do not wait for the timeout then
            self._state.keep_blocking()
        if not fresh:
            for option in _LIMITS:
                self._take_limit(option)

    # -- timeouts

    if not _typing.TYPE_CHECKING:  # it has the signature of the standard class
        settimeout = _core_sockets.settimeout

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds, or None."""
        seconds: float | None = self._state.get_timeout()
        return seconds

    def setblocking(self, flag: bool) -> None:
        """Call ``settimeout(None)`` if *flag* is true, else ``settimeout(0)``."""
        self.settimeout(None if _truth(flag) else 0)

    def getblocking(self) -> bool:
        """Return whether the timeout is not 0."""
        return self._state.get_timeout() != 0

    @property
    def timeout(self) -> float | None:
        """The timeout in seconds, or None."""
        return self.gettimeout()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called; files that use the socket may keep it open."""
        return self._closed  # type: ignore[attr-defined, no-any-return]

    @property
    def ref(self) -> bool:
        """Whether a greenlet that waits for the socket keeps the loop running.

        True unless set; a change applies to later waits.
        """
        return not self._state.unref

    @ref.setter
    def ref(self, value: bool) -> None:
        self._state.unref = not value

    def setsockopt(self, level: int, optname: int, *value: _Any) -> None:
        """Set an option of the socket.

        SO_RCVTIMEO and SO_SNDTIMEO are obeyed where there is no timeout: a call raises
        BlockingIOError after that time, as in the standard library.
        """
        super().setsockopt(level, optname, *value)
        if level == _stdlib.SOL_SOCKET and optname in _LIMITS:
            self._take_limit(optname)

    def _take_limit(self, optname: int) -> None:
        try:
            value = self.getsockopt(_stdlib.SOL_SOCKET, optname, _TIMEVAL.size)
            seconds, microseconds = _TIMEVAL.unpack(value)
        except (OSError, _struct.error):
            return  # a kind of socket without it
        self._state.set_limit(_LIMITS[optname], seconds + microseconds / 1e6)

    # -- calls that wait

    if not _typing.TYPE_CHECKING:  # they have the signatures of the standard class
        recv = _core_sockets.recv
        recv_into = _core_sockets.recv_into
        send = _core_sockets.send
        sendall = _core_sockets.sendall

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> _Any:
        if self._state.repeats(flags):
            buffer = bytearray(bufsize)
            size, address = self.recvfrom_into(buffer, 0, flags)
            return bytes(memoryview(buffer)[:size]), address
        received = _call_when_ready(
            self._state, _READ, flags, super().recvfrom, bufsize, _index(flags) | _DONTWAIT
        )
        return (self.recv(bufsize, flags), None) if received is None else received

    def recvfrom_into(self, buffer: _Any, nbytes: int = 0, flags: int = 0) -> _Any:
        received = _call_when_ready(
            self._state,
            _READ,
            flags,
            super().recvfrom_into,
            memoryview(buffer),
            nbytes,
            _index(flags) | _DONTWAIT,
        )
        if received is None:
            return self.recv_into(buffer, nbytes, flags), None
        if self._state.repeats(flags):
            size, address = received
            return _core_sockets.receive_rest(self._state, buffer, size, nbytes, flags), address
        return received

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> _Any:
        if self._state.repeats(flags):
            buffer = bytearray(bufsize)
            size, *others = self.recvmsg_into([buffer], ancbufsize, flags)
            return bytes(memoryview(buffer)[:size]), *others
        received = _call_when_ready(
            self._state,
            _READ,
            flags,
            super().recvmsg,
            bufsize,
            ancbufsize,
            _index(flags) | _DONTWAIT,
        )
        return (self.recv(bufsize, flags), [], 0, None) if received is None else received

    def recvmsg_into(self, buffers: _Any, ancbufsize: int = 0, flags: int = 0, /) -> _Any:
        buffers = [*buffers]
        received = self._receive_part(super().recvmsg_into, buffers, ancbufsize, flags)
        if not self._state.repeats(flags):
            return received
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        size, ancdata, msg_flags, address = received
        done = size
        try:
            # Like the system's call, do not go on beyond descriptors that come with the data.
            while size and not ancdata and not msg_flags & _stdlib.MSG_CTRUNC:
                rest = _after(views, done)
                if not rest:
                    break
                size, ancdata, msg_flags, _ = self._receive_part(
                    self._or_fail_later(super().recvmsg_into), rest, ancbufsize, flags
                )
                done += size
        except BaseException:
            self._state.put_back(b"".join(views)[:done])
            raise
        return done, ancdata, msg_flags, address

    def _receive_part(self, method: _Any, buffers: list[_Any], ancbufsize: int, flags: int) -> _Any:
        received = _call_when_ready(
            self._state, _READ, flags, method, buffers, ancbufsize, _index(flags) | _DONTWAIT
        )
        if received is None:
            views = _after([memoryview(each).cast("B") for each in buffers], 0)
            return self.recv_into(views[0], 0, flags) if views else 0, [], 0, None
        return received

    def _or_fail_later(self, method: _Callable[..., _Any]) -> _Callable[..., _Any]:
        """Return *method*, whose error is that of the next call: this one returns what it has."""

        def call(*args: _Any) -> _Any:
            try:
                return method(*args)
            except BlockingIOError:
                raise
            except OSError as exc:
                self._state.fail_next(exc.errno or _errno.EIO)
                return 0, [], 0, None

        return call

    def sendto(self, *args: _Any) -> _Any:
        """Send data to an address and return how many bytes were sent.

        Called as ``sendto(data, address)`` or ``sendto(data, flags, address)``.
        """
        flags = 0
        if len(args) == 2 or (len(args) == 3 and isinstance(args[1], int)):
            flags = args[1] if len(args) == 3 else 0
            args = (args[0], _index(flags) | _DONTWAIT, self._resolved(args[-1]))
        return _call_when_ready(self._state, _WRITE, flags, super().sendto, *args)

    def sendmsg(
        self, buffers: _Any, ancdata: _Any = (), flags: int = 0, address: _Any = None, /
    ) -> _Any:
        address = self._resolved(address)
        ancdata = [*ancdata]
        _hand_over_all(ancdata)
        return _call_when_ready(
            self._state,
            _WRITE,
            flags,
            super().sendmsg,
            buffers,
            ancdata,
            _index(flags) | _DONTWAIT,
            address,
        )

    def sendfile(self, file: _Any, offset: int = 0, count: int | None = None) -> int:
        """Send *count* bytes of a file, or all up to its end; return how many were sent.

        Uses the system's sendfile() for a regular file where there is one. The timeout applies to
        each part that is sent, not to the whole file.
        """
        return super().sendfile(file, offset, count)

    def _sendfile_use_sendfile(self, file: _Any, offset: int = 0, count: int | None = None) -> int:
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            fd = file.fileno()
            # Without *count*, a size of 0 sends nothing, as in the standard library.
            size = _os.fstat(fd).st_size
        except (AttributeError, OSError, ValueError) as error:  # io.UnsupportedOperation is both
            raise _GiveupOnSendfile(error) from None
        if _native_sendfile is None:
            raise _GiveupOnSendfile("this system copies no files to sockets")
        if not size and count is None:
            return 0
        at = offset = _index(offset)
        end = size if count is None else offset + _index(count)

        def first(*args: _Any) -> int:
            try:
                return _native_sendfile(*args)  # type: ignore[no-any-return]
            except BlockingIOError:
                raise
            except OSError as error:
                raise _GiveupOnSendfile(error) from None

        try:
            while at < end or at == offset:  # the system knows whether it is too large
                native = first if at == offset else _native_sendfile
                part = max(1, min(end - at, _SENDFILE_PART))
                sent = _send_file(self._state, native, fd, at, part)
                if not sent:
                    break
                at += sent
        finally:
            if at > offset and hasattr(file, "seek"):
                file.seek(at)
        return at - offset

    def _accept(self) -> tuple[int, _Any]:
        if _type_of(self) == _stdlib.SOCK_DGRAM:  # the system refuses it, and reports nothing
            return super()._accept()  # type: ignore[misc, no-any-return]
        return self._when_ready(_READ, super()._accept)  # type: ignore[misc, no-any-return]

    def _when_ready(self, event: int, method: _Callable[..., _Any], *args: _Any) -> _Any:
        """Call *method*, which knows no MSG_DONTWAIT, when the socket is ready; return its result.

        Polling first is not enough: another process may accept the connection before this one does,
        and the call would block if the socket was handed over.
        """
        return _call_when_ready(self._state, event, 0, _call_at_once, self._state, method, *args)

    def accept(self) -> tuple[socket, _Any]:
        """Wait for a connection; return its socket and the peer's address."""
        fd, address = self._accept()
        accepted = _fresh(self.family, self.type, self.proto, fd)
        accepted._state.take_limits(self._state)
        return accepted, address

    def connect(self, address: _Any) -> None:
        """Connect to *address*; raise TimeoutError when the timeout expires."""
        if self.gettimeout() == 0 or self._state.never_waits:
            _call_when_ready(self._state, _WRITE, 0, super().connect, self._resolved(address))
            return
        error = self._connect_waiting(address)
        if error is None:
            raise TimeoutError("timed out")
        if error:
            raise OSError(error, _os.strerror(error))

    def connect_ex(self, address: _Any) -> int:
        """Connect to *address*; return 0, or the error number where :meth:`connect` would raise.

        The number is EAGAIN when the timeout expires. Errors of the DNS lookup are raised.
        """
        if self.gettimeout() == 0 or self._state.never_waits:
            return _call_when_ready(  # type: ignore[no-any-return]
                self._state, _WRITE, 0, super().connect_ex, self._resolved(address)
            )
        error = self._connect_waiting(address)
        return _errno.EAGAIN if error is None else error

    def _connect_waiting(self, address: _Any) -> int | None:
        """Connect; return 0, the number of an error, or None when the timeout has expired."""
        address = self._resolved(address)
        timeout = self.gettimeout()
        limit = self._state.get_write_limit() if timeout is None else timeout
        deadline = None if limit is None else _monotonic() + limit
        while True:
            error = _call_at_once(self._state, super().connect_ex, address)
            if error == _errno.EAGAIN and self.family == getattr(_stdlib, "AF_UNIX", None):
                # The system does not report when the server's queue has room: try again later.
                if deadline is not None and _monotonic() >= deadline:
                    return None if timeout is not None else error
                _sleep(_RETRY_UNIX_CONNECT)
            elif error in _PENDING:
                self._state.connecting()
                if not _core_sockets.wait_until_writable(self._state):
                    return None if timeout is not None else _errno.EINPROGRESS
                return self.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
            else:
                return 0 if error == _errno.EISCONN else error

    def _resolved(self, address: _Any) -> _Any:
        """Return *address* with its host resolved.

        The native call would do the DNS lookup itself and block the thread.
        """
        if self.family not in _INTERNET or not isinstance(address, tuple) or len(address) < 2:
            return address
        host = address[0]
        if not isinstance(host, str | bytes) or _is_special(host) or _is_address(host):
            return address
        found = getaddrinfo(host, None, self.family, self.type, self.proto)
        return (found[0][4][0], *address[1:])

    @property
    def _sock(self) -> socket:
        """The socket itself. gevent's socket wraps another one; libraries use this name for it."""
        return self

    # -- closing

    __del__: _typing.ClassVar[_typing.Callable[..., None]] = _core_sockets.finalize

    def _real_close(self, *args: _Any) -> None:
        self._state.closed()
        super()._real_close(*args)  # type: ignore[misc]

    def detach(self) -> int:
        """Close the socket object and return its file descriptor, which stays open."""
        self._state.closed()
        fd = super().detach()
        _hand_over(fd, let_go=True)
        return fd

    def set_inheritable(self, inheritable: bool) -> None:
        """Choose whether children inherit the descriptor.

        If so, it is handed over to them: without a timeout they find it blocking.
        """
        super().set_inheritable(inheritable)
        if inheritable:
            self._state.hand_over()

    def shutdown(self, how: int) -> None:
        """Shut down one or both halves of the connection; greenlets that wait for them wake."""
        super().shutdown(how)


#: The options that limit how long calls without a timeout wait -> for what.
_LIMITS = {
    getattr(_stdlib, name): event
    for name, event in (("SO_RCVTIMEO", _READ), ("SO_SNDTIMEO", _WRITE))
    if hasattr(_stdlib, name) and _os.name == "posix"
}
#: Their value.
_TIMEVAL = _struct.Struct("@ll")
_INTERNET = frozenset({_stdlib.AF_INET, _stdlib.AF_INET6})


def _after(views: list[memoryview], done: int) -> list[memoryview]:
    """Return the room in *views* after the first *done* bytes."""
    rest = []
    for view in views:
        if done < view.nbytes:
            rest.append(view[done:])
        done = max(done - view.nbytes, 0)
    return rest


#: The level and type of a message that contains file descriptors; None where there are none.
_DESCRIPTORS = (_stdlib.SOL_SOCKET, getattr(_stdlib, "SCM_RIGHTS", None))


def _hand_over_all(ancdata: list[_Any]) -> None:
    """Hand over the descriptors that a message contains."""
    for item in ancdata:
        if isinstance(item, tuple) and item[:2] == _DESCRIPTORS:
            numbers = memoryview(item[2]).tobytes()
            for fd in _array("i", numbers[: len(numbers) & -_array("i").itemsize]):
                _hand_over(fd)


def _fresh(family: int, type: int, proto: int, fileno: int) -> socket:
    """Return a socket over a descriptor that nobody else uses."""
    made = socket.__new__(socket)
    made._begin(family, type, proto, fileno, fresh=True)
    return made


# After monkey patching, the standard function would make sockets of this class itself.
_native_socketpair = _rebound(_stdlib.socketpair, {**vars(_stdlib), "socket": _native})


def socketpair(family: int | None = None, type: int = _stdlib.SOCK_STREAM, proto: int = 0) -> _Any:
    """Return a pair of connected sockets, by default of the Unix family where there is one."""
    return tuple(
        _fresh(end.family, end.type, end.proto, end.detach())
        for end in _native_socketpair(family, type, proto)
    )


# -- names


def getaddrinfo(
    host: _Any, port: _Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[_Any]:
    """:func:`socket.getaddrinfo`, answered by the hub's resolver."""
    return _get_hub().resolver.getaddrinfo(host, port, family, type, proto, flags)  # type: ignore[no-any-return]


getnameinfo.__module__ = __name__


@_builtin
def gethostbyname(hostname: _Any) -> str:
    """:func:`socket.gethostbyname`, answered by the hub's resolver."""
    return _get_hub().resolver.gethostbyname(hostname)  # type: ignore[no-any-return]


@_builtin
def gethostbyname_ex(hostname: _Any) -> tuple[str, list[str], list[str]]:
    """:func:`socket.gethostbyname_ex`, answered by the hub's resolver."""
    return _get_hub().resolver.gethostbyname_ex(hostname)  # type: ignore[no-any-return]


@_builtin
def gethostbyaddr(ip_address: _Any) -> tuple[str, list[str], list[str]]:
    """:func:`socket.gethostbyaddr`, answered by the hub's resolver."""
    return _get_hub().resolver.gethostbyaddr(ip_address)  # type: ignore[no-any-return]


# -- functions that use the above


def _standing(name: str) -> _Any:
    """Return a function that finds *name* when it is called, and calls that.

    It looks in this module, and, once the name is patched, in the standard module: programs
    replace the class or a lookup function in either.
    """
    namespace = globals()
    ours = namespace[name]

    def call(*args: _Any, **kwargs: _Any) -> _Any:
        standing = namespace[name]
        if standing is ours and name in _patched:
            standing = getattr(_stdlib, name)
        return standing(*args, **kwargs)

    return call


#: The names that are patched into the standard module.
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
) -> socket:
    """:func:`socket.create_connection`, which also closes its socket on a kill or a Timeout."""
    host, port = address
    default = timeout is _stdlib._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
    limit = _stdlib.getdefaulttimeout() if default else timeout
    errors: list[OSError] = []
    for family, kind, proto, _, where in _namespace["getaddrinfo"](
        host, port, 0, _stdlib.SOCK_STREAM
    ):
        sock: _Any = None
        began = _monotonic()
        try:
            sock = _namespace["socket"](family, kind, proto)
            if not default:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(where)
        except BaseException as exc:
            if sock is not None:
                sock.close()
            if not isinstance(exc, OSError):
                raise
            if isinstance(sock, _native) and _thrown_in(exc, began, limit):
                raise
            errors.append(exc)
        else:
            errors.clear()  # their tracebacks refer to this frame
            return sock  # type: ignore[no-any-return]
    if not errors:
        raise OSError("getaddrinfo returns an empty list")
    try:
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1]
    finally:
        errors.clear()


def fromfd(fd: _Any, family: int, type: int, proto: int = 0) -> socket:
    """:func:`socket.fromfd`; a blocking descriptor stays so for who else uses it."""
    copy = _stdlib.dup(fd)
    if _os.get_blocking(copy):
        _hand_over(copy)
    return _namespace["socket"](family, type, proto, copy)  # type: ignore[no-any-return]


if not _typing.TYPE_CHECKING:  # they have the signatures of the standard functions
    create_server = _rebound(_stdlib.create_server, _namespace)
    getfqdn = _rebound(_stdlib.getfqdn, _namespace)


# -- file descriptors that are not this module's sockets

#: Stands for a new TimeoutError each time: a shared instance would collect tracebacks.
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

    Raises *timeout_exc* (default: TimeoutError) after *timeout* seconds, and
    ConcurrentObjectUseError if another greenlet waits for *io*.
    """
    if io.callback is not None:
        raise _ConcurrentObjectUseError(f"another greenlet waits for {io!r}")
    with _Timeout(timeout, TimeoutError("timed out") if timeout_exc is None else timeout_exc):
        _get_hub().wait(io)


def wait_read(fileno: int, timeout: float | None = None, timeout_exc: _Any = _TIMED_OUT) -> None:
    """Wait until a file descriptor is readable; raise *timeout_exc* after *timeout* seconds."""
    _wait(fileno, _READ, timeout, timeout_exc)


def wait_write(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: _Any = _TIMED_OUT,
    event: _Any = None,
) -> None:
    """Wait until a file descriptor is writable; raise *timeout_exc* after *timeout* seconds.

    *event* is accepted for gevent's sake.
    """
    _wait(fileno, _WRITE, timeout, timeout_exc)


def wait_readwrite(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: _Any = _TIMED_OUT,
    event: _Any = None,
) -> None:
    """Wait until a file descriptor is readable or writable.

    Raises *timeout_exc* after *timeout* seconds. *event* is accepted for gevent's sake.
    """
    watcher = _get_hub().loop.io(fileno, _READ | _WRITE)
    with _Timeout(timeout, timeout_exc):
        try:
            _get_hub().wait(watcher)
        finally:
            watcher.close()


#: The default error of :func:`cancel_wait`.
cancel_wait_ex: OSError = OSError(_errno.EBADF, "File descriptor was closed in another greenlet")


def cancel_wait(watcher: _Any, error: BaseException | type[BaseException] = cancel_wait_ex) -> None:
    """Raise *error* in the greenlet that waits for *watcher* in :meth:`treadle.hub.Hub.wait`.

    If *watcher* is the number of a file descriptor, raise OSError (EBADF) in the greenlets of this
    thread that wait for it.
    """
    if isinstance(watcher, int):
        _cancel_waits(watcher)
    else:
        _get_hub().cancel_wait(watcher, error)
