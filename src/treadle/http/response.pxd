# Checked headers and how a body is delimited, for the compiled handlers.


cdef enum Framing:
    # How a client knows where the body ends: there is no body; its length is in the head; it is
    # chunked; the connection ends after it.
    NONE, LENGTH, CHUNKED, CLOSE


cdef class Status:
    cdef int code
    cdef bytes line                  # status line of HTTP/1.1, with its end


cdef class HeaderLines:

    cdef long long length            # Content-Length, or -1
    cdef bint has_date, close
    cdef char *data
    cdef Py_ssize_t size, room
    cdef int add(self, const char *data, Py_ssize_t size) except -1
    cdef int add_length(self, long long length) except -1
    cdef int add_date(self) except -1
    cdef bytes text(self)
    # Return *first*, the lines, and the empty line that ends a head.
    cdef bytes head(self, bytes first)


cdef Status status_of(status)
cdef HeaderLines header_lines(headers, int code)
# Choose how the body is delimited, and add the header that says so. *known* is the body's length
# in bytes if that is known, or -1.
cdef Framing frame(str method, str version, int code, HeaderLines lines, long long known) except *
# Return *first* followed by *second*.
cdef bytes joined(bytes first, bytes second)
# Return *data*, which is not empty, as a chunk of a chunked body.
cdef bytes chunk_of(bytes data)
