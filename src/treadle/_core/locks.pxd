from libc.stdint cimport uint64_t

from treadle._core.greenlet_api cimport greenlet
from treadle._core.linkable cimport Linkable
from treadle._core.wait_queue cimport WaitQueue


cdef struct Spin:
    void *greenlet               # who failed to acquire without blocking last, never followed
    int failures                 # how often in a row


cdef struct Takes:
    int count                    # how often it was free and taken since somebody looked
    uint64_t turns               # of the hub, when that was


cdef class Semaphore(Linkable):
    cdef public Py_ssize_t counter
    cdef WaitQueue watchers      # in wait(): told of a permit, without taking it
    cdef Spin spin

    cdef bint take_free(self) noexcept
    cdef bint take(self, bint blocking, object timeout) except -1
    cdef object retake(self)
    cdef int give(self) except -1


cdef class BoundedSemaphore(Semaphore):
    cdef Py_ssize_t initial


cdef class Lock(Semaphore):
    cdef Takes takes


cdef class RLock:
    cdef WaitQueue waiters
    cdef greenlet owner          # None while free, or handed to a waiter that did not run yet
    cdef Py_ssize_t count
    cdef Spin spin
    cdef Takes takes
    cdef object __weakref__

    cdef bint take(self, Py_ssize_t count, bint blocking, object timeout) except -1
    cdef int give(self) except -1
    cdef object retake(self, Py_ssize_t count)
    cdef bint owned(self) noexcept
