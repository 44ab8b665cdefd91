"""The standard library's ssl module, made cooperative.

Certificates, sessions and errors are the standard ones. :class:`SSLSocket` is the standard class on
top of :class:`treadle.socket.socket`: its calls wait as that socket's calls do.
"""

from __future__ import annotations

import ssl as _stdlib
import typing as _typing
from collections.abc import Callable as _Callable
from functools import cache as _cache
from types import ModuleType as _ModuleType
from types import new_class as _new_class
from typing import Any as _Any

from treadle import socket as _sockets
from treadle._core import tls as _core_tls
from treadle._core.rebound import rebound as _rebound

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.ssl import *  # noqa: F403

#: The names that treadle implements.
__implements__: list[str] = [
    "SSLContext",
    "SSLSocket",
    "_create_default_https_context",
    "_create_stdlib_context",
    "_create_unverified_context",
    "create_connection",
    "create_default_context",
    "get_server_certificate",
    "socket",
]
if hasattr(_stdlib, "wrap_socket"):  # until CPython 3.11
    __implements__.append("wrap_socket")
__extensions__: list[str] = []
#: The names that are the standard library's own.
__imports__: list[str] = [
    name for name in dir(_stdlib) if not name.startswith("__") and name not in __implements__
]

__all__ = [
    name
    for name in (*__implements__, *__imports__)
    if not name.startswith("_") and not isinstance(getattr(_stdlib, name), _ModuleType)
]

globals().update({name: getattr(_stdlib, name) for name in __imports__})


socket = _sockets.socket
create_connection: _Callable[..., _sockets.socket] = _sockets.create_connection


class SSLSocket(_stdlib.SSLSocket, _sockets.socket):  # type: ignore[misc]
    """:class:`ssl.SSLSocket`, whose calls switch to other greenlets while they wait.

    Any number of greenlets may read and write at the same time. When an exception (a kill, a
    timeout) interrupts a write within a TLS record, the next write first sends the rest of it.
    """

    _connection: _core_tls.TLSConnection | None = None
    _native_waits = False  # or OpenSSL's calls would wait

    @property
    def _sslobj(self) -> _Any:
        return self._connection

    @_sslobj.setter
    def _sslobj(self, native: _Any) -> None:
        if self._connection is not None:
            self._connection.release()
        self._connection = None if native is None else _core_tls.TLSConnection(self._state, native)

    def do_handshake(self, block: bool = False) -> None:
        """Perform the TLS handshake; with *block* true, wait even if the timeout is 0."""
        try:
            super().do_handshake(block)
        except Exception:
            raise
        except BaseException:
            # A kill in wrap_socket(). CPython before 3.13 leaves the socket open then, and no other
            # code has a reference to close it by.
            if self.do_handshake_on_connect:  # type: ignore[attr-defined]
                self.close()
            raise

    # The standard library's versions of these two check the kind of the socket four times.

    if not _typing.TYPE_CHECKING:  # they have the signatures of the standard class
        recv = _core_tls.recv
        sendall = _core_tls.sendall

    def _recv_plain(self, buflen: int, flags: int) -> bytes:
        return super().recv(buflen, flags)

    def _sendall_plain(self, data: _Any, flags: int) -> None:
        super().sendall(data, flags)


class SSLContext(_stdlib.SSLContext):
    """:class:`ssl.SSLContext`, whose :meth:`wrap_socket` returns sockets of this module."""

    sslsocket_class: type[_stdlib.SSLSocket] = SSLSocket


@_cache
def cooperative(cls: type[_stdlib.SSLSocket]) -> type[SSLSocket]:
    """Return *cls* if it is a cooperative class, else a cooperative subclass of it.

    For the standard SSLSocket that is :class:`SSLSocket`.
    """
    if issubclass(cls, SSLSocket):
        return cls
    if cls is _stdlib.SSLSocket:
        return SSLSocket
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return _new_class(cls.__name__, (cls, SSLSocket), exec_body=lambda body: body.update(names))


def _ours(name: str) -> _Any:
    """Return a copy of a standard function that uses this module's contexts and connections."""
    return _rebound(getattr(_stdlib, name), globals())


if not _typing.TYPE_CHECKING:  # they have the signatures of the standard functions
    create_default_context = _create_default_https_context = _ours("create_default_context")
    _create_unverified_context = _create_stdlib_context = _ours("_create_unverified_context")
    get_server_certificate = _ours("get_server_certificate")
    if "wrap_socket" in __implements__:
        wrap_socket = _ours("wrap_socket")
