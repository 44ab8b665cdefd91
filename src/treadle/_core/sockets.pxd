from libc.stdint cimport int64_t

from treadle._core.descriptor cimport Descriptor


cdef class SocketState(Descriptor):
    """The state of a socket: its descriptor, its timeout, and whether it is a stream."""
    cdef bint stream
    cdef int64_t timeout     # nanoseconds; -1 waits without limit, 0 never waits
    cdef object seconds      # the timeout in seconds as a float, or None
    cdef readonly bint never_waits   # although there is no timeout
    cdef int64_t read_limit, write_limit   # SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; -1: none
    cdef bint splits         # a stream: its data comes in parts
    cdef bint left           # an interrupted call left one of these two to the next one
    cdef bytes unread        # what it had received
    cdef int failed          # the error (errno) that came after it
    cdef bint shared         # others use the system's socket and may expect it to block
    cdef size_t unblocked_at # the value of `blocked` when it was found or made non-blocking
    cdef int calls           # how many run for which it was made non-blocking

    cdef int take_timeout(self, seconds) except -1
    cdef int64_t limit_of(self, int event) except? -1
    cdef bint waits_for_all(self, int flags) noexcept
    cdef Py_ssize_t take_left(self, char *buf, Py_ssize_t size, int flags) except -1
    cdef int unblock(self, bint fresh) except -1
    cdef void become_shared(self) noexcept
    cdef int begin_call(self) except -1
    cdef void end_call(self) noexcept


# The time of the loop's clock at which an operation that begins now must end; -1: no limit.
cdef int64_t deadline_of(SocketState io) except? -1
# Whether others' code, which cannot pass MSG_DONTWAIT, has to be called by call_at_once().
cdef bint may_block(SocketState io) noexcept
# The work of recv(), sendall() and sendfile().
cdef bytes receive_bytes(SocketState io, Py_ssize_t size, int flags)
cdef int send_all(SocketState io, data, int flags) except -1
cpdef Py_ssize_t send_file(SocketState io, native, int fd, at, Py_ssize_t size) except -1
# Whether a call would not block, as the kernel tells, regardless of the ready flags.
cdef bint is_ready_now(int fd, int event) noexcept
