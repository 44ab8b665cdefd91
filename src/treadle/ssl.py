"""The standard library's ssl module, cooperative.

Certificates, contexts, sessions and errors are the standard ones. :class:`SSLSocket` is the
standard one upon :class:`treadle.socket.socket`: its calls wait the way that socket's do.
"""

from __future__ import annotations

import ssl as _stdlib
from functools import cache as _cache
from types import ModuleType as _ModuleType
from types import new_class as _new_class
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from treadle import socket as _sockets
from treadle._core.tls import TLSConnection as _TLSConnection
from treadle.socket import _rebound

if _TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.ssl import *  # noqa: F403

#: What treadle does itself.
__implements__ = [
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
#: What is the standard library's own.
__imports__ = [
    name for name in dir(_stdlib) if not name.startswith("__") and name not in __implements__
]

__all__ = [
    name
    for name in (*__implements__, *__imports__)
    if not name.startswith("_") and not isinstance(getattr(_stdlib, name), _ModuleType)
]

globals().update({name: getattr(_stdlib, name) for name in __imports__})


socket = _sockets.socket
create_connection = _sockets.create_connection


class SSLSocket(_stdlib.SSLSocket, _sockets.socket):  # type: ignore[misc]
    """:class:`ssl.SSLSocket`, whose calls let other greenlets run while they wait.

    Any number of greenlets may read and write it. A write that is cut short by an exception (a
    kill, a timeout) has begun a record: the next write sends the rest of it first.
    """

    _connection: _TLSConnection | None = None
    _may_block = False  # OpenSSL reads and writes by itself

    @property
    def _sslobj(self) -> _Any:
        return self._connection

    @_sslobj.setter
    def _sslobj(self, native: _Any) -> None:
        if self._connection is not None:
            self._connection.release()
        self._connection = None if native is None else _TLSConnection(self._state, native)

    def do_handshake(self, block: bool = False) -> None:
        """Agree on keys and check certificates; *block*: wait even if the timeout is 0."""
        try:
            super().do_handshake(block)
        except Exception:
            raise
        except BaseException:
            # Killed within wrap_socket(), which CPython before 3.13 leaves open: no one else can
            # close it.
            if self.do_handshake_on_connect:  # type: ignore[attr-defined]
                self.close()
            raise

    # The next two cost most of what TLS adds to a message in Python; the standard ones ask four
    # times what kind of socket it is.

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Up to *buflen* bytes; empty at the end.

        An end without good-bye raises SSLEOFError if ``suppress_ragged_eofs`` is false.
        """
        if self._connection is None or flags:
            return super().recv(buflen, flags)
        try:
            return self._connection.read(buflen)  # type: ignore[no-any-return]
        except _stdlib.SSLEOFError:
            if self.suppress_ragged_eofs:  # type: ignore[attr-defined]
                return b""
            raise

    def sendall(self, data: _Any, flags: int = 0) -> None:
        """Send everything; no other greenlet's data comes in between."""
        if self._connection is None or flags:
            super().sendall(data, flags)
        else:
            self._connection.write_all(data)


class SSLContext(_stdlib.SSLContext):
    """:class:`ssl.SSLContext`, whose :meth:`wrap_socket` makes sockets of this module."""

    sslsocket_class = SSLSocket


@_cache
def cooperative(cls: type[_stdlib.SSLSocket]) -> type[SSLSocket]:
    """*cls* if it lets other greenlets run, or the like of it that does: a subclass of both."""
    if issubclass(cls, SSLSocket):
        return cls
    if cls is _stdlib.SSLSocket:
        return SSLSocket
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return _new_class(cls.__name__, (cls, SSLSocket), exec_body=lambda body: body.update(names))


def _ours(name: str) -> _Any:
    """A function of the standard module that uses this module's contexts and connections."""
    return _rebound(getattr(_stdlib, name), globals())


create_default_context = _create_default_https_context = _ours("create_default_context")
_create_unverified_context = _create_stdlib_context = _ours("_create_unverified_context")
get_server_certificate = _ours("get_server_certificate")
if "wrap_socket" in __implements__:
    wrap_socket = _ours("wrap_socket")
