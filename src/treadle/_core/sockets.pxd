from libc.stdint cimport int64_t

from treadle._core.descriptor cimport Descriptor


cdef class SocketState(Descriptor):
    """The state of a socket: its descriptor, its timeout, and whether it is a stream."""
    cdef bint stream
    cdef int64_t timeout     # nanoseconds; -1 waits without limit, 0 never waits
    cdef object seconds      # the timeout in seconds as a float, or None
    cdef readonly bint never_waits   # although there is no timeout

    cdef int take_timeout(self, seconds) except -1
    cpdef bint unblock(self, bint must=*) except -1


# The time of the loop's clock at which an operation that begins now must end; -1: no limit.
cdef int64_t deadline_of(SocketState io) except? -1
# Make the system's socket non-blocking again if it may have been handed over: for calls of others'
# code, which cannot pass MSG_DONTWAIT.
cdef int must_not_block(SocketState io) except -1
# The work of recv() and sendall().
cdef bytes receive_bytes(SocketState io, Py_ssize_t size, int flags)
cdef int send_all(SocketState io, data, int flags) except -1
# Whether a call would not block, as the kernel tells, regardless of the ready flags.
cdef bint is_ready_now(int fd, int event) noexcept
