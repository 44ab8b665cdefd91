"""WebSockets for applications of treadle's HTTP servers.

If the client asks for a WebSocket, the WSGI application finds a :class:`WebSocket` in
``environ["wsgi.websocket"]``. The first use of the WebSocket accepts it; an ordinary response
refuses it. The names are those of gevent-websocket. :func:`application` turns a function that
takes a WebSocket into a WSGI application::

    @treadle.websocket.application
    def echo(ws):
        for message in ws:
            ws.send(message)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any, overload

from treadle._core.clock import seconds as monotonic
from treadle._core.thrown import thrown_in
from treadle._core.turns import Turn
from treadle.exceptions import ConcurrentObjectUseError
from treadle.greenlet import Greenlet, spawn, spawn_later
from treadle.http.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameReader,
    ProtocolError,
    frame,
    is_close_code,
)
from treadle.http.websocket import VERSION, Deflate, accept_headers, is_handshake, listed
from treadle.hub import sleep

__all__ = ["WebSocket", "WebSocketError", "application"]

#: The most that is received at once, in bytes.
_CHUNK = 16384
#: A longer message is sent in fragments of this size, so that it does not hold up other greenlets;
#: in bytes, or in characters of text.
_FRAGMENT = 262144
#: Codes of a close (RFC 6455, 7.4.1).
_NORMAL, _GOING_AWAY, _NO_STATUS, _ABNORMAL, _INTERNAL_ERROR = 1000, 1001, 1005, 1006, 1011
#: How many steps to take before other greenlets have their turn.
_TURN = 64
#: How long to wait for the client's answer to a close, in seconds.
_CLOSE_TIME = 2.0


class WebSocketError(ConnectionError):
    """Raised if the WebSocket is closed; ``code`` and ``reason`` are those of the close."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class WebSocket:
    """A WebSocket connection: a text message is a str, a binary message is bytes.

    Any number of greenlets may :meth:`send`; only one at a time may :meth:`receive`. The WebSocket
    reads from the client only while a greenlet receives: only then does it answer pings and
    notice the client's close.
    """

    def __init__(self, handler: Any, environ: dict[str, Any]) -> None:
        """*handler* is what serves the request.

        It is a :class:`treadle.http.http1.Handler` or a :class:`treadle.http.stream.Stream`.
        """
        #: The WSGI environment of the request.
        self.environ = environ
        #: The accepted one of :attr:`subprotocols`, or None.
        self.subprotocol: str | None = None
        #: The code of the close, whichever end closed the WebSocket; None until it is closed.
        self.close_code: int | None = None
        #: The reason that the closing end gives for the close.
        self.close_reason: str = ""
        self._handler = handler
        self._limits = handler.limits
        self._socket: Any = None
        self._reader: FrameReader | None = None  # None until accepted
        self._deflate: Deflate | None = None
        self._sending = Turn()
        self._receiving = Turn()
        self._pinged = False
        self._close_sent = False
        self._taken = 0  # steps: frames may come faster than they are taken
        self._over = False  # no more messages are received
        self._leaving = False  # the server stops
        self._deadline = 0.0  # for the client's answer to a close
        self._ender: Greenlet[None] | None = None  # ends the receive() that a close() found

    @property
    def closed(self) -> bool:
        """Whether the WebSocket is closed, so that no more messages can be sent."""
        return self.close_code is not None

    @property
    def path(self) -> str:
        """The request's path."""
        return str(self.environ["PATH_INFO"])

    @property
    def origin(self) -> str | None:
        """The origin of the page that asks for the WebSocket, if a browser asks; else None.

        An application that depends on the origin must check it.
        """
        return self.environ.get("HTTP_ORIGIN")

    @property
    def version(self) -> str:
        """The version of the WebSocket protocol: "13", the only one there is."""
        return VERSION

    @property
    def protocol(self) -> str | None:
        """The client's Sec-WebSocket-Protocol header, or None; named as in gevent-websocket."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, the preferred one first."""
        return listed(self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))

    def accept(
        self, subprotocol: str | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Accept the WebSocket, with *headers* added to the response.

        Does nothing if the WebSocket is already accepted. Raises ValueError if the client does not
        offer *subprotocol*, and AssertionError if ``start_response`` was called.
        """
        if self._reader is not None:
            return
        if self._over:
            raise WebSocketError(_ABNORMAL, "the request is over")
        answer = accept_headers(self.environ)
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ValueError(f"the client does not offer the subprotocol {subprotocol!r}")
            answer.append(("Sec-WebSocket-Protocol", subprotocol))
        offers = self.environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", "")
        most = self._limits.message_size
        deflate = Deflate.agree(offers, most)
        if deflate is not None:
            answer.append(("Sec-WebSocket-Extensions", deflate.agreed))
        self._socket, rest = self._handler.switch_protocols([*answer, *headers])
        self.subprotocol = subprotocol
        self._deflate = deflate
        self._reader = FrameReader(most, deflate)
        self._reader.feed(rest)
        if self._leaving:
            self.leave()

    # -- receiving

    def receive(self) -> str | bytes | None:
        """Wait for a message and return it.

        Returns None if the WebSocket is closed or the client is gone; :attr:`close_code` says
        which. Raises :class:`~treadle.exceptions.ConcurrentObjectUseError` if another greenlet
        receives.
        """
        self.accept()
        # A signal handler may interrupt a call of its own greenlet.
        if self._receiving._is_owned() or not self._receiving.acquire(blocking=False):
            raise ConcurrentObjectUseError(f"another call receives from {self!r}")
        try:
            return self._next_message()
        finally:
            self._receiving.release()
            if self._ender is not None:
                self._ender.kill(block=False)

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.receive()) is not None:
            yield message

    def _next_message(self) -> str | bytes | None:
        reader = self._reader
        assert reader is not None
        while not self._over:
            self._taken += 1
            if self._taken % _TURN == 0:
                sleep(0)
            try:
                event = reader.read()
            except ProtocolError as exc:
                self._fail(exc.code, exc.reason)
                break
            if event is None:
                self._read_more(reader)
                continue
            kind, payload = event
            if kind == CLOSE:
                self._take_close(*payload)
            elif kind == PING:
                self._send_control(PONG, payload)
            elif kind == CONTINUATION:
                sleep(0)  # a message that inflates to much must not hold up others
            elif not self.closed:
                return payload  # type: ignore[return-value]
        return None

    def _take_close(self, code: int, reason: str) -> None:
        self._note(code, reason)
        self._over = True
        self._send_close(code, reason)  # the answer, unless this is the answer

    def _read_more(self, reader: FrameReader) -> None:
        began, patience = monotonic(), self._patience()
        if self.closed and began >= self._deadline:
            self._lose("the client does not answer")
            return
        try:
            self._socket.settimeout(patience)
            data = self._socket.recv(_CHUNK)
        except OSError as exc:
            if thrown_in(exc, began, patience):
                raise
            if isinstance(exc, TimeoutError):
                self._miss()
            else:
                self._lose(str(exc))
        else:
            self._pinged = False
            if data:
                reader.feed(data)
            else:
                self._lose("the client is gone")

    def _patience(self) -> float | None:
        if self.closed:
            return max(self._deadline - monotonic(), 0.001)
        return self._limits.ping_time  # type: ignore[no-any-return]

    def _miss(self) -> None:
        """Ping the client after a timeout, or give it up if it did not answer before."""
        if self.closed or self._pinged:
            self._lose("the client does not answer")
        else:
            self._pinged = True
            self._send_control(PING, b"")

    # -- sending

    def send(
        self, message: str | bytes | bytearray | memoryview, binary: bool | None = None
    ) -> None:
        """Send *message*, as text if it is a str and else as binary; *binary* overrides that.

        Blocks while the client does not read. Raises :class:`WebSocketError` if the WebSocket is
        closed.
        """
        if binary is None:
            binary = not isinstance(message, str)
        data: Any = message
        if isinstance(message, str):
            if binary or not message.isascii():
                data = message.encode()  # fails here, before a part of the message is sent
        else:
            data = bytes(message)
            if not binary:
                data.decode()  # fails here
        self.accept()
        self._send_frames(self._frames(BINARY if binary else TEXT, data))

    def _frames(self, kind: int, data: str | bytes) -> Iterator[bytes]:
        """Yield the frames of a message; a str is ASCII."""
        deflate, size = self._deflate, len(data)
        if deflate is not None and size < deflate.WORTH:
            deflate = None
        for at in range(0, size or 1, _FRAGMENT):
            last = at + _FRAGMENT >= size
            part = data if last and not at else data[at : at + _FRAGMENT]
            if deflate is not None:
                part = deflate.deflate(part.encode() if isinstance(part, str) else part, last)
            yield frame(CONTINUATION if at else kind, part, last, deflate is not None and not at)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping; the client's answer is not reported.

        Raises ValueError if *payload* is longer than 125 bytes, and :class:`WebSocketError` if the
        WebSocket is closed.
        """
        if len(payload) > 125:
            raise ValueError("a ping has 125 bytes at most")
        self.accept()
        self._send_frames((frame(PING, payload),))

    def close(self, code: int = 1000, reason: str | bytes = "") -> None:
        """Close the WebSocket; do nothing if it is already closed.

        *code* must be 1000 to 1003, 1007 to 1014 or 3000 to 4999, and *reason* at most 123 bytes;
        otherwise ValueError is raised.
        """
        text = reason.decode() if isinstance(reason, bytes) else reason
        if not is_close_code(code):
            raise ValueError(f"{code} cannot be sent as the code of a close")
        if len(text.encode()) > 123:
            raise ValueError("the reason of a close has 123 bytes at most")
        if self.closed:
            return
        self.accept()
        self._note(code, text)
        self._send_close(code, text)
        if self._receiving.locked():
            self._ender = spawn_later(_CLOSE_TIME, self._end_receiving)

    def _end_receiving(self) -> None:
        """End the wait of the greenlet that receives, which began before the close."""
        if not self._over:
            self._lose("the client does not answer")

    def _fail(self, code: int, reason: str) -> None:
        """Close the WebSocket because of what the client sent, and read nothing more."""
        self._over = True
        self._note(code, reason)
        self._send_close(code, reason)

    def _send_control(self, kind: int, payload: Any) -> None:
        """Send a ping or a pong; raise nothing if that fails: the WebSocket is closed."""
        with suppress(WebSocketError):
            self._send_frames((frame(kind, payload),))

    def _send_close(self, code: int, reason: str) -> None:
        """Send a close, unless one was sent; raise nothing if that fails."""
        payload = b"" if code == _NO_STATUS else code.to_bytes(2, "big") + reason.encode()
        with suppress(WebSocketError):
            self._send_frames((frame(CLOSE, payload),), closes=True)

    def _send_frames(self, frames: Iterable[bytes], closes: bool = False) -> None:
        """Send *frames* with no others in between; those of a close are sent only once."""
        turn = self._sending
        if turn._is_owned():  # in a signal handler
            raise ConcurrentObjectUseError(f"the interrupted call sends on {self!r}")
        with turn:
            if turn.was_left:  # by a fork: only the parent can go on with what its greenlet sends
                self._over = self._lost = True
                self._note(_ABNORMAL, "another process sends on the connection")
            if closes:
                if self._close_sent:
                    return
                self._close_sent = True
            for each in frames:
                self._transmit(each, closes)

    def _transmit(self, data: bytes, closes: bool) -> None:
        if self._lost or (self.closed and not closes):
            raise self._error()
        sock = self._socket
        began, limit = monotonic(), self._limits.write_time
        try:
            sock.settimeout(limit)
            sock.sendall(data)
        except BaseException as exc:
            if not isinstance(exc, OSError) or thrown_in(exc, began, limit):
                self._lose("a frame was cut short")
                raise
            self._lose(str(exc))
            raise self._error() from exc

    # -- the end

    _lost = False

    def _note(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self._deadline = monotonic() + _CLOSE_TIME

    def _lose(self, reason: str) -> None:
        """Note that the connection is lost: nothing can be sent or received any more."""
        self._over = self._lost = True
        self._note(_ABNORMAL, reason)
        with suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)  # wakes greenlets that wait for the socket

    def _error(self) -> WebSocketError:
        error = WebSocketError(self.close_code or _NO_STATUS, self.close_reason)
        self._handler.blame_client(error)
        return error

    def leave(self) -> None:
        """Close the WebSocket with 1001 because the server stops; do not wait for that."""
        self._leaving = True  # accept() may come later
        if self._reader is not None and not self.closed:
            spawn(self.close, _GOING_AWAY)

    def end(self, failed: bool = False) -> None:
        """Finish the WebSocket after the application has returned, or *failed*.

        If it is accepted and still open, it is closed with 1000, or with 1011 after a failure.
        Waits for the client's close for at most two seconds.
        """
        if self._reader is None:
            self._over = True
            self._note(_ABNORMAL, "the request is over")
            return
        self.close(_INTERNAL_ERROR if failed else _NORMAL)
        if self._receiving.acquire(timeout=_CLOSE_TIME):
            try:
                self._next_message()
            finally:
                self._receiving.release()  # who keeps the WebSocket learns that it is closed

    def __repr__(self) -> str:
        if self._reader is None:
            state = "not accepted"
        elif self.close_code is not None:
            state = f"closed {self.close_code}"
        else:
            state = "open"
        return f"<{type(self).__name__} {self.path} {state}>"


Handler = Callable[[WebSocket], object]
Application = Callable[[dict[str, Any], Any], list[bytes]]


@overload
def application(handler: Handler) -> Application: ...
@overload
def application(
    *, subprotocols: Collection[str] = (), origins: Collection[str] | None = None
) -> Callable[[Handler], Application]: ...
def application(
    handler: Handler | None = None,
    *,
    subprotocols: Collection[str] = (),
    origins: Collection[str] | None = None,
) -> Application | Callable[[Handler], Application]:
    """Make a WSGI application that calls *handler* with each WebSocket and then closes it.

    It accepts the first subprotocol that the client offers and *subprotocols* contains. *origins*
    are the sites whose pages may ask for a WebSocket ("https://example.org"); pages of others get
    403. If it is None, all may ask. A request for no WebSocket gets 426, and a malformed
    handshake 400.
    """
    if handler is None:
        return functools.partial(application, subprotocols=subprotocols, origins=origins)

    @functools.wraps(handler)
    def serve(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws: WebSocket | None = environ.get("wsgi.websocket")
        if ws is None:
            return _refuse(environ, start_response)
        if origins is not None and ws.origin is not None and ws.origin not in origins:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"this origin may not\n"]
        ws.accept(next((each for each in ws.subprotocols if each in subprotocols), None))
        handler(ws)
        return []

    return serve


def _refuse(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    headers = [("Content-Type", "text/plain")]
    asked = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
    if asked and environ.get("HTTP_SEC_WEBSOCKET_VERSION") == VERSION:
        start_response("400 Bad Request", headers)
        return [b"this is no handshake of a WebSocket\n"]
    headers += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)]
    start_response("426 Upgrade Required", headers)
    return [b"a WebSocket is served here\n"]


def of_request(handler: Any, environ: dict[str, Any]) -> WebSocket | None:
    """Return a :class:`WebSocket` for a request that is a handshake; None for another request."""
    return WebSocket(handler, environ) if is_handshake(environ) else None
