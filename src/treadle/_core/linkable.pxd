from treadle._core.hub cimport Reason, Wait
from treadle._core.links cimport Links
from treadle._core.wait_queue cimport WaitQueue


cdef class Linkable:
    """An object that greenlets wait for and that calls linked callbacks when it is ready."""
    cdef WaitQueue waiters
    cdef Links links         # callbacks, with the hubs that they run in; None if there were never any
    cdef object __weakref__

    cdef bint is_ready(self) noexcept
    # Wait in `queue` until granted, at most `timeout` seconds (None: no limit), and return whether it
    # was granted. The value of the wait is `queue`, if that is not `waiters`. With `shielded` nothing
    # but a LoopExit ends the wait.
    cdef bint wait_in(self, WaitQueue queue, Reason reason, object timeout,
                      bint shielded=*) except -1
    # Do what a wait in `queue` would end with, if it need not wait any more.
    cdef bint catches_up(self, WaitQueue queue) noexcept
    cdef bint tells_all(self) noexcept       # whether links are called even if it is not ready then
    # Grant all waits that are in `queue` now.
    cdef int grant_all(self, WaitQueue queue) except -1
    # Queue calls of the links, each in its hub.
    cdef int call_links(self) except -1
