"""The calls on sockets that must be fast, written as methods for treadle.socket.socket.

Each is tried at once and waits only when it would block; whether it does is a return code here,
never an exception. Their errors and arguments are those of the standard library's socket.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds, now
from treadle._core.descriptor cimport Descriptor, spend
from treadle._core.poller cimport READ, WRITE

cdef extern from *:
    """
    #include <sys/socket.h>
    /* Elsewhere not every call that may wait knows it. */
    #ifdef __linux__
    enum { TREADLE_DONTWAIT = MSG_DONTWAIT };
    #else
    enum { TREADLE_DONTWAIT = 0 };
    #endif
    """
    enum:
        TREADLE_DONTWAIT, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int fd, void *buf, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *buf, size_t size, int flags)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum:
        POLLIN, POLLOUT
    int c_poll "poll"(pollfd *fds, unsigned long n, int timeout)

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *v, Py_ssize_t size) except NULL
    void Py_XDECREF(PyObject *o)

# Copies above this many bytes release the GIL; below, giving it up would cost more than the copy,
# and 5 ms while another thread computes.
cdef enum:
    LARGE = 65536
    SCRATCH = 16384

# Where small messages are received before their bytes object is made: nobody runs in between, and
# a greenlet that waits for one holds no memory for it.
cdef char[SCRATCH] scratch


# A flag by which no call waits, though the system's socket would. 0: there is none, and the system's
# sockets are made never to block.
DONTWAIT = TREADLE_DONTWAIT


cdef class SocketState(Descriptor):

    def __cinit__(self, int fd, *, bint stream=False, timeout=None):
        self.owned = True
        self.stream = stream
        self.set_timeout(timeout)

    def set_timeout(self, seconds):
        """None waits for ever, 0 never."""
        if seconds is not None and seconds < 0:
            raise ValueError("Timeout value out of range")
        self.timeout = nanoseconds(seconds)
        self.seconds = None if seconds is None else float(seconds)

    def get_timeout(self):
        """What was set, in seconds."""
        return self.seconds

    def closed(self):
        """The number is about to be closed or given away: raise EBADF in all who wait."""
        self.detach()

    def connecting(self):
        """A connection was begun: wait for its end, whatever happened before."""
        self.write_ready = self.hung_up = False


cdef inline bint never_waits(SocketState io, int flags) noexcept:
    return io.timeout == 0 or (io.timeout < 0 and flags & MSG_DONTWAIT)


cdef int64_t deadline_of(SocketState io) except? -1:
    return -1 if io.timeout < 0 else now() + io.timeout


cdef int wait_or_time_out(SocketState io, int event, int64_t *deadline, bint again) except -1:
    """Wait until trying is worth while. `deadline`: -2 where none was computed yet."""
    if deadline[0] == -2:
        deadline[0] = deadline_of(io)
    if not io.wait_ready(event, deadline[0], again):
        raise TimeoutError("timed out")
    return 0


cdef Py_ssize_t receive(SocketState io, char *buf, Py_ssize_t size, int flags) except -1:
    cdef Py_ssize_t n, done = 0
    if not flags & MSG_WAITALL or not io.stream or io.timeout >= 0 or flags & (MSG_DONTWAIT | MSG_PEEK):
        return receive_some(io, buf, size, flags)
    # The system takes the flag for a blocking call's only.
    while done < size:
        n = receive_some(io, buf + done, size - done, flags)
        if n == 0:
            break
        done += n
    return done


cdef Py_ssize_t receive_some(SocketState io, char *buf, Py_ssize_t size, int flags) except -1:
    cdef Py_ssize_t n
    cdef int64_t deadline = -2
    cdef bint waited = False
    cdef bint never = never_waits(io, flags)
    while True:
        if never or (io.read_ready and (waited or io.readers.count == 0)):
            if not waited and not never:
                spend(size)
            # Before the call: an edge that another thread's poller tells during it must stay.
            io.read_ready = False
            if size > LARGE:
                with nogil:
                    n = c_recv(io.fd, buf, size, flags | TREADLE_DONTWAIT)
            else:
                n = c_recv(io.fd, buf, size, flags | TREADLE_DONTWAIT)
            if n >= 0:
                if not io.stream or n == size or n == 0 or flags != 0 or io.hung_up:
                    io.read_ready = True  # otherwise it is drained
                if io.readers.count:
                    io.pass_on(READ)
                return n
            io.read_ready |= errno != EAGAIN
            if errno == EINTR:
                PyErr_CheckSignals()
                continue
            if errno != EAGAIN or never:
                PyErr_SetFromErrno(OSError)
        wait_or_time_out(io, READ, &deadline, waited)
        waited = True


cdef Py_ssize_t transmit(SocketState io, const char *buf, Py_ssize_t size, int flags,
                         int64_t *deadline) except -1:
    cdef Py_ssize_t n
    cdef bint waited = False
    cdef bint never = never_waits(io, flags)
    while True:
        if never or (io.write_ready and (waited or io.writers.count == 0)):
            if not waited and not never:
                spend(size)
            io.write_ready = False
            if size > LARGE:
                with nogil:
                    n = c_send(io.fd, buf, size, flags | TREADLE_DONTWAIT)
            else:
                n = c_send(io.fd, buf, size, flags | TREADLE_DONTWAIT)
            if n >= 0:
                if not io.stream or n == size or io.hung_up:
                    io.write_ready = True
                if io.writers.count:
                    io.pass_on(WRITE)
                return n
            io.write_ready |= errno != EAGAIN
            if errno == EINTR:
                PyErr_CheckSignals()
                continue
            if errno != EAGAIN or never:
                PyErr_SetFromErrno(OSError)
        wait_or_time_out(io, WRITE, deadline, waited)
        waited = True


cdef bytes receive_bytes(SocketState io, Py_ssize_t size, int flags):
    cdef PyObject *data
    cdef Py_ssize_t n
    if 0 <= size <= SCRATCH:
        n = receive(io, scratch, size, flags)
        return PyBytes_FromStringAndSize(scratch, n)
    if size < 0:
        raise ValueError("negative buffersize in recv")
    data = new_bytes(NULL, size)
    try:
        n = receive(io, PyBytes_AS_STRING(<object>data), size, flags)
        if n < size:
            _PyBytes_Resize(&data, n)
        return <object>data
    finally:
        Py_XDECREF(data)


def recv(self, Py_ssize_t bufsize, int flags=0):
    """Receive up to *bufsize* bytes; empty at the end of a stream. See :meth:`socket.recv`."""
    return receive_bytes(self._state, bufsize, flags)


# Stands for an argument that was not given.
cdef object UNSET = object()


def recv_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
    """Receive into *buffer*, at most *nbytes* (0: its length); returns how many bytes."""
    cdef SocketState io = self._state
    cdef Py_buffer view
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    try:
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        if nbytes > view.len:
            raise ValueError("buffer too small for requested bytes")
        return receive(io, <char *>view.buf, nbytes or view.len, flags)
    finally:
        PyBuffer_Release(&view)


def send(self, data, int flags=0, timeout=UNSET):
    """Send what the system takes at once; returns how many bytes that were.

    *timeout* in seconds replaces the socket's own for this call.
    """
    cdef SocketState io = self._state
    cdef Py_buffer view
    cdef int64_t deadline = -2
    if timeout is not UNSET:
        deadline = -1 if timeout is None else now() + nanoseconds(timeout)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return transmit(io, <const char *>view.buf, view.len, flags, &deadline)
    finally:
        PyBuffer_Release(&view)


cdef int send_all(SocketState io, data, int flags) except -1:
    cdef Py_buffer view
    cdef Py_ssize_t done = 0
    cdef int64_t deadline = -2
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while True:
            done += transmit(io, <const char *>view.buf + done, view.len - done, flags, &deadline)
            if done >= view.len:
                return 0
    finally:
        PyBuffer_Release(&view)


def sendall(self, data, int flags=0):
    """Send everything; after an error nobody can tell how much arrived."""
    send_all(self._state, data, flags)


cdef bint is_ready_now(int fd, int event) noexcept:
    cdef pollfd poll
    poll.fd = fd
    poll.events = POLLIN if event == READ else POLLOUT
    return c_poll(&poll, 1, 0) != 0


def call_when_ready(SocketState io, int event, int flags, method, *args):
    """Call a native method that never waits once it need not, by the caller's *flags*.

    *event* is READ (1) or WRITE (2). Waits by the socket's timeout; TimeoutError after it.
    """
    cdef int64_t deadline = -2
    cdef bint waited = False
    if io.fd < 0 or never_waits(io, flags):
        return method(*args)
    while True:
        if waited or (io.readers if event == READ else io.writers).count == 0:
            if not waited:
                spend(0)
            if is_ready_now(io.fd, event):
                try:
                    result = method(*args)
                except BlockingIOError:
                    pass  # another thread or process was faster
                else:
                    io.pass_on(event)
                    return result
            if event == READ:
                io.read_ready = False
            else:
                io.write_ready = False
        wait_or_time_out(io, event, &deadline, waited)
        waited = True


def wait_until_writable(SocketState io):
    """Wait for the end of a connection attempt, by the socket's timeout."""
    cdef int64_t deadline = -2
    wait_or_time_out(io, WRITE, &deadline, False)
