from libc.stdint cimport int64_t

from treadle._core.hub cimport Reason, Wait
from treadle._core.turns cimport Turn
from treadle._core.wait_queue cimport WaitQueue


cdef class SimpleQueue:
    cdef public object queue         # the items: a deque, or the container that _init() made
    cdef WaitQueue getting
    cdef WaitQueue putting
    cdef Py_ssize_t limit            # -1: none
    cdef Py_ssize_t promised         # number of items that belong to getters yet to take them
    cdef Py_ssize_t reserved         # number of places that belong to putters yet to fill them
    cdef Py_ssize_t unfinished       # number of items put, less the calls of task_done()
    cdef bint customised             # a subclass overrides _put or another hook
    cdef bint compares               # putting and getting compare items, which may run any code
    # Held while hooks run, which may run any code and wait. None if there are none.
    cdef Turn mutex
    cdef readonly bint is_shutdown
    cdef object __weakref__

    # How items are kept. In a PriorityQueue they compare items, which may run any code.
    cdef int store(self, object item) except -1
    cdef object unstore(self)
    cdef object head(self)

    cdef Py_ssize_t size(self) except -1
    cdef bint is_full(self) except -1
    cdef int settle(self) except -1
    cdef int add(self, object item) except -1
    cdef int admit(self, Wait putter) noexcept
    # The operations of a queue with a mutex.
    cdef bint try_put(self, object item) except -1
    cdef object try_get(self, bint peeks)
    cdef object get_or_peek(self, bint peeks, bint block, object timeout)
    cdef int leave_mutex(self) except -1
    cdef int wake_waiters(self) except -1
    cdef bint await_change(self, Reason reason, object error, object timeout, int64_t deadline,
                           bint first) except -1
    cdef object take(self)
    cdef int fill(self, object item) except -1
    cdef int await_place(self, object item, object timeout) except -1
    cdef int await_item(self, object mark, object timeout) except -1


cdef class Queue(SimpleQueue):
    cdef WaitQueue joining

    cdef int drop_items(self) except -1


cdef class Channel:
    cdef WaitQueue getting
    cdef WaitQueue putting
    cdef object handed               # items put without waiting, for getters that were woken
    cdef Py_ssize_t promised         # number of woken getters that have yet to take an item
    cdef object __weakref__

    cdef Py_ssize_t offered(self) except? -2
    cdef int settle(self) except -1
    cdef bint await_item(self, object timeout) except -1
