from libc.stdint cimport int64_t

from treadle._core.hub cimport Wait
from treadle._core.poller cimport Pollable
from treadle._core.wait_queue cimport WaitQueue


cdef class Descriptor(Pollable):
    """A file descriptor that greenlets of any hub wait for, readers and writers in order."""
    cdef bint owned                  # ours: nobody else closes it or reuses its number
    # Whether the next call may be tried; without it one waits first.
    cdef bint read_ready, write_ready
    cdef bint hung_up                # no edge will come any more: always worth a try
    cdef WaitQueue readers, writers
    cdef public bint unref           # who waits for it does not keep the loop going
    cdef object __weakref__

    # Wait for READ or WRITE until `deadline` (-1: for ever): 1, or 0 when it passed. `again`: the
    # caller was woken but others were faster, and keeps its place before all who wait.
    cdef int wait_ready(self, int event, int64_t deadline, bint again=*) except -1
    # After a call, or instead of one: if there is still something to do, the next one's turn.
    cdef int pass_on(self, int event) except -1
    # The descriptor is closed or given away: raise EBADF in all who wait, forget it.
    cdef int detach(self) except -1
    cdef int register(self, Wait wait, int event) except -1
    cdef int wanted(self, object hub) except -1
    cdef void wake(self, WaitQueue queue, bint was_ready) noexcept
    cdef void rearm(self) noexcept
    cdef void fail(self, object exc) noexcept


# Wait until a descriptor that is not ours is ready: 1, or 0 after `timeout` nanoseconds.
cdef int wait_foreign(int fd, int event, int64_t timeout) except -1
# Before an operation on up to `size` bytes that may not wait: after many, let others run. Never
# after one: what is delivered to the greenlet meanwhile would lose what was received.
cdef int spend(Py_ssize_t size) except -1
