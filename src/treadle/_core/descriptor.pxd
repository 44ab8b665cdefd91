from libc.stdint cimport int64_t

from treadle._core.hub cimport Wait
from treadle._core.poller cimport Pollable
from treadle._core.wait_queue cimport WaitQueue


cdef class Descriptor(Pollable):
    """A file descriptor that greenlets of any hub wait for, readers and writers in order."""
    cdef bint owned                  # treadle alone closes it, so its number is not reused
    # Whether the next call may be tried at once; otherwise the caller waits first.
    cdef bint read_ready, write_ready
    cdef bint hung_up                # no further edge will come: a call may always be tried
    cdef WaitQueue readers, writers
    cdef public bint unref           # waits for it do not keep the loop alive
    cdef object __weakref__

    # Wait for READ or WRITE until `deadline` (-1: no limit). Returns 1, or 0 when the deadline has
    # passed. `again`: the caller was woken but another greenlet was faster, so the caller goes to
    # the front of the queue. `asks_again`: return 0 also if the descriptor is not open or is closed.
    cdef int wait_ready(self, int event, int64_t deadline, bint again=*, bint asks_again=*) except -1
    # Call after an operation, or if a woken greenlet makes none: if the descriptor is still ready,
    # wake the next waiter.
    cdef int pass_on(self, int event) except -1
    # The descriptor is about to be closed or given away: raise EBADF in all waiters and forget it.
    cdef int detach(self) except -1
    cdef int register(self, Wait wait, int event) except -1
    cdef bint try_register(self, Wait wait, int event) except -1
    cdef int wanted(self) except -1
    cdef void wake(self, WaitQueue queue, bint was_ready) noexcept
    cdef void rearm(self) noexcept
    cdef void fail(self, object exc) noexcept


# Wait until a descriptor that treadle does not own is ready. Returns 1, or 0 after `timeout`
# nanoseconds (-1: no limit).
cdef int wait_foreign(int fd, int event, int64_t timeout, bint asks_again=*) except -1
# Call before an operation that may succeed without waiting: yields once many were made. Never call
# it after an operation: an exception that the yield raises in the greenlet would lose the data that
# was received.
cdef int spend() except -1
# Call before an operation that never waits; yields if the greenlet makes nothing but such calls.
cdef int ask() except -1
# Call after such an operation if it would have blocked.
cdef void asked_in_vain() noexcept
# Call after an operation that moved `size` bytes: many bytes cost as much as many operations.
cdef void charge(Py_ssize_t size) noexcept
