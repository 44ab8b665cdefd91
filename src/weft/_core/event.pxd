from weft._core.linkable cimport Linkable


cdef class Event(Linkable):
    cdef bint flag


cdef enum Outcome:
    UNSET, VALUE, ERROR


cdef class AsyncResult(Linkable):
    cdef Outcome outcome
    cdef object result_or_error
    cdef object error_traceback
    cdef int settle(self, Outcome outcome, object value) except -1
