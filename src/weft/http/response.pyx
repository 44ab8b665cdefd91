# cython: binding=False
"""HTTP/1.1 as a server writes it: heads, and how a body is delimited; no I/O."""

import re
from email.utils import formatdate
from enum import Enum

from libc.time cimport time, time_t

__all__ = ["Framing", "HeaderLines", "check_status", "date", "frame", "header_lines"]

_STATUS = re.compile(r"[1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*").fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

# Headers between two neighbours (RFC 9110, 7.6.1), which the server speaks for (PEP 3333).
cdef frozenset HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
)
# Those and others that header_lines() looks at.
cdef frozenset SPECIAL = HOP_BY_HOP | {"content-length", "date"}
# Names in lower case, once they were checked.
cdef dict NAMES = {}
# Codes of statuses that were checked.
cdef dict STATUSES = {}
cdef Py_ssize_t MANY_NAMES = 4096


cdef class HeaderLines:
    """Checked headers: as *text*, lines with their ends, and those of them that matter here."""


cpdef int check_status(status) except -1:
    """The code of *status*; raises TypeError or ValueError unless it is like "200 OK"."""
    if not isinstance(status, str):
        raise TypeError(f"a status must be a str like '200 OK', not {status!r}")
    code = STATUSES.get(status)
    if code is None:
        if not _STATUS(status):
            raise ValueError(f"a status must be like '200 OK', not {status!r}")
        code = int(status[:3])
        if len(STATUSES) < MANY_NAMES:
            STATUSES[status] = code
    return code


cdef str lower_name(object name):
    if not isinstance(name, str):
        raise TypeError(f"the name of a header must be a str, not {name!r}")
    if not _TOKEN(name):
        raise ValueError(f"{name!r} cannot be the name of a header")
    lower = name.lower()
    if len(NAMES) < MANY_NAMES:
        NAMES[name] = lower
    return lower


cdef object length_of(str value):
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} cannot be a Content-Length")
    return int(value)


cdef int check_value(object name, object value) except -1:
    cdef Py_UCS4 character
    if not isinstance(value, str):
        raise TypeError(f"the value of the header {name} must be a str, not {value!r}")
    for character in <str>value:
        if character in (0, 10, 13) or character > 255:
            raise ValueError(f"the header {name} cannot have the value {value!r}")
    return 0


cpdef HeaderLines header_lines(headers, int code):
    """Check *headers* and write them down; raises TypeError or ValueError for what is wrong.

    Those that concern the connection are left out, as gunicorn does, except when it changes
    protocols (*code* 101).
    """
    cdef HeaderLines found = HeaderLines.__new__(HeaderLines)
    cdef list lines = []
    for name, value in headers:
        lower = NAMES.get(name) or lower_name(name)
        check_value(name, value)
        if lower in SPECIAL and not special(found, lower, value, code):
            continue
        lines.append(f"{name}: {value}\r\n")
    found.text = "".join(lines)
    return found


cdef bint special(HeaderLines found, str lower, str value, int code) except -1:
    """Note what a header says that matters here. Whether it is sent."""
    if lower == "content-length":
        length = length_of(value)
        if found.length is not None:
            if found.length != length:
                raise ValueError(f"two lengths: {found.length} and {length}")
            return False
        if code < 200 or code == 204:
            return False
        found.length = length
    elif lower == "date":
        found.has_date = True
    else:
        if lower == "connection" and "close" in value.lower():
            found.close = True
        return code == 101
    return True


class Framing(Enum):
    """How a client knows where the body ends."""

    NONE = "there is none"
    LENGTH = "its length is in the head"
    CHUNKED = "it comes in chunks"
    CLOSE = "the connection ends with it"


cdef object NO_BODY = Framing.NONE
cdef object BY_LENGTH = Framing.LENGTH
cdef object BY_CHUNKED = Framing.CHUNKED
cdef object BY_CLOSE = Framing.CLOSE


cpdef tuple frame(str method, str version, int code, HeaderLines lines, known):
    """How the body is delimited, and the header that says so.

    *known* is the body's length where all of it is there.
    """
    if code < 200 or code in (204, 304):
        return NO_BODY, ""
    length = "" if lines.length is not None or known is None else f"Content-Length: {known}\r\n"
    if method == "HEAD":
        # An empty answer to it tells nothing of the length.
        return NO_BODY, length if known else ""
    if lines.length is not None or known is not None:
        return BY_LENGTH, length
    if version == "1.1":
        return BY_CHUNKED, "Transfer-Encoding: chunked\r\n"
    return BY_CLOSE, ""


cdef time_t dated = 0
cdef str dated_text = ""


cpdef str date():
    """The value of Date: now."""
    global dated, dated_text
    cdef time_t at = time(NULL)
    if at != dated:
        dated_text = formatdate(at, usegmt=True)
        dated = at
    return dated_text
