"""The end of a connection, by which no client loses what was sent to it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import AF_UNIX, IPPROTO_TCP, SHUT_RD, SHUT_WR
from typing import Any

from treadle._core.clock import seconds as monotonic
from treadle._core.thrown import thrown_in
from treadle.hub import sleep
from treadle.socket import socket  # its methods: those of a TLS socket would drop TLS

try:
    from fcntl import ioctl
    from socket import TCP_INFO
    from termios import TIOCOUTQ

    _KNOWS = True
except ImportError:  # Linux has them
    _KNOWS = False

__all__ = ["LOOK", "Patience", "end", "end_reading", "untaken"]

#: How long a client may be sending, or take nothing of what was sent while the server stops, in
#: seconds.
PATIENCE = 2.0
#: How many bytes to read from a connection that was ended.
_LINGER_SIZE = 16 << 20
#: How long to wait for a client to take what was sent if the server has no limit, in seconds.
_MOST = 60.0
#: The most that is received at once, in bytes.
_CHUNK = 65536
#: How often to look whether the client has got everything, in seconds.
LOOK = 0.05
#: The state of a TCP connection, Linux's number, in which the other end has not got everything that
#: came before the half-close, and has not ended either.
_FIN_WAIT1 = 4


def end(sock: Any, server: Any, expecting: bool = True) -> None:
    """Announce the end of *sock*, and wait until it can be closed.

    Closing a connection of which something is unread, or to which something comes later, resets
    it, and the client loses what it has not got. So what the client sends is read until it ends
    the connection too: for two seconds if *expecting* says that it may send something, and longer
    while it has not got everything; if *server* stops, as long as it takes something. Does nothing
    if the connection is broken.
    """
    _notify_close(sock)
    try:
        socket.shutdown(sock, SHUT_WR)
    except OSError:
        return
    began, size = monotonic(), 0
    patience, taking = PATIENCE if expecting else 0.0, Patience(partial(untaken, sock))
    while size < _LINGER_SIZE:
        missing = _is_missing_something(sock)
        if missing and server.stopping:
            if taking.is_over():
                return
            left = LOOK
        else:
            most = (server.limits.write_time or _MOST) if missing else patience
            left = began + most - monotonic()
            if left <= 0:
                return
        data = _receive(sock, min(left, LOOK) if missing else left)
        if data is None:
            continue
        size += len(data)
        if not data:
            # The client has ended, which tells mostly that it has got everything; or nothing can
            # be received, because this end has shut that down.
            if not missing or not _is_missing_something(sock):
                return
            sleep(LOOK)


def end_reading(sock: Any) -> None:
    """End the wait of the greenlet that reads from *sock*: nothing more is received.

    After that, what the client sends resets the connection. So a client that has not got everything
    (:func:`untaken`) should have time for that before.
    """
    with suppress(OSError):  # the connection may have just ended
        socket.shutdown(sock, SHUT_RD)


def _receive(sock: Any, seconds: float) -> bytes | None:
    """Return what was received, b"" if the connection has ended or broken, None after *seconds*."""
    began = monotonic()
    try:
        sock.settimeout(seconds)
        data: bytes = socket.recv(sock, _CHUNK)
        return data
    except OSError as exc:
        if thrown_in(exc, began, seconds):
            raise
        return None if isinstance(exc, TimeoutError) else b""


def untaken(sock: Any) -> int:
    """Return how many bytes the client has not got of what was sent; 0 if that is not known."""
    if not _KNOWS or sock.family == AF_UNIX:
        return 0
    try:
        (size,) = struct.unpack("i", ioctl(sock.fileno(), TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # the connection has ended
        return 0
    return int(size)


class Patience:
    """Says when to wait no longer for a client that is to take what was sent to it."""

    def __init__(self, untaken: Callable[[], int], times: float = 1) -> None:
        """*untaken* returns how many bytes the client has not got.

        The client may take nothing for *times* :data:`PATIENCE`, and any time for all of it.
        """
        self._untaken, self._times = untaken, times
        self._left, self._since = untaken(), monotonic()

    def is_over(self) -> bool:
        """Return whether the client has everything, or has taken nothing for too long."""
        left = self._untaken()
        if left != self._left:
            self._left, self._since = left, monotonic()
        return not left or monotonic() - self._since >= self._times * PATIENCE


def _notify_close(sock: Any) -> None:
    """Send TLS's close notification, if *sock* has TLS, without waiting for anything.

    Without it a response that only the end of the connection delimits would pass for one that was
    cut short (RFC 9112, 9.8).
    """
    unwrap = getattr(sock, "unwrap", None)
    if unwrap is not None:
        with suppress(OSError, ValueError):  # the client is gone, or TLS has ended already
            sock.settimeout(0)
            unwrap()


def _is_missing_something(sock: Any) -> bool:
    """Return whether the client may lose something; False if that is not known."""
    if not _KNOWS:
        return False
    try:
        state: bytes = sock.getsockopt(IPPROTO_TCP, TCP_INFO, 1)
    except OSError:  # a Unix socket, whose peer has everything
        return False
    return state[0] == _FIN_WAIT1
