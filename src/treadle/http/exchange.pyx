# cython: binding=False
"""One request and its answer, whatever protocol carries them and whatever application answers.

The methods without an underscore have the names, and are called at the points, of
gevent.pywsgi's handler, whose subclasses override them.
"""

import sys
import traceback
from contextlib import suppress

from greenlet import getcurrent

from treadle.http.h1 import BadRequest
from treadle.http.log import SILENCE

from treadle._core.clock cimport now
from treadle.http.counters cimport Counters
from treadle.http.h1 cimport Request
from treadle.http.response cimport (
    CHUNKED,
    LENGTH,
    NONE,
    HeaderLines,
    frame,
    header_lines,
    status_of,
)

__all__ = ["Exchange"]


cdef class Exchange:
    """Has an application answer a request, and gives the answer to a protocol.

    Subclasses add the kind of application (:class:`treadle.http.wsgi.WSGIExchange`), and theirs the
    protocol.
    """

    #: What is raised for what an application must not do.
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
        self.forget_response()

    cdef forget_response(self):
        """Forget the response before."""
        self.status = None
        self.code = 0
        self.response_headers = None
        self.headers_sent = False
        self.response_length = 0
        self.lines = None
        self.framing = NONE
        self.left = 0  # of a body whose length was told
        self.continued = False
        self.client_error = None
        self.refusal = None
        self.failed = False
        self.time_start = self.time_finish = 0.0

    cdef serve(self):
        """Let the application answer the request."""
        self.application = self.server.application
        self.body_time = self.most_body_time
        self.begin()
        if self.context is None or len(self.context):
            # The last request's is used again only if it left nothing there.
            current = getcurrent()
            self.context = current.gr_context = self.server.context.copy()
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
            seconds = self.time_finish - self.time_start
            self.counters.count_request(self.code, seconds, self.response_length)

    # -- what a kind of application does

    cdef begin(self):
        """Make what the application is told of the request."""
        raise NotImplementedError

    cpdef run_application(self):
        """Call the application and send what it answers."""
        raise NotImplementedError

    # -- the request

    def _receive_body(self, Request request):
        """Wait for more of the body of *request*; what :class:`Input` does."""
        if self.client_error is not None:
            raise self.client_error
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
        """Tell the client that its body is wanted, once."""
        if not self.continued:
            self.continued = True
            self.send_interim("100 Continue", HeaderLines())

    # -- the response

    cpdef handle_one_response(self):
        """Run the application and send what it answers."""
        try:
            try:
                self.run_application()
            except Exception as exc:
                if exc is not self.client_error or not self.is_forgiven(exc):
                    self.handle_error(*sys.exc_info())
                else:
                    self.answer_client_error()
        finally:
            self.time_finish = now() / 1e9
            self.log_request()

    cdef send_part(self, bytes data):
        """Send *data* as part of the body, after the head if that was not sent."""
        head = b"" if self.headers_sent else self.head(-1)
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
        self.send_both(head, data, False)

    cdef send_whole(self, data):
        """Send *data*, which is the whole body, and the head."""
        if self.lines is None and not data and self.left_to_itself():
            return
        if self.code == 304 or self.code == 204:
            self.check_forbidden(data)
        cdef bytes body = data if type(data) is bytes else as_bytes(data)
        head = self.head(len(body))
        self.response_length = len(body)
        if self.framing is NONE:
            body = b""
        elif self.left != len(body):
            self.report_length(len(body))
            body = body[: self.left]
        self.send_both(head, body, self.framing is NONE or self.left == len(body))

    cdef report_length(self, long long length):
        self.close_connection = True
        self.report(f"the body has {length} bytes, and its Content-Length says {self.left}")

    cdef finish(self):
        """The application has returned all of the body."""
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

    cdef int check_forbidden(self, data) except -1:
        """Refuse *data* of a body where there can be none, if that is not left out."""
        if data and not self.policy.omit_forbidden_body:
            raise self.ApplicationError(f"The {self.code} response must have no body")
        return 0

    cdef int delimit(self, long long known) except -1:
        """Settle how the body is delimited, and add to the head what says so, and the date.

        *known* is the body's length where nothing else says it, or -1.
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
        """Whether the application may have answered by itself, if it told nobody."""
        return False

    cdef await_body(self, Request request):
        """Wait for more of the body, for ``body_time`` at most: TimeoutError after that.

        Raises OSError if none can come, BadRequest if it is not as it must be.
        """
        raise NotImplementedError

    cdef bytes head(self, long long known):
        """Make the head, with what delimit() says of the body; what send_both() has to send."""
        raise NotImplementedError

    cdef send_both(self, bytes head, bytes data, bint last):
        """Send a head, if there is one, and part of the body; *last*: nothing follows."""
        raise NotImplementedError

    cdef send_end(self):
        """Tell the end of the body, of which something was sent."""
        raise NotImplementedError

    cdef send_interim(self, str status, HeaderLines lines):
        """Send a head with *status*, before the one of the answer."""
        raise NotImplementedError

    cdef bint is_forgiven(self, error) except -1:
        """Whether *error*, the client's doing, is no failure of an application that lets it pass."""
        return True

    # -- errors and the log

    def handle_error(self, t, v, tb):
        """Report what the application raised; 500 if the head was not sent, else end it."""
        self.failed = True
        self._log_error(t, v, tb)
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
        if self.refusal is not None and not self.headers_sent:
            self.answer(self.refusal.status)

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

    cpdef log_request(self):
        """Write a line about the request and its answer to the server's log."""
        log = self.server.log
        if log is not SILENCE:
            log.write(self.format_request() + "\n")

    def format_request(self):
        """The line that :meth:`log_request` writes."""
        raise NotImplementedError


cdef bytes as_bytes(data):
    if isinstance(data, str):
        if not data:
            return b""  # how gevent-websocket asks for the head alone
        raise TypeError(f"a body is made of bytes, not of str like {data[:40]!r}")
    return bytes(memoryview(data))
