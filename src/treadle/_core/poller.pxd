from libc.stdint cimport int64_t, uint32_t

cdef enum:
    READ = 1    # gevent's and libev's numbers
    WRITE = 2
    HANGUP = 4  # no further edge will come: reading or writing does not block any more


cdef class Pollable:
    """Something with a descriptor that pollers tell of readiness."""
    cdef readonly int fd
    cdef uint32_t serial  # tells this life of the descriptor's number from earlier ones
    # Both are C only: they may unpark and queue callbacks, never switch or run Python.
    cdef void ready(self, int events) noexcept
    # Another object was registered for the same number: with `reused`, because the file this one
    # stood for was closed behind our back; otherwise both stand for one open file.
    cdef void replaced(self, Pollable other, bint reused) noexcept
    # After a fork that keeps greenlets: watch again, on a poller that is new.
    cdef int rewatch(self, Poller poller) except -1


cdef class Poller:
    cdef readonly bint edge_triggered
    cdef list slots  # descriptor -> the Pollable registered for it, or None
    # A wait is about to block, or does: whoever has something for the hub must wake() it. Set by
    # the hub, cleared by wait() before it tells the Pollables.
    cdef bint blocking

    # Report events of `pollable`. `owned`, on an edge-triggered poller: in both directions until
    # forgotten. Otherwise: once, for `events`, replacing what was asked for before. Asking again
    # reports anew what is ready already. A file that is always ready is reported at once.
    cdef int watch(self, Pollable pollable, int events, bint owned) except -1
    # The descriptor is about to be closed.
    cdef int forget(self, Pollable pollable) except -1
    # Wait at most `timeout` nanoseconds (-1: for ever) and tell the Pollables. Keeps the GIL if the
    # timeout is 0. In the main thread signal handlers run in it, and what they raise comes out.
    cdef int wait(self, int64_t timeout) except -1
    # End the current or next wait; from any thread.
    cdef int wake(self) except -1
    cdef int close(self) except -1
    # In a forked child: start anew, touching nothing that is shared with the parent.
    cdef int renew(self) except -1
    # The same, and register again what was registered.
    cdef int renew_and_rewatch(self) except -1

    cdef Pollable slot(self, int fd)
    cdef int fill_slot(self, Pollable pollable, bint reused) except -1
