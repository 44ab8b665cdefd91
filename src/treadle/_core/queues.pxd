from treadle._core.hub cimport Wait
from treadle._core.wait_queue cimport WaitQueue


cdef class SimpleQueue:
    cdef public object queue         # the items: a deque, or the container that _init() made
    cdef WaitQueue getting
    cdef WaitQueue putting
    cdef Py_ssize_t limit            # -1: none
    cdef Py_ssize_t promised         # number of items that belong to getters yet to take them
    cdef Py_ssize_t arriving         # number of items about to be stored
    cdef Py_ssize_t unfinished       # number of items put, less the calls of task_done()
    cdef bint customised             # a subclass overrides _put or another hook
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
    cdef int admit(self, Wait putter) except -1
    cdef object take(self)
    cdef int await_place(self, object item, object timeout) except -1
    cdef int await_item(self, object mark, object timeout) except -1


cdef class Queue(SimpleQueue):
    cdef WaitQueue joining


cdef class Channel:
    cdef WaitQueue getting
    cdef WaitQueue putting
    cdef object handed               # items put without waiting, for getters that were woken
    cdef Py_ssize_t promised         # number of woken getters that have yet to take an item
    cdef object __weakref__

    cdef Py_ssize_t offered(self) except? -2
    cdef int settle(self) except -1
    cdef bint await_item(self, object timeout) except -1
