from libc.stdint cimport int64_t

from treadle._core.descriptor cimport Descriptor


cdef class SocketState(Descriptor):
    """What treadle keeps of a socket: its descriptor, its timeout, and whether it is a stream."""
    cdef bint stream
    cdef int64_t timeout     # nanoseconds; -1 waits for ever, 0 never
    cdef object seconds      # the same as it was given
    cdef public bint accepting   # the system's socket was made not to block, as accept() needs it


# When an operation that begins now has to end, on the loop's clock; -1: never.
cdef int64_t deadline_of(SocketState io) except? -1
# recv(size), and sendall().
cdef bytes receive_bytes(SocketState io, Py_ssize_t size, int flags)
cdef int send_all(SocketState io, data, int flags) except -1
# Whether the kernel would let a call go on, whatever the flags say.
cdef bint is_ready_now(int fd, int event) noexcept
