"""The tunnel through an HTTP/2 stream over which a WebSocket is spoken (RFC 8441)."""

from __future__ import annotations

from errno import ECONNABORTED
from typing import Any

from treadle._core.clock import seconds as monotonic

__all__ = ["Tunnel"]

#: Give the client new credit once it has used so many bytes: less than a stream's first window.
_CREDIT = 16384


class Tunnel:
    """What the client sends on a stream, and what is sent to it, with the methods of a socket."""

    def __init__(self, stream: Any) -> None:
        """*stream* is a :class:`treadle.http.stream.Stream`."""
        self._stream = stream
        self._timeout: float | None = None

    def settimeout(self, seconds: float | None) -> None:
        """Set how long :meth:`recv` waits at most; None: without a limit."""
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        """Wait for data and return it, *size* bytes at most; b"" after the client has ended.

        Raises TimeoutError, or the OSError because of which nothing more can come.
        """
        stream = self._stream
        request = stream.request
        deadline = None if self._timeout is None else monotonic() + self._timeout
        while not request.body:
            if request.complete:
                return b""
            if stream.unread >= _CREDIT and stream.error is None:
                # Meanwhile data may come, and a greenlet that sends take the wake-up for it.
                stream.connection.give_credit(stream)
                continue
            stream.pause(None if deadline is None else max(deadline - monotonic(), 0.0))
        data: bytes = request.body.popleft()
        if len(data) > size:
            request.body.appendleft(data[size:])
        return data[:size]

    def sendall(self, data: bytes) -> None:
        """Send *data*, as the client gives credit; raise OSError if that is not possible."""
        self._stream.connection.send_data(self._stream, data, False)

    def shutdown(self, how: int) -> None:
        """End the stream in both directions, whatever *how* says."""
        stream = self._stream
        error = ConnectionAbortedError(ECONNABORTED, "the tunnel was ended")
        stream.connection.cancel(stream, error)
