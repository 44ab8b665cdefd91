from libc.stdint cimport int64_t

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

    # Expire, once more, at the current greenlet's next wait, unless it is cancelled before.
    cdef int postpone(self) except -1
    cdef int start_after(self, int64_t ns) except -1
    cdef void disarm(self) noexcept
    cdef void expire(self) noexcept
    cdef object to_raise(self)
