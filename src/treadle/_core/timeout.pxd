from libc.stdint cimport int64_t

from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Hub, Wait
from treadle._core.timers cimport treadle_timer

# The exception to raise after `timeout` seconds; if `timeout` is a Timeout, what that raises.
cdef object timeout_error(object timeout)


# Let those timeouts expire, at the greenlet's next wait, that a shielded wait has held.
cdef inline int release_held(Wait wait) except -1:
    return 0 if wait.value is None or not wait.shielded else expire_held(wait)
cdef int expire_held(Wait wait) except -1


cdef class Timeout(BaseException):
    cdef treadle_timer *timer
    cdef Hub hub
    cdef greenlet target
    cdef public object seconds
    cdef public object exception
    cdef bint counts      # whether it keeps the loop alive
    cdef bint held        # it is due, but the greenlet's wait is shielded

    # Expire, once more, at the current greenlet's next wait, unless it is cancelled before.
    cdef int postpone(self) except -1
    cdef int start_after(self, int64_t ns) except -1
    cdef void disarm(self) noexcept
    cdef void expire(self) noexcept
    cdef object to_raise(self)
