from treadle._core.hub cimport Wait


cdef class Collector:
    """Gathers objects as they become ready and wakes the one greenlet that waits for them."""
    cdef readonly list ready         # in the order they came
    cdef Wait wait
    cdef Py_ssize_t wanted           # how many `ready` must hold to wake the waiter
    # Add an object that is ready. Never switches or runs Python.
    cdef int add(self, object source) except -1
    # For task groups: take a greenlet that is about to start as a child.
    cdef int adopt(self, object child) except -1
