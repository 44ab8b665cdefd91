# cython: nonecheck=True
"""One stream of an HTTP/2 connection: a request and its response."""

from contextlib import suppress

from treadle._core.thrown import thrown_in
from treadle.event import Event
from treadle.http.body import Input
from treadle.http.h1 import BadRequest
from treadle.http.tunnel import Tunnel

from treadle._core.clock cimport now
from treadle.http.h1 cimport Request, add_field, fault_of, is_method
from treadle.http.response cimport NONE, HeaderLines
from treadle.http.wsgi cimport WSGIExchange

__all__ = ["Stream"]

# What a request for a tunnel has for a body: what the client sends is the tunnel's.
cdef Request NO_BODY = Request()
NO_BODY.complete = True


cdef class Stream(WSGIExchange):
    """Stream(connection, id, headers)\n--\n
    Serves one HTTP/2 stream, which is a request and its response.

    The connection's greenlet passes on what the client sends. The stream's own greenlet answers.
    """

    cdef readonly object connection
    cdef readonly int id
    # The OSError because of which nothing more can be received or sent, or None.
    cdef readonly object error
    # Whether the stream's greenlet has begun.
    cdef readonly bint begun
    # Whether END_STREAM was sent.
    cdef public bint ended
    # Bytes of the body for which the client has not got new flow-control credit.
    cdef public long long unread
    # Whether the application has asked for the body.
    cdef public bint wanted
    cdef object changed               # Event: more arrived, more may be sent, or an error
    cdef object fault                 # the BadRequest for an invalid body, or None
    cdef list fields                  # of a head that is to be sent
    cdef bint tunnel                  # the client asks for a tunnel (RFC 8441)

    def __init__(self, connection, int id, list headers):
        """*headers* are the request's headers, pairs of bytes; h2 has checked their names."""
        self.prepare(connection.client_address, connection.server)
        self.base_environ = connection.base_environ
        self.connection, self.id = connection, id
        self.changed = Event()
        self.request = Request()
        self.refusal = self.read_head(headers)

    # -- called by the connection's greenlet

    @property
    def is_over(self):
        """Whether both ends have said all, so that the client may take the stream for closed."""
        return self.ended and self.request.complete and self.error is None

    cdef object read_head(self, list headers):
        """Fill the request from *headers*; return a BadRequest if it is invalid, or None."""
        request, limits = self.request, self.limits
        request.version, request.keep_alive = "2", True
        authority = protocol = None
        size = 0
        for name, value in headers:
            size += len(name) + len(value) + 4
            if name == b":method":
                request.method = value.decode("latin-1")
            elif name == b":path":
                request.target = value
            elif name == b":authority":
                authority = value
            elif name == b":protocol":
                protocol = value
            elif name[:1] != b":":
                request.headers.append((name, value))
                add_field(request, name, value)
        if authority is not None:
            request.fields["HTTP_HOST"] = authority.decode("latin-1")
        if size > limits.header_size or len(request.headers) > limits.header_count:
            return BadRequest("431 Request Header Fields Too Large", "too many, or too long ones")
        if len(request.target) > limits.request_line:
            return BadRequest("414 URI Too Long", f"longer than {limits.request_line} bytes")
        # As in the Upgrade of HTTP/1.1, the case does not matter (RFC 9110, 7.8).
        if protocol is not None and protocol.lower() == b"websocket" and self.input_is_body:
            # The application sees what it would see over HTTP/1.1.
            self.tunnel = True
            request.method, request.upgrade = "GET", "websocket"
            request.fields["HTTP_CONNECTION"], request.fields["HTTP_UPGRADE"] = "Upgrade", "websocket"
        fault = fault_of(request, True)
        if fault is not None:
            return fault
        if not is_method(request.method):
            return BadRequest("400 Bad Request", "a method that is none")
        if request.target[:1] != b"/" and request.target != b"*":
            return BadRequest("400 Bad Request", "a path that is none")
        if "CONTENT_LENGTH" in request.fields:
            if self.tunnel:  # its data would end with that length, and h2 counts it
                return BadRequest("400 Bad Request", "a length of a tunnel")
            length = request.fields["CONTENT_LENGTH"]
            if not (length.isascii() and length.isdigit()):
                return BadRequest("400 Bad Request", "a length that is none")
            request.length = int(length)
        request.expects_continue = "HTTP_EXPECT" in request.fields
        return self.too_long(request.length or 0)

    cdef object too_long(self, size):
        most = self.limits.body_size
        if most is None or size <= most:
            return None
        return BadRequest("413 Content Too Large", f"the body is longer than {most} bytes")

    def add_body(self, bytes data, size):
        """Add *data* to the body; *size* is how many bytes of the client's credit it used."""
        request = self.request
        self.unread += size
        request.body_size += len(data)
        if not self.tunnel:
            self.fault = self.fault or self.too_long(request.body_size)
        if self.fault is None and data:
            request.keep(data)
        self.changed.set()

    def add_trailers(self, list headers):
        """Note *headers*, the trailers that follow the body."""
        if self.tunnel:
            return  # nobody reads them, and the end of a tunnel needs no check
        if len(headers) > self.limits.header_count:
            self.fault = BadRequest("431 Request Header Fields Too Large", "too many trailers")
        self.request.trailers = headers

    def end_body(self):
        """Note that the body has ended; check its length."""
        request = self.request
        if request.length is not None and request.length != request.body_size:
            self.fault = BadRequest("400 Bad Request", "a body of another length than it says")
        if self.fault is None:
            request.complete = True
        self.changed.set()

    def fail(self, error):
        """End the stream with *error*: nothing more can be received or sent."""
        if self.error is None:
            self.error = error
            self.changed.set()

    def forget(self, greenlet):
        """Have the connection forget the stream if *greenlet*, its own, was killed before it ran."""
        if not self.begun:
            self.connection.finish(self)

    def leave(self):
        """Close a WebSocket with 1001, because the server stops; other responses go on."""
        if self.websocket is not None:
            self.websocket.leave()

    def note_sent(self, long long size):
        """Note that *size* more bytes of the body were sent."""
        self.unsent = max(0, self.unsent - size)

    def wake(self):
        """Wake the greenlet that waits to send, so that it checks again."""
        self.changed.set()

    # -- called by the stream's own greenlet

    def handle(self):
        """Answer the request."""
        self.begun = True
        self.time_start = now() / 1e9
        if self.refusal is None and not self.request.body_size:
            self.refusal = self.fault  # no body will arrive
        try:
            if self.refusal is not None:
                self.refuse(self.refusal)
            elif self.error is None:  # not reset at once
                self.serve()
                self.connection.base_environ = self.base_environ
                if self.websocket is not None:
                    self.end_websocket()
        finally:
            self.methods = self.steps = None
            self.connection.finish(self)

    def pause(self, seconds):
        """Wait for a change; raise the stream's error, or TimeoutError after *seconds*."""
        if self.error is None and not self.changed.wait(seconds):
            raise TimeoutError(f"nothing came of the client for {seconds} seconds")
        self.changed.clear()
        if self.error is not None:
            raise self.error

    cdef end_websocket(self):
        self.websocket.end(self.failed)
        if self.switched and self.error is None:
            with suppress(OSError):  # the client is gone
                self.send_end()

    cdef offer_upgrade(self, environ):
        if self.tunnel:
            environ["wsgi.input"] = self.wsgi_input = Input(NO_BODY, None)
            self.offer_websocket(environ)

    def switch_protocols(self, headers):
        """Accept the tunnel with *headers*; return the end of it, and b"" for what came before.

        What is returned has the methods of a socket that a WebSocket needs.
        """
        # A tunnel has no length, and no body that write() could send.
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        self.start_response("200 OK", headers)
        self.switched = True
        self.head(-1)
        self.framing = NONE
        fields, self.fields = self.fields, None
        began = now()
        try:
            self.connection.send_headers(self, fields, False, True)
        except OSError as exc:
            self.note_error(exc, began)
            raise
        return Tunnel(self), b""

    cdef await_body(self, Request request):
        size, left = request.body_size, self.body_time
        self.connection.give_credit(self)
        deadline = None if left is None else now() / 1e9 + left
        while request.body_size == size and not request.complete:
            if self.fault is not None:
                raise self.fault
            self.pause(None if deadline is None else max(deadline - now() / 1e9, 0.0))

    cdef bytes head(self, long long known):
        if self.tunnel and not self.switched and 200 <= self.code < 300:
            # To the client this would mean that it has the tunnel (RFC 8441, 5).
            self.status, self.code = "501 Not Implemented", 501
        self.delimit(known)
        if self.code < 200:
            raise ValueError(f"HTTP/2 cannot answer {self.status!r}")
        self.fields = self.fields_of(str(self.code), self.lines)
        self.headers_sent = True
        return b""

    cdef list fields_of(self, str code, HeaderLines lines):
        fields = [(b":status", code.encode("ascii"))]
        for line in lines.text().split(b"\r\n"):
            if line:
                name, _, value = line.partition(b": ")
                fields.append((name.lower(), value))
        return fields

    cdef send_both(self, bytes head, bytes data, bint last):
        fields, self.fields = self.fields, None
        began = now()
        try:
            if fields is not None:
                self.connection.send_headers(self, fields, last and not data)
            if data or (last and fields is None):
                self.connection.send_data(self, data, last)
        except BaseException as exc:
            # The application may go on after a Timeout, and what it sends then is no continuation.
            self.connection.cut(self)
            if isinstance(exc, OSError):
                self.note_error(exc, began)
                self.close_connection = True
            raise
        finally:
            self.forget_unsent()

    cdef note_error(self, exc, long long began):
        """Note that the client is to blame for *exc*, unless the program threw it."""
        if not thrown_in(exc, began / 1e9, self.limits.write_time):
            self.client_error = exc

    cdef send_end(self):
        self.send_both(b"", b"", True)

    cdef send_interim(self, str status, HeaderLines lines):
        began = now()
        try:
            self.connection.send_headers(self, self.fields_of(status[:3], lines), False)
        except OSError as exc:
            self.note_error(exc, began)
            raise
