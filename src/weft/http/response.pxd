# Checked headers, for the compiled handlers.


cdef class HeaderLines:

    cdef readonly str text
    # Content-Length, or None.
    cdef readonly object length
    cdef readonly bint has_date, close


cpdef int check_status(status) except -1
cpdef HeaderLines header_lines(headers, int code)
cpdef tuple frame(str method, str version, int code, HeaderLines lines, known)
cpdef str date()
