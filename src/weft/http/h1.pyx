# cython: binding=False
"""HTTP/1.1 as a server reads it: bytes in, requests out, no I/O.

llhttp parses, strictly: bare line feeds, folded lines, control characters, conflicting or odd
lengths and bad chunks are its errors. What it lets pass and a server must not is in
fault_of(). Compiled, because its callbacks are the larger part of a request's cost.
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr

cdef extern from "Python.h":
    PyObject *borrowed_item "PyDict_GetItemWithError"(object p, object key) except? NULL

try:
    from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
except ImportError as exc:
    raise ImportError("weft's HTTP server needs httptools: pip install 'weft[serve]'") from exc

__all__ = ["BadRequest", "Request", "RequestReader", "variable"]

# Methods that llhttp knows and that are for proxies and for other versions.
cdef frozenset NOT_SERVED = frozenset({"CONNECT", "PRI"})

# RFC 3986's characters of a host and a port, but the comma, which would be between two of them.
cdef bint[128] IN_HOST
for _at in range(128):
    IN_HOST[_at] = chr(_at).isalnum() or chr(_at) in "-._~!$&'()*+;=%:[]"


class BadRequest(Exception):
    """A request that is answered with *status*, without asking the application; then closed."""

    status = ""
    reason = ""

    def __init__(self, str status, str reason):
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


cdef class Request:
    """One request: its head, and as much of its body as has come and not been taken."""


    def __cinit__(self):
        self.method = self.version = self.upgrade = ""
        self.target = b""
        self.headers = []
        self.fields = {}


# Beyond llhttp's errors: what the head says that is wrong, and the status that is answered then.

cdef object fault_of(Request request):
    cdef dict fields = request.fields
    version = request.version
    if version != "1.1" and version != "1.0" and version != "2":
        return BadRequest("505 HTTP Version Not Supported", "a version that is not served")
    if request.method in NOT_SERVED:
        return BadRequest("501 Not Implemented", "a method that is not served")
    if memchr(PyBytes_AS_STRING(request.target), c"#", PyBytes_GET_SIZE(request.target)) != NULL:
        return BadRequest("400 Bad Request", "a target with a fragment")
    host = item(fields, "HTTP_HOST")
    if host is None:
        if version != "1.0":
            return BadRequest("400 Bad Request", "no Host")
    elif not is_host(host):
        return BadRequest("400 Bad Request", "a Host that is not one, or more than one")
    coding = item(fields, "HTTP_TRANSFER_ENCODING")
    if coding is not None:
        if version == "1.0":
            return BadRequest("400 Bad Request", "a transfer coding in HTTP/1.0")
        if coding.lower() != "chunked":
            return BadRequest("501 Not Implemented", "a transfer coding that is not just chunked")
    expected = item(fields, "HTTP_EXPECT")
    if expected is not None and expected.lower() != "100-continue":
        return BadRequest("417 Expectation Failed", "an expectation other than 100-continue")
    return None


cdef object item(dict fields, str name):
    cdef PyObject *found = borrowed_item(fields, name)
    return None if found == NULL else <object>found


cdef bint is_host(str host) except -1:
    cdef Py_UCS4 character
    for character in host:
        if character >= 128 or not IN_HOST[character]:
            return False
    return True


# Methods that came -> the same as text.
cdef dict METHODS = {}


cdef str method_of(bytes name):
    # llhttp knows some fifty, and no others.
    cdef PyObject *known = borrowed_item(METHODS, name)
    if known == NULL:
        METHODS[name] = name.decode("ascii")
        return METHODS[name]
    return <object>known


# Header names as they come -> names of RFC 3875; None is left out.
cdef dict VARIABLES = {b"Content-Length": "CONTENT_LENGTH", b"Content-Type": "CONTENT_TYPE"}
cdef Py_ssize_t MANY_NAMES = 4096


def variable(bytes name):
    """What RFC 3875 calls the header *name*; None where two headers could be meant."""
    if name in VARIABLES:
        return VARIABLES[name]
    key = name.decode("latin-1").upper().replace("-", "_")
    if b"_" in name:
        key = None
    elif key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        key = f"HTTP_{key}"
    if len(VARIABLES) < MANY_NAMES:
        VARIABLES[name] = key
    return key


cdef str text_of(bytes value):
    """Without blanks at the end; llhttp took those before it."""
    cdef const char *data = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    while size > 0 and data[size - 1] in (c" ", c"\t"):
        size -= 1
    return PyUnicode_DecodeLatin1(data, size, NULL)


cdef int add_field(Request request, bytes name, bytes value) except -1:
    cdef PyObject *known = borrowed_item(VARIABLES, name)
    cdef dict fields = request.fields
    key = variable(name) if known == NULL else <object>known
    if key is not None:
        text = text_of(value)
        before = item(fields, key)
        if before is not None:
            text = before + ("; " if key.startswith("HTTP_COOKIE") else ",") + text
        fields[key] = text
    return 0


cdef class RequestReader:
    """Makes requests of the bytes of one connection."""


    def __init__(self, limits):
        self.limits = limits
        self.ready = []
        self.request = Request()
        self.most_in_head = limits.header_size
        self.most_in_line = limits.request_line
        self.most_headers = limits.header_count
        self.most_in_body = -1 if limits.body_size is None else limits.body_size
        self.parser = HttpRequestParser(self)

    cpdef feed(self, bytes data):
        """Take what the client sent."""
        if self.rest is not None:
            self.rest += data
            return
        if self.error is not None:
            return
        if self.in_head:
            self.fed += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0]:]
        except HttpParserError as exc:
            cause = exc.__context__
            self.error = (
                cause if isinstance(cause, BadRequest) else BadRequest("400 Bad Request", str(exc))
            )
        if self.error is None and self.in_head and self.fed > self.most_in_head:
            self.error = too_large()

    def resume(self):
        """Stay with HTTP/1.1 after a request asked for another protocol, and read its body.

        llhttp takes such a message to end with its head. Another one is told what it has to know
        of that head, and goes on with what followed.
        """
        cdef Request request = self.request
        cdef bytes rest = self.rest
        if rest is None:
            return
        framing = b""
        if request.chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif request.length is not None:
            framing = b"Content-Length: %d\r\n" % request.length
        if not request.keep_alive:
            framing += b"Connection: close\r\n"
        request.complete, self.rest, self.resuming = False, None, True
        self.parser = HttpRequestParser(self)
        self.feed(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        self.feed(rest)

    # -- what the parser calls

    def on_message_begin(self):
        if not self.resuming:
            self.request = Request()
            self.in_head = True
            self.head_size = self.fed = 0

    def on_url(self, bytes url):
        cdef Request request = self.request
        if self.resuming:
            return
        request.target = request.target + url if request.target else url
        if len(request.target) > self.most_in_line:
            raise BadRequest("414 URI Too Long", f"longer than {self.most_in_line} bytes")

    def on_header(self, bytes name, bytes value):
        cdef Request request = self.request
        cdef list headers
        if self.resuming:
            return
        self.head_size += len(name) + len(value) + 4
        if self.in_head:
            headers = request.headers
        else:
            if request.trailers is None:
                request.trailers = []
            headers = request.trailers
        headers.append((name, value))
        if self.head_size > self.most_in_head or len(headers) > self.most_headers:
            raise too_large()
        if not self.in_head:
            return
        add_field(request, name, value)

    def on_headers_complete(self):
        cdef Request request = self.request
        cdef dict fields = request.fields
        if self.resuming:
            self.resuming = False
            return
        request.method = method_of(self.parser.get_method())
        request.version = self.parser.get_http_version()
        fault = fault_of(request)
        if fault is not None:
            raise fault
        request.keep_alive = self.parser.should_keep_alive()
        request.chunked = item(fields, "HTTP_TRANSFER_ENCODING") is not None
        length = item(fields, "CONTENT_LENGTH")
        if length is not None:
            request.length = int(length)
            self.check_size(request.length)
        request.expects_continue = (
            request.version == "1.1" and item(fields, "HTTP_EXPECT") is not None
        )
        if self.parser.should_upgrade():
            request.upgrade = fields.get("HTTP_UPGRADE", "").lower()
        self.in_head = False
        self.head_size = 0
        self.ready.append(request)

    def on_body(self, bytes data):
        cdef Request request = self.request
        request.body_size += len(data)
        self.check_size(request.body_size)
        if request.body is None:
            request.body = deque()
        request.body.append(data)

    def on_message_complete(self):
        self.request.complete = True

    cdef int check_size(self, size) except -1:
        if 0 <= self.most_in_body < size:
            raise BadRequest(
                "413 Content Too Large", f"the body is longer than {self.most_in_body} bytes"
            )
        return 0


cdef object too_large():
    return BadRequest("431 Request Header Fields Too Large", "too many headers, or too long ones")
