from libc.stdint cimport uint64_t

from treadle._core.linkable cimport Linkable


cdef class Event(Linkable):
    cdef bint flag
    cdef void *waker         # the hub that last woke waiters; never dereferenced
    cdef uint64_t woken_in   # the turn of that hub in which it did

    cdef int raise_flag(self) except -1
    cdef bint woke_others_just_now(self)


cdef enum Outcome:
    UNSET, VALUE, ERROR


cdef class AsyncResult(Linkable):
    cdef Outcome outcome
    cdef object result_or_error
    cdef object error_traceback
    cdef int settle(self, Outcome outcome, object value) except -1
