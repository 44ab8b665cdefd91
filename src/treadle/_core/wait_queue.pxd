from cpython.object cimport PyObject

from treadle._core.hub cimport Wait


cdef class WaitQueue:
    """Waits in the order they came."""
    cdef PyObject *first
    cdef PyObject *last
    cdef readonly Py_ssize_t count
    cdef int append(self, Wait wait) except -1
    cdef int prepend(self, Wait wait) except -1
    cdef void remove(self, Wait wait) noexcept   # does nothing if it is not in it
    cdef Wait pop(self)                          # None if empty
    # Unpark the first wait that can still run, after marking it granted; None if there is none.
    cdef Wait grant(self)
