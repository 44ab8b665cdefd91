from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Hub
from treadle._core.locks cimport RLock


cdef class Turn(RLock):
    """A lock for calls that treadle makes one at a time on an object that greenlets share.

    Its holder may be left behind in the middle of a call, by a fork or by the end of its thread.
    Then the next one gets the turn.
    """
    cdef Hub hub_of_holder           # None while it is free, or if its holder's thread has no hub
    cdef unsigned int generation     # that hub's, or how often the process was forked, when taken
    # Whether a holder was left behind. Whoever has the turn next mends the object, and sets it back.
    cdef public bint was_left

    cdef bint is_left(self) noexcept
    cdef bint take_in_line(self, Py_ssize_t count, bint blocking, object timeout,
                           bint shielded) except -1
