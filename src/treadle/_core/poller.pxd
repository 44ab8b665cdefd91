from libc.stdint cimport int64_t, uint32_t

cdef enum:
    READ = 1    # gevent's and libev's numbers
    WRITE = 2
    HANGUP = 4  # no further edge will come: reading or writing does not block any more


cdef class Pollable:
    """An object with a descriptor, to which pollers report that the descriptor is ready."""
    cdef readonly int fd
    cdef uint32_t serial  # distinguishes this use of the descriptor's number from earlier ones
    # ready() and replaced() are C only: they may unpark and queue callbacks, but never switch or
    # run Python.
    cdef void ready(self, int events) noexcept
    # Another object was registered for the same number. With `reused`, the file of this object was
    # closed without treadle's knowledge; otherwise both objects stand for the same open file.
    cdef void replaced(self, Pollable other, bint reused) noexcept
    # After a fork that keeps greenlets: register again, with a new poller.
    cdef int rewatch(self, Poller poller) except -1


cdef class Poller:
    cdef readonly bint edge_triggered
    cdef list slots  # descriptor -> the Pollable registered for it, or None
    # wait() blocks or is about to: code that queues an entry for the hub must call wake(). The hub
    # sets this; wait() clears it before it tells the Pollables.
    cdef bint blocking

    # Report events of `pollable`. If it is `owned` and the poller edge-triggered: edges in both
    # directions, until forget(). Otherwise: one event out of `events`, replacing what was asked for
    # before. Asking again reports again what is ready. A file that is always ready is reported at
    # once.
    cdef int watch(self, Pollable pollable, int events, bint owned) except -1
    # The descriptor is about to be closed. Of an edge-triggered poller, any thread may call it.
    cdef int forget(self, Pollable pollable) except -1
    # Wait at most `timeout` nanoseconds (-1: no limit) and tell the Pollables. Keeps the GIL if the
    # timeout is 0. Signals end the wait. A portable poller may run their handlers in the middle of
    # it, and raises what they raise.
    cdef int wait(self, int64_t timeout) except -1
    # End the current or next wait. Any thread may call it.
    cdef int wake(self) except -1
    cdef int close(self) except -1
    # Which descriptors the poller itself uses.
    cdef tuple descriptors(self)
    # Leave the number `fd` to the program, which is about to give it to a file of its own.
    cdef int yield_number(self, int fd) except -1
    # In a forked child: open the poller anew without touching anything shared with the parent.
    cdef int renew(self) except -1
    # Call renew() and register again what was registered.
    cdef int renew_and_rewatch(self) except -1

    cdef Pollable slot(self, int fd)
    cdef int fill_slot(self, Pollable pollable, bint reused) except -1
