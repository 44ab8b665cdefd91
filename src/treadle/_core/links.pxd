cdef class Links:
    """Linked callbacks, each with a value, in the order in which they were linked."""
    cdef object first            # most objects have one link: it needs no dict
    cdef object first_value
    cdef dict more               # callback, or Unhashed -> value; None if there are none
    cdef Py_ssize_t unhashed     # how many keys of `more` are Unhashed

    cdef Py_ssize_t count(self) noexcept
    # Add a link and return its key. take() removes it by that and returns the callback, or None if
    # it is not linked any more.
    cdef object add(self, callback, value)
    cdef object take(self, key)
    # Remove the first link to a callback that is equal to `callback`; return whether there is one.
    cdef bint remove(self, callback) except -1
    # Remove the links that are Collectors and return them, or None if there are none.
    cdef list take_collectors(self)
    # Return pairs of a key and a value, in order.
    cdef list pairs(self)
