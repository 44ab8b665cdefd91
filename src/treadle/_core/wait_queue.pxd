from cpython.object cimport PyObject

from libc.stdint cimport int64_t

from treadle._core.hub cimport Reason, Wait

# Declare that forgo() passes on what was granted to a Wait with this reason. It is called when the
# greenlet does not take that, because an exception ended the wait, or because a fork or the end of a
# thread has left the greenlet behind. Call grants_pass_on() only while a module is initialized.
ctypedef int (*treadle_forgo)(Wait wait) except -1
cdef void grants_pass_on(Reason reason, treadle_forgo forgo) noexcept
# Pass on what was granted to `wait`, if that kind of wait is given anything.
cdef int forgo_grant(Wait wait) except -1

cdef class WaitQueue:
    """Waits, in the order in which they are to be served."""
    cdef PyObject *first
    cdef PyObject *last
    cdef readonly Py_ssize_t count
    cdef int append(self, Wait wait) except -1
    cdef int prepend(self, Wait wait) except -1
    cdef void remove(self, Wait wait) noexcept   # does nothing if the wait is not in this queue
    cdef Wait pop(self)                          # None if empty
    # Mark the first wait that can still run as granted, unpark it and return it; None if there is
    # none.
    cdef Wait grant(self)
    # The same for the last wait, which then runs before all that is ready in its hub.
    cdef Wait grant_last_urgently(self)


# Wait in `queue`, if `wait` is in none and was not granted yet, at most `timeout` nanoseconds (-1: no limit), and
# return whether it was granted. If an exception ends the wait, what was granted is passed on.
cdef bint park_in(WaitQueue queue, Wait wait, int64_t timeout) except -1

cdef inline void leave_queue(Wait wait) noexcept:
    if wait.queue is not None:
        (<WaitQueue>wait.queue).remove(wait)
