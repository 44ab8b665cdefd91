"""HTTP/1.1 as a server writes it: heads, and how a body is delimited, without I/O."""

import re
from email.utils import formatdate

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdio cimport snprintf
from libc.string cimport memcpy
from libc.time cimport time, time_t

from treadle.http.h1 cimport LONG_NAME, MANY_NAMES

cdef extern from "Python.h":
    PyObject *borrowed_item "PyDict_GetItemWithError"(object p, object key) except? NULL
    int PyUnicode_KIND(object text)
    const unsigned char *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    enum:
        PyUnicode_1BYTE_KIND

__all__ = ["HeaderLines", "Status"]

_STATUS = re.compile(r"[1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*").fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

# The kinds of headers. HOP: a hop-by-hop header (RFC 9110, 7.6.1), which only the server may send
# (PEP 3333).
cdef enum:
    PLAIN, CONTENT_LENGTH, DATE, CONNECTION, HOP

cdef dict SPECIAL = {
    "content-length": CONTENT_LENGTH,
    "date": DATE,
    "connection": CONNECTION,
    "keep-alive": HOP,
    "proxy-connection": HOP,
    "te": HOP,
    "trailer": HOP,
    "transfer-encoding": HOP,
}
# Caches of what was checked: the kind of each header name, and each status.
cdef dict NAMES = {}
cdef dict STATUSES = {}


cdef class Status:
    """Status()\n--\n
    A checked status.
    """

cdef object split_by(str place, str text):
    """Return an error if *text* would split a response in two, or None."""
    if "\r" in text or "\n" in text:
        # These are gevent's arguments, by which programs recognize the error.
        return ValueError(f"carriage return or newline in {place}", text)
    return None


cdef Status status_of(status):
    """Return the Status for *status*, a str like "200 OK".

    Raises UnicodeError if it is not a str, and ValueError if it is malformed.
    """
    if not isinstance(status, str):
        raise UnicodeError(f"a status must be a str like '200 OK', not {status!r}")
    cdef PyObject *known = borrowed_item(STATUSES, status)
    if known != NULL:
        return <Status>known
    if not _STATUS(status):
        raise split_by("status", status) or ValueError(
            f"a status must be like '200 OK', not {status!r}"
        )
    found = Status()
    found.code = int(status[:3])
    found.line = f"HTTP/1.1 {status}\r\n".encode("latin-1")
    if len(STATUSES) < MANY_NAMES and len(status) <= LONG_NAME:
        STATUSES[status] = found
    return found


cdef int kind_of(object name) except -1:
    """Return the kind of the header *name*; raise ValueError if it is not a valid name."""
    if not isinstance(name, str):
        raise UnicodeError(f"the name of a header must be a str, not {name!r}")
    cdef PyObject *known = borrowed_item(NAMES, name)
    if known != NULL:
        return <object>known
    if not _TOKEN(name):
        raise split_by("header name", name) or ValueError(
            f"{name!r} cannot be the name of a header"
        )
    kind = SPECIAL.get(name.lower(), PLAIN)
    if len(NAMES) < MANY_NAMES and len(name) <= LONG_NAME:
        NAMES[name] = kind
    return kind


cdef long long length_of(value) except -1:
    # check_value() was called before, so each character is one byte.
    cdef const unsigned char *data = PyUnicode_1BYTE_DATA(value)
    cdef Py_ssize_t at, size = PyUnicode_GET_LENGTH(value)
    cdef bint good = 0 < size <= 18  # digits: a long long can hold that many
    cdef long long length = 0
    for at in range(size if good else 0):
        good = good and c"0" <= data[at] <= c"9"
        length = 10 * length + data[at] - c"0"
    if not good:
        raise ValueError(f"{value!r} cannot be a Content-Length")
    return length


cdef int check_value(object name, object value) except -1:
    cdef const unsigned char *data
    cdef Py_ssize_t at
    if not isinstance(value, str):
        raise UnicodeError(f"the value of the header {name} must be a str, not {value!r}")
    if PyUnicode_KIND(value) != PyUnicode_1BYTE_KIND:
        raise UnicodeError(f"the header {name} cannot have {value!r}: it is not latin-1")
    data = PyUnicode_1BYTE_DATA(value)
    for at in range(PyUnicode_GET_LENGTH(value)):
        if (data[at] < 32 and data[at] != c"\t") or data[at] == 127:
            raise split_by("header value", value) or ValueError(
                f"the header {name} cannot have the value {value!r}"
            )
    return 0


cdef class HeaderLines:
    """HeaderLines()\n--\n
    Checked headers: their lines, and the values of those that the server needs.
    """

    def __cinit__(self):
        self.length = -1

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int add(self, const char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t room
        cdef char *grown
        if self.size + size > self.room:
            room = 2 * (self.size + size) + 128
            grown = <char *>PyMem_Realloc(self.data, room)
            if grown == NULL:
                raise MemoryError()
            self.data = grown
            self.room = room
        memcpy(self.data + self.size, data, size)
        self.size += size
        return 0

    cdef int add_length(self, long long length) except -1:
        cdef char[48] line
        return self.add(line, snprintf(line, sizeof(line), "Content-Length: %lld\r\n", length))

    cdef int add_date(self) except -1:
        line = date_line()
        return self.add(PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))

    cdef bytes text(self):
        return PyBytes_FromStringAndSize(self.data, self.size)

    cdef bytes head(self, bytes first):
        cdef Py_ssize_t start = PyBytes_GET_SIZE(first)
        made = PyBytes_FromStringAndSize(NULL, start + self.size + 2)
        cdef char *data = PyBytes_AS_STRING(made)
        memcpy(data, PyBytes_AS_STRING(first), start)
        if self.size:  # without lines there is no data to point to
            memcpy(data + start, self.data, self.size)
        memcpy(data + start + self.size, b"\r\n", 2)
        return made


cdef int add_text(HeaderLines lines, text) except -1:
    # The text was checked: all its characters are Latin-1.
    return lines.add(<const char *>PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text))


cdef HeaderLines header_lines(headers, int code):
    """Check *headers* and return their lines.

    Raises ValueError for an invalid header: UnicodeError, a subclass, if it is not a str of
    latin-1 characters. Headers that concern the connection are left out, as gunicorn does, unless
    the response changes the protocol (*code* 101).
    """
    found = HeaderLines()
    for name, value in headers:
        kind = kind_of(name)
        check_value(name, value)
        if kind == PLAIN or special(found, kind, value, code):
            add_text(found, name)
            found.add(b": ", 2)
            add_text(found, value)
            found.add(b"\r\n", 2)
    return found


cdef bint special(HeaderLines found, int kind, value, int code) except -1:
    """Note the value of a header that is not PLAIN; return whether to send it."""
    if kind == CONTENT_LENGTH:
        length = length_of(value)
        if found.length >= 0:
            if found.length != length:
                raise ValueError(f"two lengths: {found.length} and {length}")
            return False
        if code < 200 or code == 204 or code == 205:
            return False
        found.length = length
    elif kind == DATE:
        found.has_date = True
    else:
        if kind == CONNECTION and "close" in value.lower():
            found.close = True
        return code == 101
    return True


cdef Framing frame(str method, str version, int code, HeaderLines lines, long long known) except *:
    if code < 200 or code == 204 or code == 304:
        return NONE
    if code == 205:  # it has no content, and says so (RFC 9110, 15.3.6)
        lines.add_length(0)
        return NONE
    if method == "HEAD":
        # An empty response to HEAD says nothing of the length.
        if known > 0 and lines.length < 0:
            lines.add_length(known)
        return NONE
    if lines.length >= 0:
        return LENGTH
    if known >= 0:
        lines.add_length(known)
        return LENGTH
    if version == "1.1":
        lines.add(b"Transfer-Encoding: chunked\r\n", 28)
        return CHUNKED
    return CLOSE


cdef time_t dated = 0
cdef bytes dated_line = b""


cdef bytes date_line():
    """Return the line of a Date header with the current time."""
    global dated, dated_line
    cdef time_t at = time(NULL)
    if at != dated:
        dated_line = f"Date: {formatdate(at, usegmt=True)}\r\n".encode("ascii")
        dated = at
    return dated_line


cdef bytes joined(bytes first, bytes second):
    cdef Py_ssize_t start = PyBytes_GET_SIZE(first), size = PyBytes_GET_SIZE(second)
    if not start:
        return second
    made = PyBytes_FromStringAndSize(NULL, start + size)
    memcpy(PyBytes_AS_STRING(made), PyBytes_AS_STRING(first), start)
    memcpy(PyBytes_AS_STRING(made) + start, PyBytes_AS_STRING(second), size)
    return made


cdef bytes chunk_of(bytes data):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef int digits = 1  # of the size: snprintf() would take a quarter of the time of a part
    while size >> 4 * digits:
        digits += 1
    made = PyBytes_FromStringAndSize(NULL, digits + size + 4)
    cdef char *at = PyBytes_AS_STRING(made)
    while digits:
        digits -= 1
        at[0] = b"0123456789abcdef"[size >> 4 * digits & 15]
        at += 1
    memcpy(at, b"\r\n", 2)
    memcpy(at + 2, PyBytes_AS_STRING(data), size)
    memcpy(at + 2 + size, b"\r\n", 2)
    return made
