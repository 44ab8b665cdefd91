from libc.stdint cimport int64_t

from treadle._core.delivery cimport Interrupts, Scope
from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Hub
from treadle._core.timers cimport treadle_timer


# A new scope of the public class.
cdef CancelScope new_scope(object timeout, bint shields)


cdef class CancelScope(Scope):
    cdef Hub hub                     # of the greenlet that has entered it; None before
    cdef dict children               # its task group's (see there); None without a group
    cdef int64_t lasts               # its timeout, in nanoseconds from its begin; -1: none
    cdef int64_t due                 # its deadline, on the loop's clock; -1: none
    cdef treadle_timer *timer        # for the deadline
    cdef int64_t grace               # how long its shield holds anything back, in nanoseconds; -1: no limit
    cdef treadle_timer *opening      # ends the shield
    cdef treadle_timer *reporting    # reports that the shield holds something back for long
    cdef bint fails                  # its end raises TimeoutError if its deadline has ended the block
    cdef bint is_overdue             # its deadline has passed
    cdef bint is_lost                # it was on the stack of a scope that was left too early
    cdef readonly bint caught
    cdef readonly object reason
    cdef readonly object source      # who has cancelled it: a greenlet, or None

    cdef bint is_reached(self)
    cdef Interrupts interrupts_in(self, greenlet current)
    cdef int enter(self) except -1
    # Leave it with the exception that the block raises, or None; return whether that ends here.
    cdef bint leave(self, object value) except -1
    cdef int unlink(self, greenlet current, Interrupts interrupts) except -1
    cdef object without_own(self, object exc)
    cdef int check_innermost(self) except -1
    cdef int cancel_by(self, object reason, object source) except -1
    cdef int set_deadline(self, int64_t due) except -1
    cdef int drop_deadline(self) except -1
    cdef int drop_shield_timers(self) except -1
    cdef int drop_timers(self) except -1
    cdef int check_place(self, greenlet current, Interrupts interrupts) except -1
