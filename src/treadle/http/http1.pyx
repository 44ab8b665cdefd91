# cython: nonecheck=True
"""WSGI over one HTTP/1.1 connection."""

import struct
from _socket import SO_LINGER as _SO_LINGER
from _socket import SOL_SOCKET as _SOL_SOCKET
from contextlib import suppress
from errno import ECONNRESET as _ECONNRESET
from errno import EPIPE as _EPIPE
from functools import partial
from io import BufferedReader

from treadle._core.thrown import thrown_in
from treadle.greenlet import getcurrent, kill
from treadle.http.body import Received
from treadle.http.ending import Patience, end, end_reading, untaken
from treadle.http.h1 import BadRequest
from treadle.os import native_sendfile
from treadle.socket import socket as treadle_socket

from treadle._core.clock cimport nanoseconds, now
from treadle._core.hub cimport Hub, get_hub, get_hub_if_exists, run_callback_first
from treadle._core.sockets cimport SocketState, receive_bytes, send_all, send_file
from treadle.http.h1 cimport Request, RequestReader
from treadle.http.response cimport CHUNKED, CLOSE, LENGTH, HeaderLines, joined, status_of
from treadle.http.wsgi cimport WSGIExchange

cdef extern from "more.h":
    enum:
        TREADLE_MORE
    void treadle_push(int fd) noexcept

__all__ = ["Handler"]

# The request of a connection that has none.
cdef Request NO_REQUEST = Request()
NO_REQUEST.complete = True

# The value of SO_LINGER with which close() resets the connection.
cdef bytes _AT_ONCE = struct.pack("ii", 1, 0)

# The connection preface of a client that speaks HTTP/2 without asking first (RFC 9113, 3.4).
cdef bytes PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

cdef enum:
    # The most bytes to receive at once: of heads, which are mostly short, and of bodies.
    HEAD = 16384
    BODY = 65536
    # The most bytes to send at once: the write timeout is for one piece, not for the whole body.
    PIECE = 262144
    # Bodies of up to this size are sent together with their head.
    TOGETHER = 65536
    # A part of a body that comes within so many nanoseconds after the one before is likely to be
    # followed by another as quickly.
    SOON = 100_000
    # How many nanoseconds the rest of a head, or of a body that nobody reads, may take to come
    # when the server stops.
    REST = 1_000_000_000
    # The most bytes to read of a body that the application did not read, to keep the connection.
    WORTH_DRAINING = 262144


cdef bint asks_for_upgrade(dict fields):
    # This is gevent's rule: one of the two headers is enough.
    connection, upgrade = fields.get("HTTP_CONNECTION"), fields.get("HTTP_UPGRADE")
    return (connection is not None and connection.lower() == "upgrade") or (
        upgrade is not None and upgrade.lower() == "websocket"
    )


cdef class Handler(WSGIExchange):
    """Handler(sock, address, server, rfile=None)\n--\n
    Serves the requests of one HTTP/1.1 connection, one after the other.
    """

    #: Numbers of errors that are never reported when the client goes away, whatever the policy.
    ignored_socket_errors = (_EPIPE, _ECONNRESET)
    #: Whether a subclass's ``read_requestline()`` returns the first line of each request.
    reads_requestlines = False

    cdef public object socket
    cdef readonly RequestReader reader
    cdef object greenlet              # that serves the connection, or None
    # Whether the handler waits for a request; the connection may be closed then.
    cdef readonly bint idle
    cdef SocketState state            # of the socket, if it is a plain socket of treadle's
    cdef SocketState timed            # of the socket, if its timeout is treadle's, as with TLS
    cdef object timeout               # the socket's timeout, as set last
    cdef object idle_time, write_time # limits
    cdef bint cut                     # a part of a response was not sent: nothing may follow
    cdef long long part_at            # time at which the last part of a body was sent
    cdef bint held                    # the system may hold back the last part, for more to follow
    cdef Hub hub                      # that runs _push_held()
    # Whether the hub will run it, and the hub's generation then: a fork's child will not.
    cdef bint will_push
    cdef unsigned int pushed_in
    # When it began to receive or to send, on the loop's clock; 0 while a subclass receives.
    cdef long long began
    cdef object patience              # of stop() with a client that has not got everything, or None
    # Whether it waits for the rest of a head, or of a body that nobody reads.
    cdef bint awaits_rest
    cdef long long rest_until         # until when stop() waits for that, or 0
    # Whether nothing was received yet.
    cdef readonly bint fresh
    cdef bint http2                   # whether the server supports HTTP/2
    cdef bint by_lines                # whether request lines come from read_requestline()
    cdef object file                  # made for rfile, or None
    # The received start of an HTTP/2 connection, which another object then serves.
    cdef readonly bytes preface

    def __init__(self, sock, address, server, rfile=None):
        """*server* has ``application``, ``limits``, ``get_environ()``, ``log`` and ``error_log``.

        *rfile* is an argument of gevent's handler; it is ignored.
        """
        self.request = NO_REQUEST
        self.prepare(address, server)
        self.socket = sock
        self.state = sock._state if type(sock) is treadle_socket else None
        own = getattr(type(sock), "settimeout", None) is treadle_socket.settimeout
        self.timed = sock._state if own else None
        self.reader = RequestReader(server.limits, server.policy)
        self.idle_time, self.write_time = server.limits.idle_time, server.limits.write_time
        #: Whether the handler waits for a request; the connection may be closed then.
        self.idle = True
        self.cut = False
        self.began = self.part_at = 0
        self.held = self.will_push = False
        self.hub = get_hub()
        self.patience = None
        self.awaits_rest, self.rest_until = False, 0
        self.fresh = True
        self.http2 = getattr(server, "http2", False)
        self.preface = b""
        self.timeout = -1.0
        self.by_lines = self.reads_requestlines

    # -- the connection

    def handle(self):
        """Serve until the client or a response ends the connection, then close it."""
        self.greenlet = getcurrent()
        try:
            while not self.close_connection and self.handle_one_request():
                pass
        except (OSError, BadRequest) as exc:
            if exc is not self.client_error:
                raise
        finally:
            self.end()

    cpdef handle_one_request(self):
        """Wait for a request and answer it; return False if no more requests come."""
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
            if self.policy.refuse_early:
                self.refuse(self.reader.error)
                return False
            self.close_connection = True
        if not request.keep_alive:
            self.close_connection = True
        self.serve()
        if self.websocket is not None:
            self.websocket.end(self.failed)
        if not self.close_connection:
            self.skip_body(request)
        return True

    def _may_upgrade(self, request):
        """Return whether the application may take over the connection; else HTTP/1.1 goes on."""
        return request.upgrade == "websocket" and not request.chunked and not request.length

    def switch_protocols(self, headers):
        """Answer 101 with *headers*, and return the socket and the bytes that followed the request.

        The socket carries the other protocol until the application returns. The bytes are the
        start of that protocol, which the client has already sent.
        """
        self.start_response("101 Switching Protocols", headers)
        self.send(self.head(-1))
        self.timeout = -1.0  # the user of the socket sets another
        return self.socket, self.reader.rest

    def warn(self, bint at_once):
        """Do nothing: the next response says that the connection ends after it."""

    def stop(self):
        """End the connection soon: a WebSocket with 1001, an idle connection immediately.

        One whose client has not got all of the last response ends at a later call. So does one
        whose client has begun a request, unless the rest of its head comes within a second, or
        leaves the body of an answered one unfinished.
        Otherwise the connection ends after the response. The server's ``stopping`` is already
        set, so that no response keeps the connection alive.
        """
        if self.websocket is not None:
            self.websocket.leave()
        elif self.idle and self.socket is not None:
            if self.patience is None:
                self.patience = Patience(partial(untaken, self.socket))
            if self.patience.is_over():
                end_reading(self.socket)
        elif self.awaits_rest and self.socket is not None:
            if not self.rest_until:
                self.rest_until = now() + REST
            if now() > self.rest_until and not untaken(self.socket):
                end_reading(self.socket)

    def abandon(self):
        """Kill the application if it has not answered, so that the client gets 500."""
        if self.greenlet is not None and not self.idle:
            kill(self.greenlet)

    cdef Request next_request(self):
        reader = self.reader
        if not reader.ready and reader.rest is not None:
            # The application did not change the protocol. It may have read some of the bytes.
            if self.file is not None and self.file.closed:
                return None
            reader.resume(None if self.file is None else self.take_buffered())
        if not reader.ready:
            if reader.error is None:
                try:
                    self.receive_head()
                except OSError as exc:
                    if self.was_thrown(exc):
                        raise
                    self.client_error = exc
                    if not (isinstance(exc, TimeoutError) and reader.in_head):
                        return None
                    reader.error = BadRequest("408 Request Timeout", "the head took too long")
            if not reader.ready:
                if reader.error is not None:
                    self.request = reader.request if reader.in_head else NO_REQUEST
                    self.time_start = now() / 1e9
                    self.refuse(reader.error)
                return None
        request = reader.ready[0]
        del reader.ready[:1]
        return request

    cdef receive_head(self):
        reader = self.reader
        deadline = None
        self.wait_at_most(self.idle_time)
        if self.request.complete:
            # Thousands of connections may be idle: free what the last request and response held.
            self.forget_response()
            self.request = NO_REQUEST
        # A part of the head may have come with the request before.
        self.awaits_rest = reader.in_head
        self.idle = not reader.in_head
        while not reader.ready and reader.error is None:
            if self.by_lines and not reader.in_head:
                self.began = 0
                data = self.receive_requestline()
            else:
                data = self.receive(HEAD)
            self.idle = False
            self.awaits_rest = True
            if not data:
                return
            if self.fresh:
                self.fresh = False
                if self.http2 and data[0] == c"P":
                    data = self.look_for_preface(data)
                    if self.preface:
                        return
            reader.feed(data)
            # Empty lines before a request begin no head, and count nevertheless.
            if not reader.ready and self.limits.header_time is not None:
                if deadline is None:
                    deadline = now() / 1e9 + self.limits.header_time
                self.wait_at_most(max(deadline - now() / 1e9, 0.001))
        self.awaits_rest = False

    cdef await_body(self, Request request):
        reader = self.reader
        if reader.error is None:
            self.wait_at_most(self.body_time)
            data = self.receive(BODY)
            if not data:
                doing = "parsing chunked data" if request.chunked else "reading a request's body"
                raise ConnectionResetError(f"unexpected end of file while {doing}")
            reader.feed(data)
        if reader.error is not None and not request.complete:
            raise reader.error

    cdef bytes look_for_preface(self, bytes data):
        """Set ``preface`` if *data* begins HTTP/2, and return *data* with what else was received.

        Receives more while *data* is only a part of the preface.
        """
        self.wait_at_most(self.limits.header_time)
        while len(data) < len(PREFACE) and PREFACE.startswith(data):
            more = self.receive(HEAD)
            if not more:
                break
            data += more
        if data.startswith(PREFACE):
            self.preface = data
        return data

    cdef skip_body(self, Request request):
        """Read the rest of a body to reach the next request; end the connection if it is long."""
        if request.complete:
            return
        if not self.may_skip_body(request):
            self.close_connection = True
            return
        end = request.body_size + WORTH_DRAINING
        self.awaits_rest = True
        while not request.complete:
            request.body = None
            if request.body_size > end:
                self.close_connection = True
                return
            self._receive_body(request)
        self.awaits_rest = False

    cdef bint may_skip_body(self, Request request) except -1:
        """Return whether the rest of a body is worth reading, to reach the next request."""
        if request.complete:
            return True
        if request.expects_continue and not self.continued and not request.body_size:
            return False  # the client may send the body or not
        return request.length is None or request.length <= request.body_size + WORTH_DRAINING

    cdef bint was_thrown(self, exc) except -1:
        """Return whether *exc* is no error of the connection: a Timeout of the program's own."""
        return self.began and thrown_in(exc, self.began / 1e9, self.timeout)

    cdef bytes receive(self, Py_ssize_t size):
        self.began = now()
        if self.state is not None:
            return receive_bytes(self.state, size, 0)
        return self.socket.recv(size)

    cdef wait_at_most(self, seconds):
        """Set the socket's timeout to *seconds*."""
        if seconds is self.timeout:
            return
        self.timeout = seconds
        if self.timed is not None:
            self.timed.timeout, self.timed.seconds = nanoseconds(seconds), seconds
        else:
            self.socket.settimeout(seconds)

    cdef end(self):
        self.methods = self.steps = self.greenlet = None
        sock, self.socket = self.socket, None
        if sock is None or self.preface:  # the socket was taken over
            return
        try:
            if self.cut or self.ends_too_early():
                # A reset, so that no client takes the part that it got for the whole.
                with suppress(OSError):  # the client is gone
                    sock.setsockopt(_SOL_SOCKET, _SO_LINGER, _AT_ONCE)
                return
            # A client that was told of the end, or has not sent all of a request, may be sending.
            expecting = (self.close_connection or self.reader.ready
                         or self.reader.error is not None or not self.request.complete)
            end(sock, self.server, bool(expecting))
        finally:
            sock.close()

    cdef bint ends_too_early(self) noexcept:
        """Return whether only the connection's end delimits a body that is not whole."""
        failed = self.failed or self.client_error is not None
        return failed and self.headers_sent and self.framing is CLOSE and not self.whole

    # -- methods of an exchange

    @property
    def rfile(self):
        """A buffered reader of what the client sends after the requests that were parsed."""
        if self.file is None:
            self.file = BufferedReader(Received(self.reader.rest or b"", self.socket))
        return self.file

    cdef bytes take_buffered(self):
        """Return the bytes that were received and are left in ``rfile``, and end it."""
        received, self.file = self.file, None
        received.raw.ended = True
        return received.read()

    cdef bytes receive_requestline(self):
        """Return the line of ``read_requestline()`` and the bytes that were buffered after it."""
        line = self.read_requestline()
        if not line:
            return b""
        after = b"" if self.file is None else self.take_buffered()
        return (line.encode("latin-1") if isinstance(line, str) else line) + after

    cdef offer_upgrade(self, environ):
        # The bytes that were not parsed may follow a later request of the client's.
        asks = self.reader.rest is not None and self.reader.request is self.request
        if not self.input_is_body and asks_for_upgrade(self.request.fields):
            environ["wsgi.input_terminated"] = False
            if asks:
                environ["wsgi.input"] = self.rfile
        if asks and self.request.upgrade == "websocket":
            self.offer_websocket(environ)

    cdef bytes head(self, long long known):
        self.delimit(known)
        lines = self.lines
        if self.framing is CLOSE or lines.close or self.server.stopping:
            self.close_connection = True
        elif not self.may_skip_body(self.request):
            self.close_connection = True
        if self.code == 101:
            self.switched = self.close_connection = True
            self.wait_at_most(None)  # the other protocol sets its own timeouts
        elif self.close_connection:
            lines.add(b"Connection: close\r\n", 19)
        elif self.request.version == "1.0":
            lines.add(b"Connection: keep-alive\r\n", 24)
        head = lines.head(status_of(self.status).line)
        self.headers_sent = True
        return head

    cdef send_both(self, bytes head, bytes data, bint last):
        if len(data) <= TOGETHER:
            self.send(joined(head, data), not head and not last and self.more_is_near())
        else:
            self.send(head)
            view = memoryview(data)
            for at in range(0, len(view), PIECE):
                self.send(view[at : at + PIECE])
                self.unsent = min(self.unsent, len(view) - at - PIECE)
        self.unsent = 0

    cdef send_end(self):
        if self.framing is CHUNKED:
            self.send(b"0\r\n\r\n")

    cdef send_interim(self, str status, HeaderLines lines):
        self.send(lines.head(status_of(status).line))

    cdef bint more_is_near(self) except -1:
        """Return whether the system may hold back a part of the body, to send it with the next one.

        An application that makes many small parts without a pause would else pay for a packet each.
        """
        cdef long long before = self.part_at
        self.part_at = now()
        if self.part_at - before >= SOON or self.state is None or not self.state.stream:
            return False
        if get_hub_if_exists() is not self.hub:
            return False  # another thread writes, whose hub may not run any more
        return self.framing is not LENGTH or self.left > 0

    def _push_held(self):
        """Send what the system holds back: the application waits, or has ended the response."""
        self.will_push = False
        if self.held and self.state.fd >= 0:
            treadle_push(self.state.fd)
        self.held = False

    cdef send(self, data, bint more=False):
        if self.cut:
            self.forget_unsent()
            raise ConnectionAbortedError("an earlier part of the response was not sent")
        try:
            self.wait_at_most(self.write_time)
            self.began = now()
            if self.state is not None:
                send_all(self.state, data, TREADLE_MORE if more else 0)
                self.held = more and TREADLE_MORE
                if self.held and not (self.will_push and self.pushed_in == self.hub.generation):
                    # First: those who are ready already may compute for a long time.
                    run_callback_first(self.hub, self._push_held, ())
                    self.will_push, self.pushed_in = True, self.hub.generation
            else:
                self.socket.sendall(data)
        except BaseException as exc:
            self.note_cut(exc)
            raise

    cdef note_cut(self, exc):
        """Have the connection end: *exc* ended a write, which may have sent a part."""
        self.cut = self.close_connection = True
        self.forget_unsent()
        if isinstance(exc, OSError) and not self.was_thrown(exc):
            self.client_error = exc

    cdef bint is_forgiven(self, error) except -1:
        if self.policy.forgive_clients or isinstance(error, (BadRequest, TimeoutError)):
            return True  # a malformed request, or a time limit
        return error.errno in self.ignored_socket_errors

    cdef bint left_to_itself(self) except -1:
        if self.policy.answer_always:
            return False
        self.close_connection = True
        return True

    cdef Py_ssize_t send_of_file(self, file, at, Py_ssize_t size) except -1:
        if self.state is not None and native_sendfile is not None:
            return send_file(self.state, native_sendfile, file.fileno(), at, size)
        return self.socket.sendfile(file, at, size)

    cdef bint send_file(self, wrapper) except -1:
        place = wrapper.regular_file()
        if place is None or self.headers_sent:
            return False
        at, size = place
        head = self.head(size)
        if self.framing is LENGTH:
            end = at + min(size, self.left)
            self.send(head)
            try:
                while at < end:
                    self.wait_at_most(self.write_time)
                    self.began = now()
                    sent = self.send_of_file(wrapper.filelike, at, min(PIECE, end - at))
                    if not sent:
                        break  # the file has become shorter
                    at += sent
                    self.response_length += sent
            except BaseException as exc:
                self.note_cut(exc)
                raise
            self.left -= self.response_length
            self.finish()
        else:
            self.send(head)
        return True
