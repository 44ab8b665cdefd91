"""The socket calls that must be fast, written as methods of treadle.socket.socket.

Each call is tried at once and waits only if it would block. A return code tells whether it would,
never an exception. Arguments and errors are those of the standard library's socket.
"""

import os

import _socket

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.limits cimport INT_MAX, INT_MIN
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from treadle._core.clock cimport check_range, nanoseconds, time_in
from treadle._core.descriptor cimport Descriptor, ask, asked_in_vain, charge, spend
from treadle._core.poller cimport READ, WRITE

cdef extern from "blocking.h":
    enum:
        TREADLE_DONTWAIT
        TREADLE_WAS_NONBLOCKING, TREADLE_WAS_SHARED, TREADLE_REFUSED
    int treadle_unblock(int fd, bint blocks_for_others, bint fresh)
    int treadle_hand_over(int fd, bint let_go)
    bint treadle_is_inheritable(int fd)
    void treadle_block(int fd)
    int treadle_begin_call(int fd, bint shared)
    void treadle_end_call(int fd)

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int fd, void *buf, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *buf, size_t size, int flags)
    enum:
        MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL

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

# Calls with more than this many bytes release the GIL. With fewer, releasing it would cost more
# than the copy, and a wait of 5 ms while another thread computes.
cdef enum:
    LARGE = 65536
    SCRATCH = 16384

# Small messages are received here before their bytes object is made, so that a greenlet that waits
# for a message holds no memory for it. All sockets share it: nothing may run between the system
# call and the copy.
cdef char[SCRATCH] scratch


# A flag with which no call blocks although the system's socket was handed over to others and blocks.
# 0: there is none.
DONTWAIT = TREADLE_DONTWAIT


# How often any socket of treadle's was left or made blocking. Others of the same open file block then
# too: before OpenSSL's next call on a socket, it is looked at again.
cdef size_t blocked = 0


cdef bint may_block(SocketState io) noexcept:
    return io.shared or io.unblocked_at != blocked


def hand_over(int fd, bint let_go=False):
    """Let *fd* block others who get it, if a socket of treadle's without a timeout uses it.

    From then on treadle leaves it blocking, unless it is only *let_go*: then a socket that is made
    of it takes it back. Does nothing for any other number.
    """
    global blocked
    if treadle_hand_over(fd, let_go):
        blocked += 1


cdef class SocketState(Descriptor):

    def __cinit__(self, int fd, *, bint stream=False, bint splits=False, timeout=None,
                  bint fresh=True):
        cdef int found
        self.owned = True
        self.stream = stream
        self.splits = splits
        self.read_limit = self.write_limit = -1
        self.take_timeout(timeout)
        found = self.unblock(fresh)
        # Like the standard library's calls, treadle's do not wait if others made the socket
        # non-blocking.
        self.never_waits = found & TREADLE_WAS_NONBLOCKING and timeout is None
        if found & (TREADLE_REFUSED if fresh else TREADLE_REFUSED | TREADLE_WAS_SHARED):
            self.become_shared()

    cdef int take_timeout(self, seconds) except -1:
        cdef double value
        if seconds is None:
            self.timeout = -1
            self.seconds = None
            return 0
        value = seconds
        check_range(value)
        if value < 0:
            raise ValueError("Timeout value out of range")
        self.timeout = nanoseconds(value)
        self.seconds = value
        return 0

    def set_timeout(self, seconds):
        """Set the timeout in seconds: None waits without limit, 0 never waits.

        Raises ValueError for a negative number.
        """
        cdef bint had_limit = self.timeout >= 0
        self.take_timeout(seconds)
        self.never_waits = False
        if had_limit and self.timeout >= 0:
            return  # the system's socket is as it must be
        if self.timeout >= 0:
            if self.unblock(False) & TREADLE_WAS_SHARED:
                self.become_shared()
        elif (self.shared or treadle_is_inheritable(self.fd)
              or self.unblock(False) & (TREADLE_WAS_SHARED | TREADLE_REFUSED)):
            self.become_shared()
            treadle_block(self.fd)

    cdef void become_shared(self) noexcept:
        global blocked
        self.shared = True
        blocked += 1

    cdef int unblock(self, bint fresh) except -1:
        """Make the system's socket non-blocking, unless others may expect it to block."""
        cdef int found = treadle_unblock(self.fd, self.timeout < 0, fresh)
        if found < 0:
            PyErr_SetFromErrno(OSError)
        if not found & (TREADLE_WAS_SHARED | TREADLE_REFUSED):
            self.unblocked_at = blocked
        return found

    def hand_over(self):
        """Do what hand_over() does, and remember it for this socket."""
        if treadle_hand_over(self.fd, False):
            self.become_shared()

    def keep_blocking(self):
        """Let the system's socket block others again, after a call of theirs made it non-blocking."""
        global blocked
        if self.shared and self.timeout < 0:
            treadle_block(self.fd)
            blocked += 1

    cdef int begin_call(self) except -1:
        cdef int forced
        if not self.calls:
            forced = treadle_begin_call(self.fd, self.shared)
            if forced < 0:
                PyErr_SetFromErrno(OSError)
            if not forced:
                self.unblocked_at = blocked
                return 0
            self.become_shared()
        self.calls += 1
        return 1

    cdef void end_call(self) noexcept:
        global blocked
        if self.calls:
            self.calls -= 1
            if not self.calls:
                treadle_end_call(self.fd)
                blocked += 1

    def get_timeout(self):
        """Return the timeout in seconds, or None."""
        return self.seconds

    def set_limit(self, int event, seconds):
        """Let a call that reads (*event* 1) or writes (2) without a timeout fail after *seconds*.

        It gets the EAGAIN of SO_RCVTIMEO and SO_SNDTIMEO. 0 is no limit.
        """
        cdef int64_t limit = nanoseconds(seconds) or -1
        if event == READ:
            self.read_limit = limit
        else:
            self.write_limit = limit

    def get_write_limit(self):
        """Return SO_SNDTIMEO in seconds, or None."""
        return None if self.write_limit < 0 else self.write_limit / 1e9

    def take_limits(self, SocketState other not None):
        """Have the limits of *other*, as a socket has those of the listener that accepted it."""
        self.read_limit, self.write_limit = other.read_limit, other.write_limit

    cdef int64_t limit_of(self, int event) except? -1:
        cdef int64_t limit = self.read_limit if event == READ else self.write_limit
        return -1 if limit < 0 else time_in(limit)

    def closed(self):
        """Raise EBADF in all waiters: the descriptor is about to be closed or given away."""
        if self.calls:  # another thread is in the middle of them
            self.calls = 1
            self.end_call()
        self.detach()

    # -- calls that receive in parts, because MSG_WAITALL asks for all

    cdef bint waits_for_all(self, int flags) noexcept:
        return (flags & MSG_WAITALL and self.splits and self.timeout < 0 and not self.never_waits
                and not flags & (MSG_DONTWAIT | MSG_PEEK))

    def repeats(self, Py_ssize_t flags) -> bool:
        """Return whether a call with *flags* receives until it has all that it asked for.

        The system obeys MSG_WAITALL only in calls that block.
        """
        return self.waits_for_all(flags_of(flags))

    def put_back(self, bytes data not None):
        """Leave *data*, which an interrupted call had received, to the next call."""
        self.unread = data if self.unread is None else data + self.unread
        self.left = self.read_ready = True
        self.pass_on(READ)

    def fail_next(self, int number):
        """Leave an error that came after a part of the data to the next call."""
        self.failed = number
        self.left = self.read_ready = True
        self.pass_on(READ)

    cdef Py_ssize_t take_left(self, char *buf, Py_ssize_t size, int flags) except -1:
        cdef bytes data = self.unread
        if data is None:
            self.left = False
            errno_now, self.failed = self.failed, 0
            raise OSError(errno_now, os.strerror(errno_now))
        size = min(size, len(data))
        memcpy(buf, PyBytes_AS_STRING(data), size)
        if not flags & MSG_PEEK:
            self.unread = data[size:] or None
            self.left = self.unread is not None or self.failed != 0
        return size

    def connecting(self):
        """Forget earlier readiness, so that the next call waits for the connection just begun."""
        self.write_ready = self.hung_up = False


cdef inline int flags_of(Py_ssize_t flags) except? -1:
    # Not "int flags" in the calls' own arguments: that would take a float, too.
    if not INT_MIN <= flags <= INT_MAX:
        raise OverflowError("flags do not fit into a C int")
    return <int>flags


cdef int get_writable(object buffer, Py_buffer *view, str call) except -1:
    try:
        return PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE)
    except (BufferError, TypeError):
        raise TypeError(f"{call}() argument 1 must be read-write bytes-like object, not "
                        f"{type(buffer).__name__}") from None


cdef inline bint never_waits(SocketState io, int flags) noexcept:
    return io.timeout == 0 or (io.timeout < 0 and (flags & MSG_DONTWAIT or io.never_waits))


cdef int64_t deadline_of(SocketState io) except? -1:
    return -1 if io.timeout < 0 else time_in(io.timeout)


cdef int wait_or_time_out(SocketState io, int event, int64_t *deadline, bint again) except -1:
    """Wait until a try is worthwhile, or raise TimeoutError. `deadline`: -2 if not computed yet."""
    if deadline[0] == -2:
        deadline[0] = io.limit_of(event) if io.timeout < 0 else deadline_of(io)
    if not io.wait_ready(event, deadline[0], again):
        if io.timeout < 0 and (io.read_limit if event == READ else io.write_limit) >= 0:
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
        raise TimeoutError("timed out")
    return 0


cdef int fail_call(SocketState io, int event) except -1:
    """Raise the error of a call; let the next waiter try, for which this one may have been woken."""
    try:
        PyErr_SetFromErrno(OSError)
    except OSError:
        io.pass_on(event)
        raise


cdef Py_ssize_t receive(SocketState io, char *buf, Py_ssize_t size, int flags) except -1:
    if io.waits_for_all(flags):
        return receive_all(io, buf, size, flags, 0)
    return receive_some(io, buf, size, flags)


cdef Py_ssize_t receive_all(SocketState io, char *buf, Py_ssize_t size, int flags,
                            Py_ssize_t done) except -1:
    cdef Py_ssize_t n
    try:
        while done < size:
            n = receive_some(io, buf + done, size - done, flags, done > 0)
            if n == 0:
                break
            done += n
    except:
        if done:
            io.put_back(buf[:done])
        raise
    return done


cdef Py_ssize_t receive_some(SocketState io, char *buf, Py_ssize_t size, int flags,
                             bint has_part=False) except -1:
    cdef Py_ssize_t n
    cdef int64_t deadline = -2
    cdef bint waited = False
    cdef bint never = never_waits(io, flags)
    while True:
        if never or (io.read_ready and (waited or io.readers.count == 0)):
            if never:
                ask()
            elif not waited:
                spend()
            # Before the call: an edge that another thread's poller reports during it must not be
            # lost.
            io.read_ready = False
            if io.left:
                io.read_ready = True
                n = io.take_left(buf, size, flags)
            elif size > LARGE:
                with nogil:
                    n = c_recv(io.fd, buf, size, flags | TREADLE_DONTWAIT)
            else:
                n = c_recv(io.fd, buf, size, flags | TREADLE_DONTWAIT)
            if n >= 0:
                if not io.stream or n == size or n == 0 or flags != 0 or io.hung_up:
                    io.read_ready = True  # otherwise the socket is drained
                if io.readers.count:
                    io.pass_on(READ)
                charge(n)
                return n
            io.read_ready |= errno != EAGAIN
            if errno == EINTR:
                PyErr_CheckSignals()
                continue
            if errno != EAGAIN or never:
                if never:
                    asked_in_vain()
                if has_part:
                    io.fail_next(errno)
                    return 0
                fail_call(io, READ)
        if has_part and io.timeout < 0 and io.read_limit >= 0:
            if deadline == -2:
                deadline = io.limit_of(READ)
            if not io.wait_ready(READ, deadline, waited):
                return 0  # like the system's call, the caller returns what it has
        else:
            wait_or_time_out(io, READ, &deadline, waited)
        waited = True


cdef Py_ssize_t transmit(SocketState io, const char *buf, Py_ssize_t size, int flags,
                         int64_t *deadline) except -1:
    cdef Py_ssize_t n
    cdef bint waited = False
    cdef bint never = never_waits(io, flags)
    while True:
        if never or (io.write_ready and (waited or io.writers.count == 0)):
            if never:
                ask()
            elif not waited:
                spend()
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
                charge(n)
                return n
            io.write_ready |= errno != EAGAIN
            if errno == EINTR:
                PyErr_CheckSignals()
                continue
            if errno != EAGAIN or never:
                if never:
                    asked_in_vain()
                fail_call(io, WRITE)
        wait_or_time_out(io, WRITE, deadline, waited)
        waited = True


cdef bytes receive_bytes(SocketState io, Py_ssize_t size, int flags):
    cdef PyObject *data
    cdef Py_ssize_t n
    if size == 0:
        return b""  # at once, as in the standard library
    if 0 <= size <= SCRATCH and not io.waits_for_all(flags):
        n = receive_some(io, scratch, size, flags)
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


_native_finalize = _socket.socket.__del__


@cython.binding(True)  # a method of treadle.socket.socket
def finalize(self):
    """Close a socket that nobody closed, and warn of it."""
    cdef SocketState io = getattr(self, "_state", None)  # None if its making failed
    if io is None or io.fd >= 0:
        if io is not None:
            io.detach()
        _native_finalize(self)


@cython.binding(True)  # a method of treadle.socket.socket
def settimeout(self, value):
    """Set how many seconds a call may wait: None for ever, 0 not at all (non-blocking)."""
    (<SocketState?>self._state).set_timeout(value)


@cython.binding(True)  # a method of treadle.socket.socket
def recv(self, Py_ssize_t bufsize, Py_ssize_t flags=0):
    """Receive and return up to *bufsize* bytes; at the end of a stream they are empty."""
    return receive_bytes(self._state, bufsize, flags_of(flags))


def receive_rest(SocketState io not None, buffer, Py_ssize_t done, Py_ssize_t nbytes, int flags):
    """Receive the rest of *nbytes* (0: its length) into *buffer*, which contains *done* bytes.

    Does nothing at the end of the stream, and unless *flags* ask for all. Returns how many bytes
    *buffer* contains then.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    try:
        nbytes = min(nbytes or view.len, view.len)
        if done <= 0 or not io.waits_for_all(flags):
            return done
        return receive_all(io, <char *>view.buf, nbytes, flags, done)
    finally:
        PyBuffer_Release(&view)


# The default of an argument that may be None.
cdef object UNSET = object()


@cython.binding(True)  # a method of treadle.socket.socket
def recv_into(self, buffer, Py_ssize_t nbytes=0, Py_ssize_t flags=0):
    """Receive at most *nbytes* (0: its length) into *buffer*; return the number of bytes."""
    cdef SocketState io = self._state
    cdef int how = flags_of(flags)
    cdef Py_buffer view
    get_writable(buffer, &view, "recv_into")
    try:
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        if nbytes > view.len:
            raise ValueError("buffer too small for requested bytes")
        return receive(io, <char *>view.buf, nbytes or view.len, how) if view.len else 0
    finally:
        PyBuffer_Release(&view)


@cython.binding(True)  # a method of treadle.socket.socket
def send(self, data, Py_ssize_t flags=0, timeout=UNSET):
    """Send as much of *data* as the system takes at once; return the number of bytes.

    *timeout*, in seconds (None: no limit), replaces the socket's own for this call.
    """
    cdef SocketState io = self._state
    cdef int how = flags_of(flags)
    cdef Py_buffer view
    cdef int64_t deadline = -2
    if timeout is not UNSET:
        deadline = -1 if timeout is None else time_in(nanoseconds(timeout))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return transmit(io, <const char *>view.buf, view.len, how, &deadline)
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
            if io.timeout < 0:
                deadline = -2  # SO_SNDTIMEO is for each system call
    finally:
        PyBuffer_Release(&view)


@cython.binding(True)  # a method of treadle.socket.socket
def sendall(self, data, Py_ssize_t flags=0):
    """Send all of *data*. After an error it is unknown how much was sent."""
    send_all(self._state, data, flags_of(flags))


cdef bint is_ready_now(int fd, int event) noexcept:
    cdef pollfd poll
    poll.fd = fd
    poll.events = POLLIN if event == READ else POLLOUT
    return c_poll(&poll, 1, 0) != 0


cdef bint are_plain(tuple args):
    """Return whether the arguments are numbers of bytes and flags that no call refuses."""
    for each in args:
        if type(each) is not int or not 0 <= each <= INT_MAX:
            return False
    return True


def call_when_ready(SocketState io not None, int event, Py_ssize_t flags, method, *args):
    """Wait until the socket is ready, call *method*, which never blocks, and return its result.

    *event* is READ (1) or WRITE (2); *flags* are the caller's. Raises TimeoutError after the
    socket's timeout. Calls *method* at once if the timeout is 0, or if it is None and *flags*
    contain MSG_DONTWAIT. Returns None, before it calls *method*, if it would read and an earlier
    call has left data or an error to be taken by receive().
    """
    cdef int64_t deadline = -2
    cdef bint waited = False
    # Whether to call it once before the wait, as the call may refuse its arguments.
    cdef bint try_first = method is not call_at_once and not are_plain(args)
    if io.fd < 0:
        return method(*args)
    if io.left and event == READ:
        return None
    if never_waits(io, flags_of(flags)):
        ask()
        try:
            return method(*args)
        except BlockingIOError:
            asked_in_vain()
            raise
    while True:
        if waited or (io.readers if event == READ else io.writers).count == 0:
            if not waited:
                spend()
            if io.left and event == READ:
                return None
            if try_first or is_ready_now(io.fd, event):
                try_first = False
                try:
                    result = method(*args)
                except BlockingIOError:
                    pass  # another thread or process was faster
                except BaseException:
                    io.pass_on(event)  # this greenlet may have been woken instead of another
                    raise
                else:
                    io.pass_on(event)
                    if type(result) is int:
                        charge(result)  # the number of bytes that recvfrom_into() or sendmsg() moved
                    return result
            if event == READ:
                io.read_ready = False
            else:
                io.write_ready = False
        wait_or_time_out(io, event, &deadline, waited)
        waited = True


def call_at_once(SocketState io not None, method, *args):
    """Call *method*, which would block the thread if the socket was handed over to others.

    The system's socket is non-blocking during the call, and only during it.
    """
    cdef int forced
    if io.fd < 0:
        return method(*args)
    forced = io.begin_call()
    try:
        return method(*args)
    finally:
        if forced:
            io.end_call()


cpdef Py_ssize_t send_file(SocketState io, native, int fd, at, Py_ssize_t size) except -1:
    """Send up to *size* bytes of the file *fd* from *at*, and return how many were sent.

    *native* is the standard os.sendfile().
    """
    cdef int64_t deadline = -2
    cdef Py_ssize_t sent
    cdef bint waited = False
    cdef bint never = never_waits(io, 0)
    while True:
        if never or (io.write_ready and (waited or io.writers.count == 0)):
            if never:
                ask()
            elif not waited:
                spend()
            io.write_ready = False  # before the call, as in transmit()
            try:
                # Always: a program, or a child of it, may have made the socket blocking by itself.
                sent = call_at_once(io, native, io.fd, fd, at, size)
            except BlockingIOError:
                if never:
                    asked_in_vain()
                    raise
            except BaseException:
                io.write_ready = True
                io.pass_on(WRITE)
                raise
            else:
                # The file may have ended: that too is less than was asked for.
                io.write_ready = True
                io.pass_on(WRITE)
                charge(sent)
                return sent
        wait_or_time_out(io, WRITE, &deadline, waited)
        waited = True


def wait_until_writable(SocketState io not None) -> bool:
    """Wait until a connection attempt has ended; return False after the socket's timeout."""
    deadline = io.limit_of(WRITE) if io.timeout < 0 else deadline_of(io)
    return bool(io.wait_ready(WRITE, deadline))
