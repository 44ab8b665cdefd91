# cython: nonecheck=True
"""One request and its response, independent of the protocol and the kind of application.

The methods without an underscore have the names of methods of gevent.pywsgi's handler, and are
called at the same points, so that subclasses can override them.
"""

import sys
import traceback
from contextlib import suppress

from greenlet import GreenletExit, getcurrent

from treadle._core.thrown import thrown_in
from treadle.http.h1 import BadRequest
from treadle.http.log import SILENCE

from treadle._core.clock cimport now
from treadle._core.context cimport copy_of
from treadle.http.counters cimport Counters
from treadle.http.h1 cimport Request
from treadle.http.response cimport (
    CHUNKED,
    LENGTH,
    NONE,
    HeaderLines,
    chunk_of,
    frame,
    header_lines,
    status_of,
)

__all__ = ["Exchange"]


cdef class Exchange:
    """Exchange()\n--\n
    Lets an application answer a request, and sends the response with a protocol.

    A subclass implements a kind of application (:class:`treadle.http.wsgi.WSGIExchange`), and its
    subclasses each implement a protocol.
    """

    #: The exception for an application that breaks the rules.
    ApplicationError = AssertionError

    cdef prepare(self, address, server):
        self.client_address = address
        self.server = server
        self.application = None
        self.limits, self.policy = server.limits, server.policy
        self.most_body_time = self.limits.body_time
        self.close_connection = False
        self.counters = getattr(server, "counters", None)
        self.remote_address = self.remote_port = ""
        if isinstance(address, tuple):
            self.remote_address, self.remote_port = address[0], str(address[1])
        forwarded = getattr(server, "forwarded", None)
        self.forwarded = forwarded if forwarded is not None and address in forwarded.trusted else None
        self.forget_response()

    cdef forget_response(self):
        """Reset the state of the last response."""
        self.status = None
        self.code = 0
        self.response_headers = None
        self.headers_sent = False
        self.response_length = 0
        self.lines = None
        self.framing = NONE
        self.left = self.unsent = 0
        self.continued = False
        self.client_error = None
        self.refusal = None
        self.failed = self.overrun = self.whole = False
        self.time_start = self.time_finish = 0.0

    cdef serve(self):
        """Let the application answer the request."""
        self.application = self.server.application
        self.body_time = self.most_body_time
        self.begin()
        if self.context is None or len(self.context):
            # The last request's context is used again only if it is still empty.
            current = getcurrent()
            self.context = current.gr_context = copy_of(self.server.context)
        if self.counters is None:
            self.handle_one_response()
        else:
            self.handle_counted()

    cdef handle_counted(self):
        self.counters.active += 1
        try:
            self.handle_one_response()
        finally:
            self.counters.active -= 1
            self.count()

    cdef count(self):
        seconds = self.time_finish - self.time_start
        self.counters.count_request(self.code, seconds, self.response_length)

    # -- what a kind of application does

    cdef begin(self):
        """Prepare what the application gets of the request."""
        raise NotImplementedError

    cdef leave(self):
        """Take from the application what it got of the request; the response has ended."""
        raise NotImplementedError

    cpdef run_application(self):
        """Call the application and send its response."""
        raise NotImplementedError

    # -- the request

    def _receive_body(self, Request request):
        """Wait for more of the body of *request*; :class:`Input` calls this."""
        if self.client_error is not None:
            raise self.client_error
        before = now()
        try:
            if request.expects_continue and not request.body_size:
                self._continue()
            if self.body_time is not None and self.body_time <= 0:
                raise TimeoutError("the body took too long")
            before = now()
            self.await_body(request)
            if self.body_time is not None:
                self.body_time -= (now() - before) / 1e9
        except TimeoutError as exc:
            if thrown_in(exc, before / 1e9, self.body_time):
                raise  # by the application's own time limit
            self.refusal = BadRequest("408 Request Timeout", "the body took too long")
            self.client_error = exc
            raise
        except BadRequest as exc:
            self.client_error = self.refusal = exc
            raise
        except OSError as exc:
            self.client_error = exc
            raise

    def _continue(self):
        """Send 100 Continue once, to ask the client for its body, unless the head was sent."""
        if not self.continued:
            self.continued = True
            if not self.headers_sent:
                self.send_interim("100 Continue", HeaderLines())

    # -- the response

    cpdef handle_one_response(self):
        """Run the application, send its response, and log the request."""
        try:
            try:
                self.run_application()
            except BaseException as exc:
                # Whatever leaves an application gets an answer, a Timeout or SystemExit too.
                if exc is not self.client_error or not self.is_forgiven(exc):
                    self.handle_error(*sys.exc_info())
                else:
                    self.answer_client_error()
        finally:
            self.leave()
            self.time_finish = now() / 1e9
            self.log_request()

    cdef send_part(self, bytes data):
        """Send *data* as part of the body, with the head before it if that was not sent."""
        head = b"" if self.headers_sent else self.head(-1)
        framing = self.framing
        cdef Py_ssize_t size = len(data)
        if framing is CHUNKED:
            if data:
                data = chunk_of(data)
        elif framing is LENGTH:
            if size > self.left:
                self.report_length(self.response_length + size)
                size = self.left
                data = data[:size]
            self.left -= size
        elif framing is NONE:
            size = 0
            data = b""
        self.response_length += size
        self.unsent = size
        self.send_both(head, data, False)

    cdef send_whole(self, data):
        """Send the head and *data*, which is the whole body."""
        if self.lines is None and not data and self.left_to_itself():
            return
        if self.code == 304 or self.code == 204:
            self.check_forbidden(data)
        cdef bytes body = data if type(data) is bytes else as_bytes(data)
        head = self.head(len(body))
        if self.framing is NONE:
            body = b""
        elif self.left != len(body):
            self.report_length(len(body))
            body = body[: self.left]
        self.response_length = self.unsent = len(body)
        self.send_both(head, body, self.framing is NONE or self.left == len(body))
        self.whole = True

    cdef forget_unsent(self):
        """Count only what was sent: the rest of the body cannot be."""
        self.response_length -= self.unsent
        self.unsent = 0

    cdef report_length(self, long long length):
        self.close_connection = True
        if not self.overrun:
            self.overrun = True
            says = self.lines.length if self.lines.length >= 0 else self.left
            self.report(f"the body has {length} bytes or more, and its Content-Length says {says}")

    cdef finish(self):
        """End the response, after the application has returned all of the body."""
        if not self.headers_sent:
            if self.lines is None and self.left_to_itself():
                return
            head = self.head(0 if self.policy.tell_empty_length else -1)
            self.send_both(head, b"", self.framing is not CHUNKED)
            if self.framing is CHUNKED:
                self.send_end()
        elif self.framing is LENGTH and self.left:
            self.close_connection = True
            self.report(f"the body lacks {self.left} bytes of its Content-Length")
        else:
            self.send_end()
        self.whole = True

    cdef int check_forbidden(self, data) except -1:
        """Raise ApplicationError for *data* of a forbidden body, unless the policy omits it."""
        if data and not self.policy.omit_forbidden_body:
            raise self.ApplicationError(f"The {self.code} response must have no body")
        return 0

    cdef int delimit(self, long long known) except -1:
        """Choose how the body is delimited; add the headers that say so, and the date.

        *known* is the length of the body in bytes, if there is no Content-Length, or -1.
        """
        lines = self.lines
        if lines is None or self.status is None:
            raise self.ApplicationError("the application did not call start_response()")
        request = self.request
        self.framing = frame(request.method, request.version, self.code, lines, known)
        if self.framing is LENGTH:
            self.left = known if lines.length < 0 else lines.length
        if not lines.has_date and self.code >= 200:
            lines.add_date()
        return 0

    # -- what a protocol does

    cdef bint left_to_itself(self) except -1:
        """Return whether an application without start_response() may have answered by itself."""
        return False

    cdef await_body(self, Request request):
        """Wait for more of the body; raise TimeoutError after ``body_time``.

        Raises OSError if no more can come, and BadRequest if the body is malformed.
        """
        raise NotImplementedError

    cdef bytes head(self, long long known):
        """Make the head, delimit the body with delimit(), and return the bytes for send_both()."""
        raise NotImplementedError

    cdef send_both(self, bytes head, bytes data, bint last):
        """Send *head*, if it is not empty, and *data* of the body; if *last*, nothing follows.

        It lowers ``unsent`` by what is sent, and calls forget_unsent() if no more can be.
        """
        raise NotImplementedError

    cdef send_end(self):
        """Send the end of the body, if no send_both() was the last."""
        raise NotImplementedError

    cdef send_interim(self, str status, HeaderLines lines):
        """Send an interim response with *status*, before the response itself."""
        raise NotImplementedError

    cdef bint is_forgiven(self, error) except -1:
        """Return whether *error*, which the client caused, is not a failure of the application."""
        return True

    # -- errors and the log

    def handle_error(self, t, v, tb):
        """Log an exception of the application and close the connection after the response.

        Answers 500 if the head was not sent.
        """
        self.failed = True
        self._log_error(t, v, tb)
        self.close_connection = True
        if not self.headers_sent:
            self.answer("500 Internal Server Error")

    def _log_error(self, typ, value, tb):
        """Write an exception of the application to the server's error log; none for a kill."""
        if not issubclass(typ, GreenletExit):
            self.report("".join(traceback.format_exception(typ, value, tb)))

    def error_body(self, status):
        """Return the body of an error response that the server itself makes."""
        return f"{status}\n"

    cdef answer_client_error(self):
        self.close_connection = True
        if self.refusal is not None and not self.headers_sent:
            self.answer(self.refusal.status)

    cdef refuse(self, error):
        """Answer a malformed request with the status of *error*, a BadRequest."""
        began = self.time_start
        self.forget_response()
        self.time_start = began
        self.close_connection = True
        self.answer(error.status)
        self.time_finish = now() / 1e9
        if self.counters is not None:
            self.count()
        self.log_request()

    cdef answer(self, status):
        """Send a short response that the server itself makes; the connection ends after it."""
        body = self.error_body(status).encode("ascii")
        self.status, self.code = status, int(status[:3])
        self.lines = header_lines([("Content-Type", "text/plain; charset=utf-8")], self.code)
        self.client_error = None
        with suppress(OSError):  # the client may be gone
            self.send_whole(body)

    cdef report(self, text):
        log = self.server.error_log
        with suppress(Exception):  # a log that fails must not cost anyone the answer
            log.write(text if text.endswith("\n") else text + "\n")

    cpdef log_request(self):
        """Write a line about the request and its response to the server's log."""
        log = self.server.log
        if log is not SILENCE:
            with suppress(Exception):
                log.write(self.format_request() + "\n")

    def format_request(self):
        """Return the line that :meth:`log_request` writes, without its end."""
        raise NotImplementedError


cdef bytes as_bytes(data):
    if isinstance(data, str):
        if not data:
            return b""  # gevent-websocket writes "" to send only the head
        raise TypeError(f"a body is made of bytes, not of str like {data[:40]!r}")
    return bytes(memoryview(data))
