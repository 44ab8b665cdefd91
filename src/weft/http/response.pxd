# Checked headers, for the compiled handlers.


cdef class HeaderLines:

    cdef readonly str text
    # Content-Length, or None.
    cdef readonly object length
    cdef readonly bint has_date, has_server, close
