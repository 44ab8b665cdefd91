# cython: binding=False
"""WSGI (PEP 3333) over one HTTP/1.1 connection.

The methods without an underscore have the names, and are called at the points, of
gevent.pywsgi's handler, whose subclasses override them.
"""

import sys
import traceback
from contextlib import suppress
from socket import SHUT_WR as _SHUT_WR
from urllib.parse import unquote_to_bytes

from greenlet import getcurrent

from weft.http.body import FileWrapper, Input
from weft.http.h1 import BadRequest
from weft.http.log import SILENCE
from weft.http.response import Framing
from weft.socket import socket as weft_socket

from cpython.dict cimport PyDict_Copy
from libc.stdint cimport int64_t

from weft._core.clock cimport nanoseconds, now
from weft._core.sockets cimport SocketState
from weft.http.counters cimport Counters
from weft.http.h1 cimport Request, RequestReader
from weft.http.response cimport HeaderLines, check_status, date, frame, header_lines

__all__ = ["Handler"]

cdef object NONE = Framing.NONE
cdef object LENGTH = Framing.LENGTH
cdef object CHUNKED = Framing.CHUNKED
cdef object CLOSE = Framing.CLOSE

# Stands for a connection's request while there is none.
cdef Request NO_REQUEST = Request()
NO_REQUEST.complete = True

cdef enum:
    # Received at once, in bytes: of heads, which mostly are short, and of bodies.
    HEAD = 16384
    BODY = 65536
    # Sent at once, so that the time to write is not that of a whole film.
    PIECE = 262144
    # Answers up to this are sent together with their head.
    TOGETHER = 65536
    # What is read of a body that the application did not want, to keep the connection.
    WORTH_DRAINING = 262144
    # How much, and for how many seconds, a connection is read on after an answer that ends it, so
    # that the client sees the answer and not a reset.
    LINGER_SIZE = 16 << 20
    LINGER_TIME = 2


cdef class Handler:
    """Serves the requests of one connection, one after the other."""

    cdef public object socket, client_address, server, application
    cdef readonly RequestReader reader
    cdef readonly object limits
    # The request that is answered, or was last.
    cdef readonly Request request
    # Whether it waits for a request; it may be closed then.
    cdef readonly bint idle
    cdef public bint close_connection
    cdef public object environ, status, response_headers, result, wsgi_input
    cdef public int code
    cdef public bint headers_sent
    cdef public long long response_length
    cdef public double time_start, time_finish
    cdef SocketState state            # of the socket, if that is a plain one of weft's
    cdef object timeout               # of the socket, as it was set last
    cdef str remote_address, remote_port
    cdef object base_environ          # of every request of this connection
    cdef object context               # what each request of this connection runs in
    cdef Counters counters            # the server's, or None
    cdef object body_time             # seconds left to wait for the body, or None
    cdef HeaderLines lines
    cdef object framing
    cdef object left                  # of a body whose length was told
    cdef bint continued               # 100 was sent
    cdef object client_error          # what the client did; nothing that the application raises
    cdef object websocket             # what the request asks for, or None
    cdef bint failed                  # the application has
    cdef bint must_linger

    def __init__(self, sock, address, server, rfile=None):
        """*server* has ``application``, ``limits``, ``get_environ()``, ``log`` and ``error_log``.

        *rfile* is gevent's and not needed.
        """
        self.socket = sock
        self.state = sock._state if type(sock) is weft_socket else None
        self.client_address = address
        self.remote_address = self.remote_port = ""
        if isinstance(address, tuple):
            self.remote_address, self.remote_port = address[0], str(address[1])
        self.server = server
        self.application = None
        self.reader = RequestReader(server.limits)
        self.limits = server.limits
        #: Whether it waits for a request; it may be closed then.
        self.idle = True
        self.close_connection = False
        self.must_linger = False
        self.timeout = -1.0
        self.counters = getattr(server, "counters", None)
        self.base_environ = None
        self.request = NO_REQUEST
        self.forget_response()

    cdef forget_response(self):
        """Forget the response before."""
        self.environ = {}
        self.status = None
        self.code = 0
        self.response_headers = None
        self.headers_sent = False
        self.response_length = 0
        self.result = None
        self.wsgi_input = None
        self.lines = None
        self.framing = Framing.NONE
        self.left = 0  # of a body whose length was told
        self.continued = False
        self.client_error = None
        self.websocket = None
        self.failed = False
        self.time_start = self.time_finish = 0.0

    # -- the connection

    def handle(self):
        """Serve until the client or a response ends the connection, then close it."""
        try:
            while not self.close_connection and self.handle_one_request():
                pass
        except (OSError, BadRequest) as exc:
            if exc is not self.client_error:
                raise
        finally:
            self.end()

    def handle_one_request(self):
        """Wait for a request and answer it; False if there is none any more."""
        request = self.next_request()
        if request is None:
            return False
        if self.status is not None:
            self.forget_response()
        self.request = request
        self.time_start = now() / 1e9
        if request.upgrade and not self._may_upgrade(request):
            self.reader.resume()
        if self.reader.error is not None and not request.complete:
            self.refuse(self.reader.error)
            return False
        if not request.keep_alive:
            self.close_connection = True
        self.application = self.server.application
        self.environ = self.get_environ()
        if self.context is None or len(self.context):
            # The last request's is used again only if it left nothing there.
            current = getcurrent()
            self.context = current.gr_context = self.server.context.copy()
        if self.counters is None:
            self.handle_one_response()
        else:
            self.handle_counted()
        if self.websocket is not None and not self.websocket.end(self.failed):
            self.must_linger = True
        if not self.close_connection:
            self.skip_body(request)
        return True

    cdef handle_counted(self):
        self.counters.active += 1
        try:
            self.handle_one_response()
        finally:
            self.counters.active -= 1
            seconds = self.time_finish - self.time_start
            self.counters.count_request(self.code, seconds, self.response_length)

    def _may_upgrade(self, request):
        """Whether the application may take the connection over; otherwise HTTP/1.1 goes on."""
        return request.upgrade == "websocket" and not request.chunked and not request.length

    def switch_protocols(self, headers):
        """Answer 101 with *headers*. Returns the socket, which carries the other protocol until
        the application returns, and what the client sent of that already.
        """
        self.start_response("101 Switching Protocols", headers)
        self.send(self.head(None))
        self.timeout = -1.0  # whoever uses the socket sets its own
        return self.socket, self.reader.rest

    def blame_client(self, error):
        """*error* is the client's doing: if the application raises it, nothing is reported."""
        self.client_error = error

    cdef Request next_request(self):
        reader = self.reader
        if reader.rest is not None:
            reader.resume()  # nobody changed the protocol
        if not reader.ready:
            if reader.error is None:
                try:
                    self.receive_head()
                except OSError as exc:
                    self.client_error = exc
                    if not (isinstance(exc, TimeoutError) and reader.in_head):
                        return None
                    reader.error = BadRequest("408 Request Timeout", "the head took too long")
            if not reader.ready:
                if reader.error is not None:
                    self.refuse(reader.error)
                return None
        return reader.ready.pop(0)

    cdef receive_head(self):
        reader, receive = self.reader, self.socket.recv
        deadline = None
        self.wait_at_most(self.limits.idle_time)
        if self.request.complete:
            # Thousands may be idle: what the last request had is not kept for them.
            self.forget_response()
            self.request = NO_REQUEST
        self.idle = True
        while not reader.ready and reader.error is None:
            data = receive(HEAD)
            self.idle = False
            if not data:
                return
            reader.feed(data)
            if reader.in_head and self.limits.header_time is not None:
                if deadline is None:
                    deadline = now() / 1e9 + self.limits.header_time
                self.wait_at_most(max(deadline - now() / 1e9, 0.001))

    def _receive_body(self, Request request):
        """Wait for more of the body of *request*; what :class:`Input` does."""
        reader = self.reader
        if self.client_error is not None:
            raise self.client_error
        try:
            if request.expects_continue and not self.continued and not request.body_size:
                self.continued = True
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self.body_time is not None and self.body_time <= 0:
                raise TimeoutError("the body took too long")
            self.wait_at_most(self.body_time)
            before = now()
            data = self.socket.recv(BODY)
            if self.body_time is not None:
                self.body_time -= (now() - before) / 1e9
            if not data:
                raise ConnectionResetError("the client ended the connection within the body")
            reader.feed(data)
            if reader.error is not None and not request.complete:
                raise reader.error
        except TimeoutError as exc:
            reader.error = BadRequest("408 Request Timeout", "the body took too long")
            self.client_error = exc
            raise
        except (OSError, BadRequest) as exc:
            self.client_error = exc
            raise

    cdef skip_body(self, Request request):
        """Read the rest of a body, if that is short, to get at what follows it."""
        if request.complete:
            return
        if request.expects_continue and not self.continued and not request.body_size:
            self.close_connection = True  # nobody knows whether the client will send it
            return
        end = request.body_size + WORTH_DRAINING
        if request.length is not None and request.length > end:
            self.close_connection = True
            return
        while not request.complete:
            request.body = None
            if request.body_size > end:
                self.close_connection = True
                return
            self._receive_body(request)

    cdef wait_at_most(self, seconds):
        """Wait for the client so long from here on."""
        if seconds is self.timeout:
            return
        self.timeout = seconds
        if self.state is not None:
            self.state.timeout, self.state.seconds = nanoseconds(seconds), seconds
        else:
            self.socket.settimeout(seconds)

    cdef end(self):
        sock, self.socket = self.socket, None
        if sock is None:  # somebody took it over
            return
        try:
            if self.must_linger or self.reader.error is not None or not self.request.complete:
                self.linger(sock)
        except OSError:
            pass  # it is gone
        finally:
            sock.close()

    cdef linger(self, sock):
        sock.shutdown(_SHUT_WR)
        deadline = now() + LINGER_TIME * 1_000_000_000
        size = 0
        while size < LINGER_SIZE and (left := deadline - now()) > 0:
            sock.settimeout(left / 1e9)
            data = sock.recv(BODY)
            if not data:
                return
            size += len(data)

    # -- the request

    def get_environ(self):
        """PEP 3333's environment of the request."""
        request = self.request
        if self.base_environ is None:
            self.base_environ = self.connection_environ()
        base = self.base_environ
        environ = PyDict_Copy(<dict>base) if type(base) is dict else base.copy()
        environ.update(request.fields)
        target = request.target.decode("latin-1")
        if target[0] != "/" and target != "*":
            target = origin_form(target, environ)
        path, _, query = target.partition("?")
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = self.remote_address, self.remote_port
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.version == "1.1" else "HTTP/1.0"
        self.body_time = self.limits.body_time
        environ["wsgi.input"] = self.wsgi_input = Input(request, self._receive_body)
        environ["wsgi.early_hints"] = self._early_hints
        if request.upgrade == "websocket" and self.reader.rest is not None:
            self.offer_websocket(environ)
        return environ

    cdef offer_websocket(self, environ):
        from weft.websocket import of_request

        self.websocket = of_request(self, environ)
        if self.websocket is not None:
            environ["wsgi.websocket"] = self.websocket
            environ["wsgi.websocket_version"] = "13"

    cdef connection_environ(self):
        """What all requests have; one object for all connections, where it is the same."""
        environ = self.server.get_environ()
        environ["wsgi.input_terminated"] = True
        environ["wsgi.file_wrapper"] = FileWrapper
        shared = getattr(self.server, "shared_environ", None)
        if shared is not None and type(shared) is type(environ) and shared == environ:
            return shared
        self.server.shared_environ = environ
        return environ

    # -- the response

    def handle_one_response(self):
        """Run the application and send what it answers."""
        try:
            try:
                self.run_application()
            except Exception as exc:
                if exc is not self.client_error:
                    self.handle_error(*sys.exc_info())
                else:
                    self.answer_client_error()
        finally:
            self.time_finish = now() / 1e9
            self.log_request()

    def run_application(self):
        """Call the application and process its result."""
        try:
            self.result = self.application(self.environ, self.start_response)
            self.process_result()
        finally:
            close = getattr(self.result, "close", None)
            if close is not None:
                close()

    def start_response(self, status, headers, exc_info=None):
        """PEP 3333's; nothing is sent before there is a body, or its end."""
        if exc_info is not None:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            if self.code == 101 and self.headers_sent:
                return self.write  # frameworks answer always, and a WebSocket has no answer
            raise AssertionError("start_response() was called already")
        code = check_status(status)
        self.lines = header_lines(headers, code)
        self.status, self.code = status, code
        self.response_headers = headers
        return self.write

    def write(self, data):
        """Send *data* as part of the body, after the head if that was not sent."""
        if not isinstance(data, bytes):
            data = as_bytes(data)
        head = b"" if self.headers_sent else self.head(None)
        framing = self.framing
        self.response_length += len(data)
        if framing is CHUNKED:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
        elif framing is LENGTH:
            self.left -= len(data)
            if self.left < 0:
                self.close_connection = True
                raise ValueError(
                    f"the body is longer than its Content-Length, by {-self.left} bytes or more"
                )
        elif framing is NONE:
            data = b""
        self.send_both(head, data)

    def process_result(self):
        """Send what the application returned."""
        result = self.result
        if self.code == 101 and self.headers_sent:
            return
        if type(result) is list or type(result) is tuple:
            if not self.headers_sent:
                self.send_whole(b"".join(result) if len(result) != 1 else result[0])
                return
        elif isinstance(result, FileWrapper) and self.send_file(result):
            return
        for data in result:
            if data:
                self.write(data)
        self.finish()

    cdef send_whole(self, data):
        if not isinstance(data, bytes):
            data = as_bytes(data)
        head = self.head(len(data))
        self.response_length = len(data)
        if self.framing is NONE:
            data = b""
        elif self.left != len(data):
            self.report_length(len(data))
            data = data[: self.left]
        self.send_both(head, data)

    cdef report_length(self, length):
        self.close_connection = True
        self.report(f"the body has {length} bytes, and its Content-Length says {self.left}")

    cdef finish(self):
        """The application has returned all of the body."""
        if not self.headers_sent:
            self.send_both(self.head(0), b"")
        elif self.framing is CHUNKED:
            self.send(b"0\r\n\r\n")
        elif self.framing is LENGTH and self.left:
            self.close_connection = True
            self.report(f"the body lacks {self.left} bytes of its Content-Length")

    cdef bytes head(self, known):
        """The head, with *known* as the body's length where nothing else says it."""
        lines = self.lines
        if lines is None or self.status is None:
            raise AssertionError("the application did not call start_response()")
        request = self.request
        self.framing, text = frame(request.method, request.version, self.code, lines, known)
        if self.framing is LENGTH:
            self.left = known if lines.length is None else lines.length
        if self.framing is CLOSE or lines.close or self.server.stopping:
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
            self.wait_at_most(None)  # the other protocol has its own idea of time
        head = f"HTTP/1.1 {self.status}\r\n{lines.text}{text}\r\n".encode("latin-1")
        self.headers_sent = True
        return head

    cdef send_both(self, head, data):
        if len(data) <= TOGETHER:
            self.send(head + data)
            return
        self.send(head)
        view = memoryview(data)
        for at in range(0, len(view), PIECE):
            self.send(view[at : at + PIECE])

    cdef send(self, data):
        try:
            self.wait_at_most(self.limits.write_time)
            self.socket.sendall(data)
        except OSError as exc:
            self.client_error = exc
            self.close_connection = True
            raise

    cdef bint send_file(self, wrapper) except -1:
        """Let the system send a regular file; False if it is none, or comes after something."""
        place = wrapper.regular_file()
        if place is None or self.headers_sent:
            return False
        at, size = place
        head = self.head(size)
        if self.framing is LENGTH:
            self.response_length = min(size, self.left)
            self.send(head)
            end = at + self.response_length
            try:
                while at < end:
                    self.wait_at_most(self.limits.write_time)
                    sent = self.socket.sendfile(wrapper.filelike, at, min(PIECE, end - at))
                    if not sent:
                        break  # it has become shorter
                    at += sent
            except OSError as exc:
                self.client_error = exc
                raise
            self.left -= self.response_length - (end - at)
            self.finish()
        else:
            self.send(head)
        return True

    def _early_hints(self, headers):
        """``wsgi.early_hints``: send these, mostly Link, before the answer is known (RFC 8297)."""
        if self.request.version == "1.1" and not self.headers_sent:
            lines = header_lines(headers, 103)
            self.send(f"HTTP/1.1 103 Early Hints\r\n{lines.text}\r\n".encode("latin-1"))

    # -- errors and the log

    def handle_error(self, typ, value, tb):
        """Report what the application raised; 500 if the head was not sent, else end it."""
        self.failed = True
        self._log_error(typ, value, tb)
        self.close_connection = True
        if not self.headers_sent:
            self.answer("500 Internal Server Error")

    def _log_error(self, typ, value, tb):
        """Report what the application raised, to the server's error log."""
        self.report("".join(traceback.format_exception(typ, value, tb)))

    def error_body(self, status):
        """The text of an answer of the server's own."""
        return f"{status}\n"

    cdef answer_client_error(self):
        self.close_connection = True
        error = self.reader.error
        if error is not None and not self.headers_sent:
            self.answer(error.status)

    cdef refuse(self, error):
        """Answer what is no request."""
        self.forget_response()
        self.close_connection = True
        self.answer(error.status)
        self.log_request()

    cdef answer(self, status):
        """Send a short answer of the server's own; the connection ends then."""
        body = self.error_body(status).encode("ascii")
        self.status, self.code = status, int(status[:3])
        self.lines = header_lines([("Content-Type", "text/plain; charset=utf-8")], self.code)
        self.client_error = None
        with suppress(OSError):  # nobody may be there to be told
            self.send_whole(body)

    cdef report(self, text):
        log = self.server.error_log
        log.write(text if text.endswith("\n") else text + "\n")

    def log_request(self):
        """Write a line about the request and its answer to the server's log."""
        log = self.server.log
        if log is not SILENCE:
            log.write(self.format_request() + "\n")

    def format_request(self):
        """The line that :meth:`log_request` writes."""
        raise NotImplementedError


cdef str origin_form(str target, environ):
    """From "http://host/path"; such a target's host is the one that counts (RFC 9112, 3.2)."""
    _, _, rest = target.partition("://")
    end = min([at for at in (rest.find("/"), rest.find("?")) if at >= 0], default=len(rest))
    environ["HTTP_HOST"] = rest[:end].rpartition("@")[2]
    origin = rest[end:]
    return origin if origin.startswith("/") else "/" + origin


cdef bytes as_bytes(data):
    if isinstance(data, str):
        raise TypeError(f"a body is made of bytes, not of str like {data[:40]!r}")
    return bytes(memoryview(data))
