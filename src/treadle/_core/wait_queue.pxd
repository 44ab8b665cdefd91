from cpython.object cimport PyObject

from treadle._core.hub cimport Wait


cdef class WaitQueue:
    """Waits, in the order in which they are to be served."""
    cdef PyObject *first
    cdef PyObject *last
    cdef readonly Py_ssize_t count
    cdef int append(self, Wait wait) except -1
    cdef int prepend(self, Wait wait) except -1
    cdef void remove(self, Wait wait) noexcept   # does nothing if the wait is not in this queue
    cdef Wait pop(self)                          # None if empty
    # Mark the first wait that can still run as granted, unpark it and return it; None if there is
    # none.
    cdef Wait grant(self)
    # The same for the last wait, which then runs before all that is ready in its hub.
    cdef Wait grant_last_urgently(self)
