# cython: nonecheck=True
"""TLS over a treadle socket: the standard library's SSL object, made to wait.

A TLS connection's descriptor is non-blocking, so each call on the native object either ends or
tells for which direction it has to wait. A greenlet that waits tries again after every edge: what
one greenlet reads from the wire (a close, a key change) may be what another one waits for.
"""

import os

from _ssl import SSL_ERROR_WANT_WRITE as _WANT_WRITE
from _ssl import SSLEOFError, SSLWantReadError, SSLWantWriteError

from treadle._core.sockets import call_at_once

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EBADF
from libc.stdint cimport int64_t

from treadle._core.clock cimport now, time_in
from treadle._core.descriptor cimport ask, charge, spend
from treadle._core.poller cimport READ, WRITE
from treadle._core.sockets cimport SocketState, deadline_of, is_ready_now, may_block
from treadle._core.turns cimport Turn
from treadle._core.wait_queue cimport WaitQueue

# The most bytes of data in a record. No more is given to the native object at once: when it has to
# wait, the next try must begin with all the data that the first one was given.
cdef enum:
    RECORD = 16384


cdef class TLSConnection:
    """One side of a TLS connection; the native object provides all other attributes."""
    cdef SocketState io
    cdef object native
    cdef object native_read, native_write, native_pending
    # One greenlet at a time in each direction: readers take turns, and until a record has been sent
    # completely nothing else may be written.
    cdef Turn reading, writing
    cdef object sending      # what a write that waits has begun to send, otherwise None
    cdef bytes half_sent     # what a cancelled write began to send, otherwise None
    cdef bint waits_mostly   # the last read had to wait: check for data before the next one
    cdef bint over           # TLS has ended, and the socket continues in clear text

    def __init__(self, SocketState io not None, native not None):
        self.io = io
        self.native = native
        self.native_read = native.read
        self.native_write = native.write
        self.native_pending = native.pending
        self.reading = Turn()
        self.writing = Turn()

    # -- calls that may wait

    cpdef read(self, Py_ssize_t size, buffer=None):
        """Read up to *size* decrypted bytes and return them.

        With *buffer*, read into it and return the number of bytes. Raises TimeoutError after the
        socket's timeout, and SSLWantReadError or SSLWantWriteError at once if that is 0.
        """
        cdef int64_t deadline = -2
        cdef bint look_first, waited = False
        cdef int event = READ
        if self.io.timeout == 0:
            ask()
            return self.read_now(size, buffer)
        self.begin(self.reading, &deadline, "read")
        try:
            spend()
            # Clear the flag before anything can end this read: at the end of a stream, the next
            # read has nothing to wait for.
            look_first, self.waits_mostly = self.waits_mostly, False
            if look_first and size > 0 and self.has_nothing(buffer):
                self.wait_for_edge(READ, &deadline, "read")
                waited = True
            while True:
                try:
                    data = self.read_now(size, buffer)
                    self.waits_mostly = waited and data
                    charge(len(data) if buffer is None else data)
                    return data
                except SSLWantReadError:
                    event = READ
                except SSLWantWriteError:
                    event = WRITE
                self.wait(event, &deadline, "read")
                waited = True
        finally:
            self.end(self.reading)

    def write(self, data):
        """Encrypt and send *data*; return the number of bytes sent.

        That is all of *data*, as in the standard library. If the socket's timeout is 0, it is no
        more than fits into one record.
        """
        cdef int64_t deadline = -2
        cdef Py_ssize_t sent
        octets = data if type(data) is bytes else memoryview(data).cast("B")
        if self.io.timeout == 0:
            ask()
        self.begin(self.writing, &deadline, "write")
        try:
            sent = self.write_record(octets, &deadline)
            while sent < len(octets) and self.io.timeout != 0:
                sent += self.write_record(memoryview(octets)[sent:], &deadline)
            return sent
        finally:
            self.end(self.writing)

    cpdef write_all(self, data):
        """Send all of *data*; no other greenlet's data comes in between."""
        cdef int64_t deadline = -2
        # Others may set another timeout meanwhile, for calls of their own.
        cdef int64_t timeout = self.io.timeout
        octets = data if type(data) is bytes else memoryview(data).cast("B")
        self.begin(self.writing, &deadline, "write")
        try:
            while octets:
                # Each record has the whole timeout, as in the standard library.
                deadline = -1 if timeout < 0 else time_in(timeout)
                sent = self.write_record(octets, &deadline)
                if sent == len(octets):
                    break
                octets = memoryview(octets)[sent:]
        finally:
            self.end(self.writing)

    def do_handshake(self):
        """Do the TLS handshake: agree on keys and check certificates as the context demands."""
        try:
            self.complete(self.native.do_handshake, "handshake")
        finally:
            self.end(None)

    def shutdown(self):
        """Send a close notification, wait for the peer's, and return the socket, in clear text."""
        cdef int64_t deadline = -2
        self.begin(self.writing, &deadline, "write")
        try:
            if self.half_sent is not None:
                self.finish_half_sent(b"", &deadline)
            return self.complete(self.native.shutdown, None)
        finally:
            self.end(self.writing)

    def release(self):
        """Let the socket continue without TLS. Calls that still wait here wake and try again."""
        self.over = True
        self.forget_readiness()

    # -- everything else

    def __getattr__(self, name):
        return getattr(self.native, name)

    def __setattr__(self, name, value):
        setattr(self.native, name, value)

    def __repr__(self):
        return f"<TLS connection on {self.io!r}>"

    # -- inside

    cdef int begin(self, Turn turn, int64_t *deadline, str what) except -1:
        """Wait for the caller's turn, or raise SSLWantWriteError at once if the timeout is 0."""
        if turn.count > 0:
            self.await_turn(turn, deadline, what)
        else:
            turn.take(1, True, None)
        if turn.was_left:
            turn.was_left = False
            if turn is self.writing and self.sending is not None:
                self.half_sent = bytes(self.sending)
                self.sending = None
        return 0

    cdef int await_turn(self, Turn turn, int64_t *deadline, str what) except -1:
        if turn.owned():
            # In a finalizer or a signal handler: the interrupted call cannot go on before this one.
            raise RuntimeError(f"reentrant call inside {self!r}")
        if self.io.timeout == 0:
            if turn.take(1, False, None):
                return 0
            raise SSLWantWriteError(
                _WANT_WRITE, "another greenlet's write is not complete (write)"
            )
        deadline[0] = deadline_of(self.io)
        if not turn.take(1, True, self.io.seconds):
            raise TimeoutError(f"The {what} operation timed out")
        return 0

    cdef int end(self, Turn turn) except -1:
        if turn is not None:
            turn.give_once()
        if self.over:
            self.forget_readiness()
        return 0

    cdef int forget_readiness(self) except -1:
        """Mark the socket as ready and wake all its waiters.

        Calls in clear text are tried only while the socket is marked ready, and do not see the
        edges that came during TLS.
        """
        self.io.read_ready = self.io.write_ready = True
        wake_all(self.io.readers)
        wake_all(self.io.writers)
        return 0

    cdef read_now(self, Py_ssize_t size, buffer):
        self.prepare(READ)
        if may_block(self.io):
            args = (size,) if buffer is None else (size, buffer)
            return call_at_once(self.io, self.native_read, *args)
        return self.native_read(size) if buffer is None else self.native_read(size, buffer)

    cdef bint has_nothing(self, buffer) except -1:
        """Return whether a read would have to wait; that is cheaper than a try that raises."""
        cdef Py_buffer view
        cdef bint room
        if buffer is not None:
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
            room = view.len > 0
            PyBuffer_Release(&view)
            if not room:
                return False
        return (not self.native_pending() and self.io.fd >= 0
                and not is_ready_now(self.io.fd, READ))

    cdef Py_ssize_t write_record(self, octets, int64_t *deadline) except -1:
        if self.io.timeout != 0:
            spend()
        if len(octets) > RECORD:
            octets = memoryview(octets)[:RECORD]
        if self.half_sent is not None:
            self.finish_half_sent(octets, deadline)
        return self.write_now(octets, deadline)

    cdef Py_ssize_t write_now(self, octets, int64_t *deadline) except -1:
        cdef Py_ssize_t sent
        cdef int event
        while True:
            self.prepare(WRITE)
            try:
                if may_block(self.io):
                    sent = call_at_once(self.io, self.native_write, octets)
                else:
                    sent = self.native_write(octets)
                charge(sent)
                return sent
            except SSLWantWriteError:
                event = WRITE
                if self.io.timeout == 0:
                    raise
            except SSLWantReadError:
                event = READ
                if self.io.timeout == 0:
                    raise
            if event == WRITE:
                self.sending = octets
            try:
                self.wait(event, deadline, "write")
            except:
                if event == WRITE:
                    self.half_sent = bytes(octets)
                raise
            finally:
                self.sending = None

    cdef int finish_half_sent(self, octets, int64_t *deadline) except -1:
        """Send the rest of a cancelled write's record, unless *octets* begins with the same data.

        The peer would take anything else for the missing part of that record.
        """
        cdef bytes rest = self.half_sent
        self.half_sent = None
        if octets[:len(rest)] == rest:
            return 0
        while rest:
            try:
                rest = rest[self.write_now(rest, deadline):]
            except (SSLWantReadError, SSLWantWriteError):
                self.half_sent = rest
                raise
        return 0

    cdef complete(self, method, str what):
        cdef int64_t deadline = -2
        cdef int event
        self.waits_mostly = False
        if self.io.timeout == 0:
            ask()
        while True:
            self.prepare(READ)
            self.prepare(WRITE)
            try:
                return call_at_once(self.io, method)
            except SSLWantReadError:
                event = READ
                if self.io.timeout == 0:
                    raise
            except SSLWantWriteError:
                event = WRITE
                if self.io.timeout == 0:
                    raise
            self.wait(event, &deadline, what or ("read" if event == READ else "write"))

    cdef int prepare(self, int event) except -1:
        """Clear a ready flag before a try, so that an edge during the try is noticed afterwards.

        Raises OSError (EBADF) if the socket is closed.
        """
        if self.io.fd < 0:
            # The native object would still use the number, which may be another file by now.
            raise OSError(EBADF, os.strerror(EBADF))
        if event == READ:
            if self.io.read_ready:
                self.io.read_ready = False
                wake_all(self.io.readers)
        elif self.io.write_ready:
            self.io.write_ready = False
            wake_all(self.io.writers)
        return 0

    cdef int wait(self, int event, int64_t *deadline, str what) except -1:
        """Wait until another try is worthwhile.

        No edge will come if the try ended for another reason than the socket: OpenSSL reports a
        system call that a signal interrupted (EINTR) as one that would block.
        """
        if deadline[0] == -2:
            deadline[0] = deadline_of(self.io)
        if self.io.fd < 0 or not is_ready_now(self.io.fd, event):
            return self.wait_for_edge(event, deadline, what)
        spend()
        if 0 <= deadline[0] <= now():
            raise TimeoutError(f"The {what} operation timed out")
        return self.prepare(event)

    cdef int wait_for_edge(self, int event, int64_t *deadline, str what) except -1:
        if deadline[0] == -2:
            deadline[0] = deadline_of(self.io)
        if not self.io.wait_ready(event, deadline[0]):
            raise TimeoutError(f"The {what} operation timed out")
        return self.prepare(event)


cdef int wake_all(WaitQueue queue) except -1:
    """Wake all waiters: the edge woke one of them, but any may be able to proceed."""
    while queue.grant() is not None:
        pass
    return 0


@cython.binding(True)  # a method of treadle.ssl.SSLSocket
def recv(self, Py_ssize_t buflen=1024, flags=0):
    """Receive up to *buflen* bytes; return empty bytes at the end of the stream.

    If the stream ends without a TLS close alert and ``suppress_ragged_eofs`` is false, raise
    SSLEOFError.
    """
    cdef TLSConnection connection = self._connection
    if connection is None or flags:
        return self._recv_plain(buflen, flags)
    try:
        return connection.read(buflen)
    except SSLEOFError as exc:
        # Without a number, it was thrown into the wait.
        if self.suppress_ragged_eofs and exc.errno:
            return b""
        raise


@cython.binding(True)  # a method of treadle.ssl.SSLSocket
def sendall(self, data, flags=0):
    """Send all of *data*, with no other greenlet's data in between."""
    cdef TLSConnection connection = self._connection
    if connection is None or flags:
        self._sendall_plain(data, flags)
    else:
        connection.write_all(data)
