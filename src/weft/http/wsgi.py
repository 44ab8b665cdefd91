"""WSGI (PEP 3333) over one HTTP/1.1 connection.

The methods without an underscore have the names, and are called at the points, of
gevent.pywsgi's handler, whose subclasses override them.
"""

from __future__ import annotations

import os
import stat
import sys
import traceback
from contextlib import suppress
from socket import SHUT_WR
from time import monotonic
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes

from greenlet import getcurrent

from weft.http.body import Input
from weft.http.h1 import BadRequest, Request, RequestReader
from weft.http.response import Framing, HeaderLines, check_status, date, frame, header_lines

__all__ = ["SILENCE", "FileWrapper", "Handler"]

#: Received at once, in bytes: of heads, which mostly are short, and of bodies.
_HEAD, _BODY = 16384, 65536
#: Sent at once, so that the time to write is not that of a whole film.
_PIECE = 262144
#: Answers up to this are sent together with their head.
_TOGETHER = 65536
#: What is read of a body that the application did not want, to keep the connection.
_WORTH_DRAINING = 262144
#: How long, in seconds, and how much a connection is read on after an answer that ends it, so
#: that the client sees the answer and not a reset.
_LINGER_TIME, _LINGER_SIZE = 2.0, 16 << 20

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class _Silence:
    """A log that keeps nothing."""

    def write(self, text: str) -> None:
        """Forget *text*."""

    def writelines(self, lines: list[str]) -> None:
        """Forget them."""

    def flush(self) -> None:
        """There is nothing to flush."""


SILENCE = _Silence()


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over *filelike*; a file is sent by the system itself."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data

    def regular_file(self) -> tuple[int, int] | None:
        """Where it stands in the file and how much follows; None if it is no regular file."""
        try:
            status = os.fstat(self.filelike.fileno())
            at = self.filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None
        return (at, max(status.st_size - at, 0)) if stat.S_ISREG(status.st_mode) else None


class Handler:
    """Serves the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"

    def __init__(self, sock: Any, address: Any, server: Any, rfile: Any = None) -> None:
        """*server* has ``application``, ``limits``, ``get_environ()``, ``log`` and ``error_log``.

        *rfile* is gevent's and not needed.
        """
        self.socket = sock
        self.client_address = address
        self.server = server
        self.application: Any = None
        self.reader = RequestReader(server.limits)
        self.limits = server.limits
        #: Whether it waits for a request; it may be closed then.
        self.idle = True
        self.close_connection = False
        self._timeout: float | None = -1.0
        self._base_environ: dict[str, Any] | None = None
        self.request = Request()
        self._begin()

    def _begin(self) -> None:
        """Forget the response before."""
        self.environ: dict[str, Any] = {}
        self.status: str | None = None
        self.code = 0
        self.response_headers: list[tuple[str, str]] | None = None
        self.headers_sent = False
        self.response_length = 0
        self.result: Any = None
        self.wsgi_input: Input | None = None
        self._lines: HeaderLines | None = None
        self._framing = Framing.NONE
        self._left = 0  # of a body whose length was told
        self._continued = False
        self._client_error: BaseException | None = None
        self.time_start = self.time_finish = 0.0

    # -- the connection

    def handle(self) -> None:
        """Serve until the client or a response ends the connection, then close it."""
        try:
            while not self.close_connection and self.handle_one_request():
                pass
        except (OSError, BadRequest) as exc:
            if exc is not self._client_error:
                raise
        finally:
            self._end()

    def handle_one_request(self) -> bool:
        """Wait for a request and answer it; False if there is none any more."""
        request = self._next_request()
        if request is None:
            return False
        self._begin()
        self.request = request
        self.time_start = monotonic()
        if request.upgrade and not self._may_upgrade(request):
            self.reader.resume()
        if self.reader.error is not None and not request.complete:
            self._refuse(self.reader.error)
            return False
        if not request.keep_alive:
            self.close_connection = True
        self.application = self.server.application
        self.environ = self.get_environ()
        current: Any = getcurrent()
        current.gr_context = self.server.context.copy()
        self.handle_one_response()
        if not self.close_connection:
            self._skip_body(request)
        return True

    def _may_upgrade(self, request: Request) -> bool:
        """Whether the application may take the connection over; otherwise HTTP/1.1 goes on."""
        return request.upgrade == "websocket" and not request.chunked and not request.length

    def _next_request(self) -> Request | None:
        reader = self.reader
        if reader.rest is not None:
            reader.resume()  # nobody changed the protocol
        if not reader.ready:
            if reader.error is None:
                try:
                    self._receive_head()
                except OSError as exc:
                    self._client_error = exc
                    if not (isinstance(exc, TimeoutError) and reader.in_head):
                        return None
                    reader.error = BadRequest("408 Request Timeout", "the head took too long")
            if not reader.ready:
                if reader.error is not None:
                    self._refuse(reader.error)
                return None
        return reader.ready.popleft()

    def _receive_head(self) -> None:
        reader, receive = self.reader, self.socket.recv
        deadline = None
        self._wait(self.limits.idle_time)
        self.idle = True
        try:
            while not reader.ready and reader.error is None:
                data = receive(_HEAD)
                self.idle = False
                if not data:
                    return
                reader.feed(data)
                if reader.in_head and self.limits.header_time is not None:
                    if deadline is None:
                        deadline = monotonic() + self.limits.header_time
                    self._wait(max(deadline - monotonic(), 0.001))
        finally:
            self.idle = False

    def _receive_body(self, request: Request) -> None:
        """Wait for more of the body of *request*; what :class:`Input` does."""
        reader = self.reader
        if self._client_error is not None:
            raise self._client_error
        try:
            if request.expects_continue and not self._continued and not request.body_size:
                self._continued = True
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._body_time is not None and self._body_time <= 0:
                raise TimeoutError("the body took too long")
            self._wait(self._body_time)
            before = monotonic()
            data = self.socket.recv(_BODY)
            if self._body_time is not None:
                self._body_time -= monotonic() - before
            if not data:
                raise ConnectionResetError("the client ended the connection within the body")
            reader.feed(data)
            if reader.error is not None and not request.complete:
                raise reader.error
        except TimeoutError as exc:
            reader.error = BadRequest("408 Request Timeout", "the body took too long")
            self._client_error = exc
            raise
        except (OSError, BadRequest) as exc:
            self._client_error = exc
            raise

    def _skip_body(self, request: Request) -> None:
        """Read the rest of a body, if that is short, to get at what follows it."""
        if request.complete:
            return
        if request.expects_continue and not self._continued and not request.body_size:
            self.close_connection = True  # nobody knows whether the client will send it
            return
        end = request.body_size + _WORTH_DRAINING
        if request.length is not None and request.length > end:
            self.close_connection = True
            return
        while not request.complete:
            request.body.clear()
            if request.body_size > end:
                self.close_connection = True
                return
            self._receive_body(request)

    def _wait(self, seconds: float | None) -> None:
        """Wait for the client so long from here on."""
        if seconds != self._timeout:
            self._timeout = seconds
            self.socket.settimeout(seconds)

    def _end(self) -> None:
        sock, self.socket = self.socket, None
        if sock is None:  # somebody took it over
            return
        try:
            if self.reader.error is not None or not self.request.complete:
                self._linger(sock)
        except OSError:
            pass  # it is gone
        finally:
            sock.close()

    def _linger(self, sock: Any) -> None:
        sock.shutdown(SHUT_WR)
        deadline = monotonic() + _LINGER_TIME
        size = 0
        while size < _LINGER_SIZE and (left := deadline - monotonic()) > 0:
            sock.settimeout(left)
            data = sock.recv(_BODY)
            if not data:
                return
            size += len(data)

    # -- the request

    def get_environ(self) -> dict[str, Any]:
        """PEP 3333's environment of the request."""
        request = self.request
        if self._base_environ is None:
            self._base_environ = self._connection_environ()
        environ = self._base_environ.copy()
        environ.update(request.fields)
        target = request.target.decode("latin-1")
        if target[0] != "/" and target != "*":
            target = self._origin_form(target, environ)
        path, _, query = target.partition("?")
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.version == "1.1" else "HTTP/1.0"
        self._body_time = self.limits.body_time
        environ["wsgi.input"] = self.wsgi_input = Input(request, self._receive_body)
        environ["wsgi.early_hints"] = self._early_hints
        return environ

    def _connection_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = self.server.get_environ()
        address = self.client_address
        if isinstance(address, tuple):
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = address[0], str(address[1])
        else:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = "", ""
        environ["wsgi.input_terminated"] = True
        environ["wsgi.file_wrapper"] = FileWrapper
        return environ

    @staticmethod
    def _origin_form(target: str, environ: dict[str, Any]) -> str:
        """From "http://host/path"; such a target's host is the one that counts (RFC 9112, 3.2)."""
        _, _, rest = target.partition("://")
        end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        environ["HTTP_HOST"] = rest[:end].rpartition("@")[2]
        origin = rest[end:]
        return origin if origin.startswith("/") else "/" + origin

    # -- the response

    def handle_one_response(self) -> None:
        """Run the application and send what it answers."""
        try:
            try:
                self.run_application()
            except Exception as exc:
                if exc is not self._client_error:
                    self.handle_error(*sys.exc_info())
                else:
                    self._answer_client_error()
        finally:
            self.time_finish = monotonic()
            self.log_request()

    def run_application(self) -> None:
        """Call the application and process its result."""
        try:
            self.result = self.application(self.environ, self.start_response)
            self.process_result()
        finally:
            close = getattr(self.result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Any:
        """PEP 3333's; nothing is sent before there is a body, or its end."""
        if exc_info is not None:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise AssertionError("start_response() was called already")
        check_status(status)
        code = int(status[:3])
        self._lines = header_lines(headers, code)
        self.status, self.code = status, code
        self.response_headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send *data* as part of the body, after the head if that was not sent."""
        if not isinstance(data, bytes):
            data = self._as_bytes(data)
        head = b"" if self.headers_sent else self._head(None)
        framing = self._framing
        self.response_length += len(data)
        if framing is Framing.CHUNKED:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
        elif framing is Framing.LENGTH:
            self._left -= len(data)
            if self._left < 0:
                self.close_connection = True
                raise ValueError(
                    f"the body is longer than its Content-Length, by {-self._left} bytes or more"
                )
        elif framing is Framing.NONE:
            data = b""
        self._send_both(head, data)

    def process_result(self) -> None:
        """Send what the application returned."""
        result = self.result
        if type(result) is list or type(result) is tuple:
            if not self.headers_sent:
                self._send_whole(b"".join(result) if len(result) != 1 else result[0])
                return
        elif isinstance(result, FileWrapper) and self._send_file(result):
            return
        for data in result:
            if data:
                self.write(data)
        self._finish()

    def _send_whole(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            data = self._as_bytes(data)
        head = self._head(len(data))
        self.response_length = len(data)
        if self._framing is Framing.NONE:
            data = b""
        elif self._left != len(data):
            self._check_left(len(data))
            data = data[: self._left]
        self._send_both(head, data)

    def _check_left(self, length: int) -> None:
        self.close_connection = True
        self._report(f"the body has {length} bytes, and its Content-Length says {self._left}")

    @staticmethod
    def _as_bytes(data: Any) -> bytes:
        if isinstance(data, str):
            raise TypeError(f"a body is made of bytes, not of str like {data[:40]!r}")
        return bytes(memoryview(data))

    def _finish(self) -> None:
        """The application has returned all of the body."""
        if not self.headers_sent:
            self._send_both(self._head(0), b"")
        elif self._framing is Framing.CHUNKED:
            self._send(b"0\r\n\r\n")
        elif self._framing is Framing.LENGTH and self._left:
            self.close_connection = True
            self._report(f"the body lacks {self._left} bytes of its Content-Length")

    def _head(self, known: int | None) -> bytes:
        """The head, with *known* as the body's length where nothing else says it."""
        lines = self._lines
        if lines is None or self.status is None:
            raise AssertionError("the application did not call start_response()")
        request = self.request
        self._framing, text = frame(request.method, request.version, self.code, lines, known)
        if self._framing is Framing.LENGTH:
            self._left = known if lines.length is None else lines.length  # type: ignore[assignment]
        if self._framing is Framing.CLOSE or lines.close or self.server.stopping:
            self.close_connection = True
        if not lines.has_date and self.code >= 200:
            text += f"Date: {date()}\r\n"
        if self.code != 101:
            if self.close_connection:
                text += "Connection: close\r\n"
            elif request.version == "1.0":
                text += "Connection: keep-alive\r\n"
        else:
            self.close_connection = True
            self._wait(None)  # the other protocol has its own idea of time
        head = f"HTTP/1.1 {self.status}\r\n{lines.text}{text}\r\n".encode("latin-1")
        self.headers_sent = True
        return head

    def _send_both(self, head: bytes, data: bytes) -> None:
        if len(data) <= _TOGETHER:
            self._send(head + data)
            return
        self._send(head)
        view = memoryview(data)
        for at in range(0, len(view), _PIECE):
            self._send(view[at : at + _PIECE])

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._wait(self.limits.write_time)
            self.socket.sendall(data)
        except OSError as exc:
            self._client_error = exc
            self.close_connection = True
            raise

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Let the system send a regular file; False if it is none, or comes after something."""
        place = wrapper.regular_file()
        if place is None or self.headers_sent:
            return False
        at, size = place
        head = self._head(size)
        if self._framing is Framing.LENGTH:
            self.response_length = min(size, self._left)
            self._send(head)
            end = at + self.response_length
            try:
                while at < end:
                    self._wait(self.limits.write_time)
                    sent = self.socket.sendfile(wrapper.filelike, at, min(_PIECE, end - at))
                    if not sent:
                        break  # it has become shorter
                    at += sent
            except OSError as exc:
                self._client_error = exc
                raise
            self._left -= self.response_length - (end - at)
            self._finish()
        else:
            self._send(head)
        return True

    def _early_hints(self, headers: list[tuple[str, str]]) -> None:
        """``wsgi.early_hints``: send these, mostly Link, before the answer is known (RFC 8297)."""
        if self.request.version == "1.1" and not self.headers_sent:
            lines = header_lines(headers, 103)
            self._send(f"HTTP/1.1 103 Early Hints\r\n{lines.text}\r\n".encode("latin-1"))

    # -- errors and the log

    def handle_error(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Report what the application raised; 500 if the head was not sent, else end it."""
        self._report("".join(traceback.format_exception(typ, value, tb)))
        self.close_connection = True
        if not self.headers_sent:
            self._answer("500 Internal Server Error")

    def _answer_client_error(self) -> None:
        self.close_connection = True
        error = self.reader.error
        if error is not None and not self.headers_sent:
            self._answer(error.status)

    def _refuse(self, error: BadRequest) -> None:
        """Answer what is no request."""
        self._begin()
        self.close_connection = True
        self._answer(error.status)
        self.log_request()

    def _answer(self, status: str) -> None:
        """Send a short answer of the server's own; the connection ends then."""
        body = f"{status}\n".encode("ascii")
        self.status, self.code = status, int(status[:3])
        self._lines = header_lines([("Content-Type", "text/plain; charset=utf-8")], self.code)
        self._client_error = None
        with suppress(OSError):  # nobody may be there to be told
            self._send_whole(body)

    def _report(self, text: str) -> None:
        log = self.server.error_log
        log.write(text if text.endswith("\n") else text + "\n")

    def log_request(self) -> None:
        """Write a line about the request and its answer to the server's log."""
        log = self.server.log
        if log is not SILENCE:
            log.write(self.format_request() + "\n")

    def format_request(self) -> str:
        """The line that :meth:`log_request` writes."""
        raise NotImplementedError
