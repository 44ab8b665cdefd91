from libc.stdint cimport int64_t

from weft._core.descriptor cimport Descriptor


cdef class SocketState(Descriptor):
    """What weft keeps of a socket: its descriptor, its timeout, and whether it is a stream."""
    cdef bint stream
    cdef int64_t timeout     # nanoseconds; -1 waits for ever, 0 never
    cdef object seconds      # the same as it was given
