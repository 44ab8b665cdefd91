# cython: nonecheck=True
"""WSGI (PEP 3333) for an exchange: the environment, start_response() and the body."""

from urllib.parse import unquote_to_bytes

from treadle.http.body import FileWrapper, Input

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy, PyDict_Update
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr

from treadle.http.exchange cimport Exchange, as_bytes
from treadle.http.h1 cimport host_of_target
from treadle.http.response cimport header_lines, status_of

cdef extern from "Python.h":
    PyObject *borrowed_at "PyTuple_GET_ITEM"(object items, Py_ssize_t at)
    Py_ssize_t references_to "Py_REFCNT"(PyObject *what)

__all__ = ["WSGIExchange"]

# The keys of the environment whose values are each request's own.
cdef tuple OF_REQUESTS = (
    "REMOTE_ADDR", "REMOTE_PORT", "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REQUEST_URI",
    "RAW_URI", "SERVER_PROTOCOL", "wsgi.input", "wsgi.early_hints",
)
cdef dict PROTOCOLS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0", "2": "HTTP/2"}


cdef class Steps:
    """Steps()\n--\n
    What an application may do while its request is served: later, each step raises an error.
    """

    cdef WSGIExchange exchange
    cdef bint over

    def start_response(self, status, headers, exc_info=None):
        """Set the status and the headers; return :meth:`write` (PEP 3333)."""
        self.check()
        return self.exchange.start_response(status, headers, exc_info)

    def write(self, data):
        """Send *data* as part of the body."""
        self.check()
        return self.exchange.write(data)

    def receive_body(self, request):
        """Wait for more of the body of *request*."""
        if self.over:
            raise ConnectionAbortedError("the request is over")
        return self.exchange._receive_body(request)

    def early_hints(self, headers):
        """``wsgi.early_hints``: send *headers*, mostly Link, before the response (RFC 8297)."""
        self.check()
        return self.exchange._early_hints(headers)

    def __getattr__(self, name):
        # Programs find gevent's handler by ``start_response.__self__``.
        return getattr(self.exchange, name)

    cdef int check(self) except -1:
        if self.over:
            raise self.exchange.ApplicationError("the request is over")
        return 0


cdef bint are_kept(tuple methods):
    """Return whether anything but *methods* refers to one of them."""
    cdef Py_ssize_t at
    for at in range(len(methods)):
        if references_to(borrowed_at(methods, at)) > 1:
            return True
    return False


cdef class WSGIExchange(Exchange):
    """WSGIExchange()\n--\n
    Calls a WSGI application for a request.
    """

    cdef prepare(self, address, server):
        self.base_environ = None
        self.input_is_body = server.policy.input_is_body
        Exchange.prepare(self, address, server)

    cdef forget_response(self):
        Exchange.forget_response(self)
        self.environ = {}
        self.result = None
        self.wsgi_input = None
        self.websocket = None
        self.switched = False

    cdef begin(self):
        cdef Steps steps
        if self.methods is not None and are_kept(self.methods):
            self.methods = None  # the next request gets others, so that these remain dead
        self.bound()
        steps = self.steps
        steps.over = False
        self.environ = self.get_environ()

    cdef leave(self):
        cdef Steps steps = self.steps
        if steps is not None:
            steps.over = True

    cdef tuple bound(self):
        cdef Steps steps
        if self.methods is None:
            self.steps = steps = Steps()
            steps.exchange = self
            self.methods = (
                steps.start_response, steps.write, steps.receive_body, steps.early_hints
            )
        return self.methods

    # -- the request

    cpdef get_environ(self):
        """Return the WSGI environment of the request (PEP 3333)."""
        request = self.request
        if self.base_environ is None:
            self.base_environ = self.connection_environ()
        base = self.base_environ
        cdef dict environ = PyDict_Copy(base)
        PyDict_Update(environ, request.fields)
        cdef const char *data = PyBytes_AS_STRING(request.target)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(request.target)
        target = PyUnicode_DecodeLatin1(data, size, NULL)
        if target[0] != "/" and target != "*":
            # Its host replaces that of the headers (RFC 9112, 3.2).
            host = environ["HTTP_HOST"] = host_of_target(request.target)
            target = target.partition("://")[2][len(host):]
            if target[:1] != "/":
                target = "/" + target
        path, query = target, ""
        if memchr(data, c"?", size) != NULL:
            path, _, query = target.partition("?")
        if memchr(data, c"%", size) != NULL:
            path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = self.remote_address, self.remote_port
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        environ["SERVER_PROTOCOL"] = PROTOCOLS[request.version]
        if self.forwarded is not None:
            self.forwarded.apply(environ)
        begin = None
        if request.expects_continue and not self.policy.omit_late_continue:
            begin = self._continue
        environ["wsgi.input"] = self.wsgi_input = Input(request, self.bound()[2], begin)
        environ["wsgi.early_hints"] = self.bound()[3]
        if request.upgrade or not self.input_is_body:
            self.offer_upgrade(environ)
        if type(base) is dict:
            return environ
        found = base.copy()  # keeps the class that the server chose
        found.update(environ)
        return found

    cdef connection_environ(self):
        """Return what the environments of all requests contain.

        Connections share one object if theirs are equal.
        """
        environ = self.server.get_environ()
        environ["wsgi.input_terminated"] = True
        environ["wsgi.file_wrapper"] = FileWrapper
        for name in OF_REQUESTS:
            environ.setdefault(name, "")  # so that a copy has room for them
        shared = getattr(self.server, "shared_environ", None)
        if shared is not None and type(shared) is type(environ) and shared == environ:
            return shared
        self.server.shared_environ = environ
        return environ

    # -- the response

    cpdef run_application(self):
        """Call the application and process its result."""
        try:
            self.result = self.application(self.environ, self.bound()[0])
            self.process_result()
        finally:
            if type(self.result) is not list and type(self.result) is not tuple:
                close = getattr(self.result, "close", None)
                if close is not None:
                    close()

    def start_response(self, status, headers, exc_info=None):
        """Set the status and the headers; return :meth:`write` (PEP 3333).

        Nothing is sent before the body begins or ends.
        """
        if exc_info:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            if self.switched:
                return self.bound()[1]  # a framework answers after a WebSocket too: ignored
            raise self.ApplicationError("start_response() was called already")
        code = status_of(status).code
        if code < 200 and code != 101:
            raise ValueError(f"a response cannot have the status {status!r}: it is an interim one")
        self.lines = header_lines(headers, code)
        self.status, self.code = status, code
        self.response_headers = headers
        return self.bound()[1]

    def write(self, data):
        """Send *data* as part of the body, with the head before it if that was not sent."""
        if self.code == 304 or self.code == 204:
            self.check_forbidden(data)
        self.send_part(data if type(data) is bytes else as_bytes(data))

    cpdef process_result(self):
        """Send the body that the application returned."""
        result = self.result
        if self.switched:
            return
        if type(result) is list or type(result) is tuple:
            if not self.headers_sent:
                self.send_whole(b"".join(result) if len(result) != 1 else result[0])
                return
        elif type(result) is FileWrapper and self.send_file(result):
            return
        for data in result:
            if data:
                self.write(data)
        self.finish()

    def _early_hints(self, headers):
        """``wsgi.early_hints``: send *headers*, mostly Link, before the response (RFC 8297)."""
        if self.request.version != "1.0" and not self.headers_sent:
            self.send_interim("103 Early Hints", header_lines(headers, 103))

    # -- WebSockets

    cdef offer_websocket(self, environ):
        """Add ``wsgi.websocket`` to *environ* if the request is a WebSocket's valid handshake."""
        from treadle.websocket import of_request

        self.websocket = of_request(self, environ)
        if self.websocket is not None:
            environ["wsgi.websocket"] = self.websocket
            environ["wsgi.websocket_version"] = "13"

    def blame_client(self, error):
        """Do not report *error*, which the client caused, if the application raises it."""
        self.client_error = error

    # -- methods that a protocol may override

    cdef offer_upgrade(self, environ):
        """Add to *environ* what the application needs to change to the protocol asked for."""

    cdef bint send_file(self, wrapper) except -1:
        """Let the system send a regular file; return False if that is not possible."""
        return False
