from libc.stdint cimport uint64_t

from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Wait
from treadle._core.linkable cimport Linkable
from treadle._core.wait_queue cimport WaitQueue


cdef struct Spin:
    void *greenlet               # the last to fail to acquire without blocking; never dereferenced
    int failures                 # how many times in a row it failed


cdef struct Takes:
    int count                    # how often it was acquired while free since `turns` was noted
    uint64_t turns               # the hub's turns at the last check


cdef class Semaphore(Linkable):
    cdef public Py_ssize_t counter
    cdef WaitQueue watchers      # the waits of wait(), which a permit wakes but which take none
    cdef Spin spin

    # Give back what `wait` was given; its value is not None if that is nothing.
    cdef int forgo(self, Wait wait) except -1
    cdef bint take_free(self) noexcept
    cdef bint take(self, bint blocking, object timeout) except -1
    cdef int retake(self) except -1
    cdef int give(self) except -1


cdef class BoundedSemaphore(Semaphore):
    cdef Py_ssize_t initial


cdef class Lock(Semaphore):
    cdef Takes takes


cdef class RLock:
    cdef WaitQueue waiters
    cdef greenlet owner          # None while free, or granted to a waiter that did not run yet
    cdef Py_ssize_t count
    cdef Spin spin
    cdef Takes takes
    cdef object __weakref__

    cdef bint take(self, Py_ssize_t count, bint blocking, object timeout,
                   bint shielded=*) except -1
    cdef int give(self) except -1
    cdef int give_once(self) except -1
    cdef bint owned(self) noexcept
