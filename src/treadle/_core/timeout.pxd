from libc.stdint cimport int64_t, uint64_t

from treadle._core.delivery cimport Held
from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Hub
from treadle._core.timers cimport treadle_timer

# The exception to raise after `timeout` seconds; if `timeout` is a Timeout, what that raises.
cdef object timeout_error(object timeout)


cdef class Timeout(BaseException):
    cdef treadle_timer *timer
    cdef Hub hub
    cdef greenlet target
    cdef public object seconds
    cdef public object exception
    cdef bint counts      # whether it keeps the loop alive
    cdef uint64_t number  # shields of scopes that were entered later hold it back
    cdef Held held        # it is due, and waits for the greenlet's next wait; None: it is not

    cdef bint is_held(self) noexcept
    cdef int start_after(self, int64_t ns) except -1
    cdef void disarm(self) noexcept
    cdef void expire(self) noexcept
    cdef object to_raise(self)
