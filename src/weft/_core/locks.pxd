from weft._core.greenlet_api cimport greenlet
from weft._core.hub cimport WaitQueue
from weft._core.linkable cimport Linkable


cdef class Semaphore(Linkable):
    cdef public Py_ssize_t counter
    cdef WaitQueue watchers      # in wait(): told of a permit, without taking it
    cdef void *spinner           # who failed to acquire without blocking last, never followed
    cdef int spins               # how often in a row

    cdef bint take(self, bint blocking, object timeout) except -1
    cdef int note_failure(self) except -1
    cdef int give(self) except -1


cdef class BoundedSemaphore(Semaphore):
    cdef Py_ssize_t initial


cdef class Lock(Semaphore):
    pass


cdef class RLock:
    cdef WaitQueue waiters
    cdef greenlet owner          # None while free, or handed to a waiter that did not run yet
    cdef Py_ssize_t count
    cdef object __weakref__

    cdef bint take(self, Py_ssize_t count, bint blocking, object timeout) except -1
    cdef int give(self) except -1
    cdef bint owned(self) noexcept
