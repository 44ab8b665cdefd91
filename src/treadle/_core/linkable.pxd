from treadle._core.hub cimport Reason, Wait
from treadle._core.wait_queue cimport WaitQueue


cdef class Linkable:
    """Something one can wait for, in a greenlet or by a callback."""
    cdef WaitQueue waiters
    cdef list links          # (callback, hub it runs in), in order; None for none
    cdef object __weakref__

    cdef bint is_ready(self) noexcept
    # Wait in `queue` until granted, at most `timeout` seconds (None: for ever). Whether it was;
    # where an exception comes instead, `forgo` gives back what had been granted.
    cdef bint wait_in(self, WaitQueue queue, Reason reason, object timeout) except -1
    cdef bint tells_all(self) noexcept       # its links hear of it even if it is over by then
    cdef int forgo(self) except -1
    # Grant all who wait in `queue`.
    cdef int grant_all(self, WaitQueue queue) except -1
    # Have the links called, each in its hub.
    cdef int call_links(self) except -1
