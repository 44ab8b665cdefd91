"""Waiting for file descriptors.

A call on an owned descriptor is tried first and waits for an edge only if it would block. Two flags
tell whether a try is worthwhile: an edge sets them, EAGAIN and short reads clear them. While a flag
is set and greenlets are queued, one of those has been woken.
"""

import os

from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EBADF, EINTR, errno
from libc.stdint cimport INT32_MAX, int64_t, uint64_t

from treadle._core.clock cimport nanoseconds, now, time_in
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport (
    ON_READ,
    ON_WRITE,
    ON_YIELD,
    Hub,
    Wait,
    current_greenlet,
    get_hub_if_exists,
    new_hub_wait,
    park,
    unpark,
    unpark_with,
)
from treadle._core.poller cimport HANGUP, READ, WRITE, Pollable, Poller
from treadle._core.thread_hub cimport forget_in_all_hubs, open_hubs
from treadle._core.wait_queue cimport WaitQueue, grants_pass_on, park_in

PyGreenlet_Import()

cdef extern from "ready.h":
    bint treadle_would_wait(int fd, bint writing)
    int treadle_fd_waits(int fd)
    int treadle_takes_parts(int fd)
    bint treadle_had_writer(int fd)
    int treadle_poll(int fd, bint writing, int ms) nogil
    enum:
        TREADLE_PIPE_BUF

# The number of bytes that always fit into a pipe that is ready for writing.
PIPE_BUF = TREADLE_PIPE_BUF

# How many operations in a row may succeed without waiting before the greenlet yields. The number
# is small enough that a reader of an always-ready socket holds the thread for about a millisecond,
# and large enough that the cost of the yields is negligible.
cdef enum:
    BUDGET = 128
    # 2 to the power of this many bytes (4 KiB) cost about as much as one more operation.
    BYTES_SHIFT = 12
    # A call of a non-blocking socket that would block costs as much as so many more that would not.
    IN_VAIN = 7

cdef Py_ssize_t budget = BUDGET


def renew_budget():
    """Let the next yield be a full share away, so that a schedule can be repeated."""
    global budget, asked
    budget, asked = BUDGET, 0


cdef void charge(Py_ssize_t size) noexcept:
    global budget
    budget -= size >> BYTES_SHIFT


cdef int spend() except -1:
    global budget
    cdef Hub hub
    budget -= 1
    if budget > 0:
        return 0
    budget = BUDGET
    hub = get_hub_if_exists()
    if hub is None or current_greenlet() is hub:
        return 0  # no other greenlet runs in this thread, or a callback does, which must not wait
    return let_others_run()


cdef int let_others_run() except -1:
    cdef Wait wait = new_hub_wait(ON_YIELD, None)
    unpark(wait)
    park(wait, -1)
    return 0


# The greenlet that asked a non-blocking socket last, the turn of its hub, and what its calls in that
# turn cost. It yields only after many: a single call in a finalizer or a signal handler must not.
cdef void *asker = NULL
cdef uint64_t asked_in = 0
cdef Py_ssize_t asked = 0


cdef int ask() except -1:
    global asker, asked_in, asked
    cdef Hub hub = get_hub_if_exists()
    cdef greenlet current
    if hub is None:
        return 0
    current = current_greenlet()
    if asker != <void *>current or asked_in != hub.turns:
        asker, asked_in, asked = <void *>current, hub.turns, 0
    asked += 1
    if asked < BUDGET or current is hub:
        return 0
    asker = NULL
    return let_others_run()


cdef void asked_in_vain() noexcept:
    global asked
    asked += IN_VAIN


cdef class Descriptor(Pollable):

    def __cinit__(self, *args, **kwargs):
        self.read_ready = self.write_ready = True
        self.readers = WaitQueue()
        self.writers = WaitQueue()

    cdef void ready(self, int events) noexcept:
        if events & HANGUP:
            self.hung_up = True
        if events & READ:
            self.wake(self.readers, self.read_ready)
            self.read_ready = True
        if events & WRITE:
            self.wake(self.writers, self.write_ready)
            self.write_ready = True
        self.rearm()

    cdef void wake(self, WaitQueue queue, bint was_ready) noexcept:
        # Waiters for a descriptor that treadle does not own only want to know that it is ready:
        # wake all. Of a socket's waiters, wake one: it makes its call and passes on what is left.
        # If the flag was set already, that one was woken before.
        if not self.owned or self.hung_up:
            while queue.grant() is not None:
                pass
        elif not was_ready:
            queue.grant()

    cdef void rearm(self) noexcept:
        """After a one-shot event, ask this hub's poller again for what is still waited for."""
        cdef Hub hub = get_hub_if_exists()
        cdef int events
        if hub is None or (self.owned and hub.poller.edge_triggered):
            return
        try:
            events = self.wanted()
            if events:
                hub.poller.watch(self, events, self.owned)
        except OSError as exc:
            self.fail(exc)

    cdef int wanted(self) except -1:
        cdef int events = 0
        if self.readers.count:
            events |= READ
        if self.writers.count:
            events |= WRITE
        return events

    cdef void replaced(self, Pollable other, bint reused) noexcept:
        cdef Descriptor heir
        if reused or not isinstance(other, Descriptor):
            self.fail(closed_error())
            return
        heir = other
        # Registration reports again what is ready, so waiting for that report loses nothing.
        if move_waits(self.readers, heir.readers):
            heir.read_ready = False
        if move_waits(self.writers, heir.writers):
            heir.write_ready = False

    cdef void fail(self, exc) noexcept:
        cdef WaitQueue queue
        cdef Wait wait
        for queue in (self.readers, self.writers):
            while queue.count:
                wait = queue.pop()
                if wait.value is ASKS_AGAIN:
                    unpark(wait)
                else:
                    unpark_with(wait, exc)

    cdef int rewatch(self, Poller poller) except -1:
        cdef int events = self.wanted()
        if events or self.owned:
            try:
                poller.watch(self, events or READ, self.owned)
            except OSError as exc:
                self.fail(exc)  # the others are registered all the same
        return 0

    cdef int register(self, Wait wait, int event) except -1:
        cdef Poller poller = wait.hub.poller
        cdef int events
        if self.owned and poller.edge_triggered:
            if poller.slot(self.fd) is not self:
                poller.watch(self, READ | WRITE, True)
        else:
            events = self.wanted() | event
            poller.watch(self, events, self.owned)
            if self.wanted() & ~events:
                # watch() moved another object's waits for this file here: include their events.
                poller.watch(self, self.wanted() | events, self.owned)
        return 0

    cdef bint try_register(self, Wait wait, int event) except -1:
        """Register for a waiter that asks again; return False if the descriptor is not open."""
        wait.value = ASKS_AGAIN
        try:
            self.register(wait, event)
        except OSError as exc:
            if exc.errno != EBADF:
                raise
            return False
        return True

    cdef int wait_ready(self, int event, int64_t deadline, bint again=False,
                        bint asks_again=False) except -1:
        cdef Wait wait
        cdef WaitQueue queue = self.readers if event == READ else self.writers
        cdef int64_t timeout = -1
        if self.fd < 0:
            raise OSError(EBADF, os.strerror(EBADF))
        if deadline >= 0:
            timeout = max(deadline - now(), 0)
        wait = new_hub_wait(ON_READ if event == READ else ON_WRITE, self)
        if wait.hub is None:
            self.read_ready = self.write_ready = True  # they tell whether a call may be tried
            return block_thread(self.fd, event, deadline)
        if not asks_again:
            self.register(wait, event)
        elif not self.try_register(wait, event):
            return 0
        if queue.count == 0 and (self.read_ready if event == READ else self.write_ready):
            return 1  # a regular file, or an event of another hub's poller came meanwhile
        if again:
            queue.prepend(wait)
        wait.in_refs = not self.unref
        wait.hub.refs += wait.in_refs
        try:
            return park_in(queue, wait, timeout)  # perhaps in that of our successor, later
        finally:
            if wait.generation == wait.hub.generation:
                wait.hub.refs -= wait.in_refs

    cdef int pass_on(self, int event) except -1:
        if event == READ:
            if self.read_ready and self.readers.count:
                self.readers.grant()
        elif self.write_ready and self.writers.count:
            self.writers.grant()
        return 0

    cdef int detach(self) except -1:
        cdef Hub hub = get_hub_if_exists()
        if self.fd >= 0:
            if hub is not None:
                cancel_in(hub, self.fd)  # also if another object is registered for the number
            forget_in_all_hubs(self)
            self.fd = -1
            self.fail(closed_error())
        return 0

    def __repr__(self):
        return f"<descriptor {self.fd}>"


cdef int forgo_read(Wait wait) except -1:
    return (<Descriptor>wait.on).pass_on(READ)


cdef int forgo_write(Wait wait) except -1:
    return (<Descriptor>wait.on).pass_on(WRITE)


grants_pass_on(ON_READ, forgo_read)
grants_pass_on(ON_WRITE, forgo_write)


# The value of a Wait that ends, instead of raising an error, when its descriptor is closed.
cdef object ASKS_AGAIN = object()


cpdef object closed_error():
    """Return a new OSError (EBADF) for those who wait for what another greenlet closes."""
    return OSError(EBADF, "File descriptor was closed in another greenlet")


cdef bint move_waits(WaitQueue source, WaitQueue target) noexcept:
    cdef bint any = source.count > 0
    while source.count:
        target.append(source.pop())
    return any


cdef int block_thread(int fd, int event, int64_t deadline) except -1:
    """Wait for a descriptor in a thread without a hub, as the interpreter ends.

    Returns 1, or 0 when the deadline (-1: none) has passed.
    """
    cdef int ready = 0
    cdef int64_t left = INT32_MAX
    while not ready:
        if deadline >= 0:
            left = max(deadline - now(), 0) + 999_999
        with nogil:
            ready = treadle_poll(fd, event == WRITE, <int>min(left // 1_000_000, INT32_MAX))
        if ready < 0:
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
            ready = 0
        elif not ready and 0 <= deadline <= now():
            return 0
    return 1


cdef int wait_foreign(int fd, int event, int64_t timeout, bint asks_again=False) except -1:
    cdef Wait probe = new_hub_wait(ON_READ, None)  # gives the hub; raises if called in the hub
    cdef Pollable found
    cdef Descriptor descriptor
    cdef int64_t deadline = -1 if timeout < 0 else time_in(timeout)
    if probe.hub is None:
        return block_thread(fd, event, deadline)
    found = probe.hub.poller.slot(fd)
    # Use the registered Descriptor again only if nothing waits for it. Otherwise only the poller
    # can tell whether the number still means the same file, and it does so when it registers
    # another object.
    if (isinstance(found, Descriptor) and not (<Descriptor>found).owned
            and (<Descriptor>found).wanted() == 0):
        descriptor = found
    else:
        descriptor = Descriptor(fd)
    # Its events are one-shot: earlier readiness tells nothing of the present.
    descriptor.read_ready = descriptor.write_ready = descriptor.hung_up = False
    try:
        return descriptor.wait_ready(event, deadline, False, asks_again)
    finally:
        # If a socket of treadle's took the wait over, this greenlet may have been woken instead of
        # a reader: pass the wake-up on.
        found = probe.hub.poller.slot(fd)
        if found is not descriptor and isinstance(found, Descriptor):
            (<Descriptor>found).pass_on(event)


def wait_for(int fd, int event, timeout=None) -> bool:
    """Wait until *fd* is ready for READ (1) or WRITE (2), and return True.

    Returns False after *timeout* seconds (None: no limit). Raises OSError if the descriptor is not
    open or is closed meanwhile, and ValueError if it is negative.
    """
    if fd < 0:
        raise ValueError(f"a file descriptor is not negative: {fd}")
    return bool(wait_foreign(fd, event, nanoseconds(timeout)))


def wait_to_ask(int fd, int event, timeout=None) -> bool:
    """Wait as :func:`wait_for` does, but return False when *fd* is closed, or is not open.

    For callers that ask the system afterwards and get its error in the way of their own call.
    What this raises is no error of the descriptor: it was thrown into the wait.
    """
    return bool(wait_foreign(fd, event, nanoseconds(timeout), True))


def await_ready(fd, int event) -> None:
    """Wait until a read (*event* 1) or write (2) on *fd* would not block.

    For descriptors that stay in blocking mode because other processes share them. Returns at once
    if this thread has no hub or runs a callback, and if *fd* is not open: the call itself then
    raises the error.
    """
    cdef Hub hub = get_hub_if_exists()
    if hub is None or type(fd) is not int or fd < 0 or current_greenlet() is hub:
        return
    spend()
    while treadle_would_wait(fd, event == WRITE):  # a loop: another greenlet may have been faster
        wait_foreign(fd, event, -1)


def waits(int fd) -> bool:
    """Return whether calls on *fd* shall wait: the program has not made it non-blocking.

    True for a socket that treadle made non-blocking and that has no timeout. Raises OSError if *fd*
    is not open.
    """
    cdef int found = treadle_fd_waits(fd)
    if found < 0:
        PyErr_SetFromErrno(OSError)
    return bool(found)


def takes_parts(int fd) -> bool:
    """Return whether a write to *fd* may be made in parts: it is a pipe, terminal or stream socket."""
    return bool(treadle_takes_parts(fd))


def had_writer(int fd) -> bool:
    """Return whether *fd*, a FIFO opened for reading without waiting, has or had a writer."""
    return treadle_had_writer(fd)


def cancel_waits(int fd) -> None:
    """Raise OSError (EBADF) in the greenlets of this thread that wait for *fd*."""
    cdef Hub hub = get_hub_if_exists()
    if hub is not None:
        cancel_in(hub, fd)


def cancel_waits_between(int low, int high) -> None:
    """Do what cancel_waits() does for all descriptors from *low* to below *high*."""
    cdef Hub hub = get_hub_if_exists()
    cdef int fd
    if hub is not None:
        for fd in range(max(low, 0), min(high, <int>len(hub.poller.slots))):
            cancel_in(hub, fd)


def cancel_all_waits(int fd) -> None:
    """Raise OSError (EBADF) in the greenlets of all threads that wait for *fd*.

    Call this before another file gets the number *fd*: a socket that has it then uses that file.
    """
    cdef Hub hub
    cdef Pollable found
    cdef Descriptor descriptor
    for hub in list(open_hubs()):
        # A portable poller, in which its thread may be, asks for each event anew anyway.
        found = hub.poller.slot(fd) if hub.poller.edge_triggered else None
        if isinstance(found, Descriptor):
            descriptor = found
            hub.poller.forget(descriptor)
            descriptor.read_ready = descriptor.write_ready = True
            descriptor.hung_up = False
            descriptor.fail(closed_error())
    cancel_waits(fd)


def used_descriptors(int low, int high) -> list[int]:
    """Return the descriptors from *low* to below *high* that treadle's hubs use, sorted."""
    cdef Hub hub
    return sorted([fd for hub in list(open_hubs()) if hub.poller is not None
                   for fd in hub.poller.descriptors() if low <= fd < high])


def yield_number(int fd) -> None:
    """Let no hub of treadle's use the number *fd* any more: the program is about to."""
    cdef Hub hub
    for hub in list(open_hubs()):
        if hub.poller is not None:
            hub.poller.yield_number(fd)


cdef int cancel_in(Hub hub, int fd) except -1:
    cdef Pollable found = hub.poller.slot(fd)
    if isinstance(found, Descriptor):
        (<Descriptor>found).fail(closed_error())
        hub.poller.forget(found)
    return 0
