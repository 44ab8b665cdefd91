"""HTTP/1.1 as a server reads it: bytes in, requests out, no I/O.

llhttp parses strictly: it rejects bare line feeds, folded lines, control characters, conflicting
or odd lengths and bad chunks. fault_of() rejects what llhttp accepts and a server must not.

llhttp knows a list of methods, and HTTP does not: the reader itself reads the method of each
request, and llhttp, which stops after each request, gets PUT for one that it does not know.
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcmp

from treadle.http.policy import STRICT

cdef extern from "Python.h":
    PyObject *borrowed_item "PyDict_GetItemWithError"(object p, object key) except? NULL

__all__ = ["BadRequest", "Request", "RequestReader", "is_host", "variable"]

# Methods that are for proxies and for other versions of HTTP.
cdef frozenset NOT_SERVED = frozenset({"CONNECT", "PRI"})

# The methods by which llhttp parses requests: its numbers 0 to 33, and QUERY. The others that it
# knows are of RTSP, and PRI, after which it wants what HTTP/2 begins with.
cdef dict METHODS = {
    (<bytes>llhttp_method_name(_at)): (<bytes>llhttp_method_name(_at)).decode("ascii")
    for _at in (*range(34), 46)
}

cdef enum:
    SMALL = 2048  # bytes of a body

# The characters of a method (RFC 9110, 5.6.2).
cdef bint[256] IN_METHOD
for _at in range(256):
    IN_METHOD[_at] = _at < 128 and (chr(_at).isalnum() or chr(_at) in "!#$%&'*+-.^_`|~")

# RFC 3986's characters of a host and a port, without the comma, which would separate two hosts.
cdef bint[128] IN_HOST
for _at in range(128):
    IN_HOST[_at] = chr(_at).isalnum() or chr(_at) in "-._~!$&'()*+;=%:[]"


# The parts of a host.
cdef enum HostPart:
    AT_START, IN_NAME, IN_BRACKETS, AFTER_BRACKETS, IN_PORT


cdef object item(dict table, object key):
    cdef PyObject *found = borrowed_item(table, key)
    return None if found == NULL else <object>found


class BadRequest(Exception):
    """An invalid request, which is answered with *status*; then the connection is closed.

    The exception is raised to an application that reads an invalid body.
    """

    status = ""
    reason = ""

    def __init__(self, str status, str reason):
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


cdef class Request:
    """Request()\n--\n
    One request: its head, and the part of its body that has arrived and was not read.
    """

    def __cinit__(self):
        self.method = self.version = self.upgrade = ""
        self.target = b""
        self.headers = []
        self.fields = {}

    cdef int keep(self, bytes data) except -1:
        # Small pieces are joined: each costs 33 bytes beside its own.
        cdef object body = self.body
        cdef bytes last
        if body is None:
            body = self.body = deque()
        elif body:
            last = body.pop()
            if len(last) + len(data) <= SMALL:
                data = last + data
            else:
                body.append(last)
        body.append(data)
        return 0


# Errors of a head that llhttp does not find, and the status that is answered for each.

cdef object fault_of(Request request, bint host_required):
    cdef dict fields = request.fields
    version = request.version
    if version != "1.1" and version != "1.0" and version != "2":
        return BadRequest("505 HTTP Version Not Supported", "a version that is not served")
    if request.method in NOT_SERVED:
        return BadRequest("501 Not Implemented", "a method that is not served")
    if memchr(PyBytes_AS_STRING(request.target), c"#", PyBytes_GET_SIZE(request.target)) != NULL:
        return BadRequest("400 Bad Request", "a target with a fragment")
    if has_blanks(request.target):
        return BadRequest("400 Bad Request", "a target with a blank or a control character")
    if not is_target(request.target, request.method):
        return BadRequest("400 Bad Request", "a target that is none")
    host = item(fields, "HTTP_HOST")
    if host is None:
        if host_required and version != "1.0":
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
    if expected is not None and not is_continue(expected):
        return BadRequest("417 Expectation Failed", "an expectation other than 100-continue")
    return None


cdef bint is_continue(str expected) except -1:
    """Return whether nothing but 100-continue is *expected*, which may be said more than once."""
    if expected == "100-continue":
        return True
    return all([each.strip(" \t").lower() == "100-continue" for each in expected.split(",")])


cdef bint has_blanks(bytes target) noexcept:
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(target)
    cdef Py_ssize_t at
    for at in range(PyBytes_GET_SIZE(target)):
        if data[at] <= 32 or data[at] == 127:
            return True
    return False


cdef bint is_target(bytes target, str method) except -1:
    """Return whether *target* is a path, or has a host (RFC 9112, 3.2); or asks about the server."""
    if target[:1] == b"/":
        return True
    if target[:1] == b"*":
        return method == "OPTIONS" and target == b"*"
    host = host_of_target(target)
    return host != "" and is_host(host)


cdef str host_of_target(bytes target):
    """Return the host, with the port, of an absolute *target*; "" for another one."""
    if target[:1] == b"/":
        return ""
    _, _, rest = target.partition(b"://")
    end = min([at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0], default=len(rest))
    return rest[:end].decode("latin-1")


cpdef bint is_host(str host) except -1:
    """Return whether *host* is a host, with or without a port (RFC 3986, 3.2.2 and 3.2.3)."""
    cdef Py_UCS4 character
    cdef HostPart part = AT_START
    for character in host:
        if part == IN_PORT:
            if not c"0" <= character <= c"9":
                return False
        elif character >= 128 or not IN_HOST[character]:
            return False
        elif character == c"[":
            if part != AT_START:
                return False
            part = IN_BRACKETS
        elif character == c"]":
            if part != IN_BRACKETS:
                return False
            part = AFTER_BRACKETS
        elif part == IN_BRACKETS:
            continue
        elif character == c":":
            part = IN_PORT
        elif part == AFTER_BRACKETS:
            return False
        else:
            part = IN_NAME
    return part != IN_BRACKETS


cdef bint is_method(str method) except -1:
    cdef Py_UCS4 character
    for character in method:
        if character >= 256 or not IN_METHOD[character]:
            return False
    return bool(method)


cdef str version_of(llhttp_t *parser):
    if parser.http_major == 1 and parser.http_minor <= 1:
        return "1.1" if parser.http_minor else "1.0"
    return f"{parser.http_major}.{parser.http_minor}"


# Cache: header names as received -> names of RFC 3875. None means that the header is left out.
cdef dict VARIABLES = {b"Content-Length": "CONTENT_LENGTH", b"Content-Type": "CONTENT_TYPE"}


def variable(bytes name):
    """Return the RFC 3875 name of the header *name*; None if it could mean two headers."""
    if name in VARIABLES:
        return VARIABLES[name]
    key = name.decode("latin-1").upper().replace("-", "_")
    if b"_" in name:
        key = None
    elif key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        key = f"HTTP_{key}"
    if len(VARIABLES) < MANY_NAMES and len(name) <= LONG_NAME:
        VARIABLES[name] = key
    return key


cdef str text_of(bytes value):
    """Return *value* as text without blanks at its end; llhttp removed those at its start."""
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


cdef inline int add_to_head(RequestReader reader, const char *at, size_t size) except -1:
    """Count *size* bytes at *at*, of the names and values of a head or of trailers."""
    if not reader.resuming:
        reader.head_size += size
        if reader.in_head:
            reader.check_head(at + size + len(b"\r\n\r\n"))
        elif reader.head_size > reader.most_in_trailers:
            raise too_large()
    return 0


cdef class RequestReader:
    """RequestReader(limits, policy=None)\n--\n
    Parses the bytes of one connection into requests.
    """

    def __cinit__(self):
        self.ready = []
        self.request = Request()
        self.begin()

    def __init__(self, limits, policy=None):
        policy = STRICT if policy is None else policy
        self.limits = limits
        self.host_required = policy.host_required
        self.most_in_head = limits.header_size
        self.most_in_trailers = limits.trailer_size
        self.most_in_line = limits.request_line
        self.most_headers = limits.header_count
        self.most_in_body = -1 if limits.body_size is None else limits.body_size

    cdef void begin(self) noexcept:
        llhttp_init(&self.parser, HTTP_REQUEST, &SETTINGS)
        self.parser.data = <void *>self
        self.between = True

    cpdef feed(self, bytes data):
        """Parse *data*, the next bytes that the client sent."""
        if self.rest is not None:
            self.rest += data
            return
        if self.error is not None:
            return
        try:
            self.parse(data)
        except BadRequest as exc:
            self.error = exc
        if self.error is not None and self.in_head and self.head_size:
            self.request.version = version_of(&self.parser)

    cdef int parse(self, bytes data) except -1:
        cdef const char *at = data
        cdef const char *end = at + PyBytes_GET_SIZE(data)
        self.start = at
        while at < end:
            if self.between:
                at = self.read_method(at, end)
                if self.between:
                    break
            result = llhttp_execute(&self.parser, at, end - at)
            if result == HPE_PAUSED:
                at = llhttp_get_error_pos(&self.parser)
                llhttp_resume(&self.parser)
            elif result == HPE_PAUSED_UPGRADE:
                self.rest = data[llhttp_get_error_pos(&self.parser) - PyBytes_AS_STRING(data):]
                llhttp_resume_after_upgrade(&self.parser)
                break
            else:
                self.check(result)
                break
        if self.in_head and not self.between:
            self.check_head(end)
            self.fed += end - self.start
        return 0

    cdef int check_head(self, const char *end) except -1:
        """Check the length of the head, if it ends at *end*.

        What counts are the bytes that a client sent, so that blanks do, which llhttp removes, and
        that it makes no difference in which pieces they come. The method and the target have a
        limit of their own.
        """
        cdef Py_ssize_t size
        size = self.fed + (end - self.start) - PyBytes_GET_SIZE(self.request.target)
        if size - len(b"  HTTP/1.1\r\n\r\n") > self.most_in_head:
            raise too_large()
        return 0

    cdef int check(self, int result) except -1:
        if result != HPE_OK:
            reason = <bytes>llhttp_get_error_reason(&self.parser)
            raise BadRequest("400 Bad Request", reason.decode("latin-1"))
        return 0

    cdef const char *read_method(self, const char *at, const char *end) except NULL:
        """Read the method of a request up to *end*; return the place where llhttp goes on.

        If the method is complete then, no request is *between*.
        """
        cdef const char *start
        if self.method is None:
            while at < end and (at[0] == c"\r" or at[0] == c"\n"):
                at += 1
            if at == end:
                return at
            self.head_begins()
        start = at
        while at < end and IN_METHOD[<unsigned char>at[0]]:
            at += 1
        if self.method is None and at - start == 3 and at < end and memcmp(start, b"GET ", 4) == 0:
            # The most usual one, without the objects that others cost.
            if not self.resuming:
                self.request.method = "GET"
            self.between, self.start = False, at
            return start
        part = PyBytes_FromStringAndSize(start, at - start)
        method = part if self.method is None else self.method + part
        known = item(METHODS, method)
        if not self.resuming:
            self.request.method = method.decode("ascii") if known is None else known
        if len(method) > self.most_in_line:
            raise BadRequest("501 Not Implemented", f"longer than {self.most_in_line} bytes")
        if at == end:
            self.method = method
            return at
        split, self.method = self.method is not None, None
        if at[0] != c" " or not method:
            raise BadRequest("400 Bad Request", "a method that is none")
        self.between, self.start = False, at
        if known is not None and not split:
            return start
        first = (b"PUT" if known is None else method) + b" "
        self.check(llhttp_execute(&self.parser, first, len(first)))
        return at + 1

    def resume(self, rest=None):
        """Stay with HTTP/1.1 after a request for another protocol, and read the request's body.

        *rest* is what is left of the bytes in ``rest``, by default all of them. For llhttp such a request ends with its head. A new parser first gets a head with the
        same framing headers, then the bytes that followed the original head.
        """
        cdef Request request = self.request
        if self.rest is None:
            return
        rest = self.rest if rest is None else rest
        framing = b""
        if request.chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif request.length is not None:
            framing = b"Content-Length: %d\r\n" % request.length
        if not request.keep_alive:
            framing += b"Connection: close\r\n"
        request.complete, self.rest, self.resuming = False, None, True
        self.begin()
        self.feed(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        self.feed(rest)

    # -- callbacks of the parser

    cdef int head_begins(self) except -1:
        if not self.resuming:
            self.request = Request()
            self.in_head = True
            self.head_size = self.fed = 0
        return 0

    cdef int add_target(self, bytes part, const char *at) except -1:
        cdef Request request = self.request
        if self.resuming:
            return 0
        self.check_head(at)
        request.target = request.target + part if request.target else part
        if len(request.target) > self.most_in_line:
            raise BadRequest("414 URI Too Long", f"longer than {self.most_in_line} bytes")
        return 0

    cdef int header_ends(self) except -1:
        cdef Request request = self.request
        cdef list headers
        name, self.name = self.name, None
        value, self.value = self.value or b"", None
        if self.resuming:
            return 0
        if self.in_head:
            headers = request.headers
        else:
            self.head_size += len(b": \r\n")
            if self.head_size > self.most_in_trailers:
                raise too_large()
            if request.trailers is None:
                request.trailers = []
            headers = request.trailers
        headers.append((name, value))
        if len(headers) > self.most_headers:
            raise too_large()
        if self.in_head:
            add_field(request, name, value)
        return 0

    cdef int head_ends(self) except -1:
        cdef Request request = self.request
        cdef dict fields = request.fields
        self.flags = self.parser.flags
        if self.resuming:
            self.resuming = False
            return 0
        request.version = version_of(&self.parser)
        fault = fault_of(request, self.host_required)
        if fault is not None:
            raise fault
        # llhttp overlooks the "close" of an HTTP/1.0 request that has "keep-alive" as well.
        request.keep_alive = (
            llhttp_should_keep_alive(&self.parser) and not self.parser.flags & F_CONNECTION_CLOSE
        )
        request.chunked = item(fields, "HTTP_TRANSFER_ENCODING") is not None
        length = item(fields, "CONTENT_LENGTH")
        if length is not None:
            request.length = int(length)
            self.check_size(request.length)
        request.expects_continue = (
            request.version == "1.1" and item(fields, "HTTP_EXPECT") is not None
        )
        if self.parser.upgrade:
            request.upgrade = fields.get("HTTP_UPGRADE", "").lower()
        self.in_head = False
        self.head_size = 0
        self.ready.append(request)
        return self.parser.upgrade  # 1: no body follows

    cdef int add_body(self, bytes data) except -1:
        cdef Request request = self.request
        request.body_size += len(data)
        self.check_size(request.body_size)
        request.keep(data)
        return 0

    cdef int add_extension(self, size_t size) except -1:
        self.extension += size
        if self.extension > self.most_in_trailers:
            raise BadRequest(
                "400 Bad Request", f"a chunk extension of more than {self.most_in_trailers} bytes"
            )
        return 0

    cdef int check_size(self, size) except -1:
        if 0 <= self.most_in_body < size:
            raise BadRequest(
                "413 Content Too Large", f"the body is longer than {self.most_in_body} bytes"
            )
        return 0


cdef object too_large():
    return BadRequest("431 Request Header Fields Too Large", "too many headers, or too long ones")


# The parser points to its reader, which outlives it. Exceptions of these callbacks pass through
# llhttp to feed().

cdef RequestReader reader_of(llhttp_t *parser):
    return <RequestReader>parser.data


cdef bytes longer(bytes before, const char *at, size_t size):
    part = PyBytes_FromStringAndSize(at, size)
    return part if before is None else before + part


cdef int on_url(llhttp_t *parser, const char *at, size_t size) except -1:
    return reader_of(parser).add_target(PyBytes_FromStringAndSize(at, size), at)


cdef int on_header_field(llhttp_t *parser, const char *at, size_t size) except -1:
    reader = reader_of(parser)
    add_to_head(reader, at, size)
    reader.name = longer(reader.name, at, size)
    return 0


cdef int on_header_value(llhttp_t *parser, const char *at, size_t size) except -1:
    reader = reader_of(parser)
    add_to_head(reader, at, size)
    reader.value = longer(reader.value, at, size)
    return 0


cdef int on_header_value_complete(llhttp_t *parser) except -1:
    return reader_of(parser).header_ends()


cdef int on_headers_complete(llhttp_t *parser) except -1:
    return reader_of(parser).head_ends()


cdef int on_chunk_extension(llhttp_t *parser, const char *at, size_t size) except -1:
    return reader_of(parser).add_extension(size)


cdef int on_chunk_header(llhttp_t *parser) except -1:
    reader_of(parser).extension = 0
    return 0


cdef int on_body(llhttp_t *parser, const char *at, size_t size) except -1:
    return reader_of(parser).add_body(PyBytes_FromStringAndSize(at, size))


cdef int on_message_complete(llhttp_t *parser) except -1:
    reader = reader_of(parser)
    reader.request.complete = reader.between = True
    parser.flags = reader.flags  # trailers, such as Connection, change nothing
    return 0 if parser.upgrade else HPE_PAUSED


cdef llhttp_settings_t SETTINGS
llhttp_settings_init(&SETTINGS)
SETTINGS.on_url = on_url
SETTINGS.on_header_field = on_header_field
SETTINGS.on_header_value = on_header_value
SETTINGS.on_header_value_complete = on_header_value_complete
SETTINGS.on_headers_complete = on_headers_complete
SETTINGS.on_chunk_extension_name = on_chunk_extension
SETTINGS.on_chunk_extension_value = on_chunk_extension
SETTINGS.on_chunk_header = on_chunk_header
SETTINGS.on_body = on_body
SETTINGS.on_message_complete = on_message_complete
