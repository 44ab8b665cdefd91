"""Callbacks that are linked to an object. Each is added and removed in constant time."""

cimport cython

from treadle._core.collector cimport Collector


@cython.final
cdef class Unhashed:
    """A callback that has no hash, or whose equal is linked already."""
    cdef object callback


@cython.final
@cython.freelist(64)
cdef class Links:

    # Callbacks are compared and hashed, which may run any code.

    cdef Py_ssize_t count(self) noexcept:
        return (self.first is not None) + (0 if self.more is None else len(self.more))

    cdef object add(self, callback, value):
        cdef Unhashed key
        if self.first is None and not self.more:
            self.first, self.first_value = callback, value
            return callback
        if self.more is None:
            self.more = {}
        try:
            if callback not in self.more:
                self.more[callback] = value
                return callback
        except TypeError:
            pass
        key = Unhashed()
        key.callback = callback
        self.more[key] = value
        self.unhashed += 1
        return key

    cdef bint remove(self, callback) except -1:
        if self.first is not None and self.first == callback:
            self.first = self.first_value = None
            return True
        if not self.more:
            return False
        try:
            del self.more[callback]
            return True
        except (KeyError, TypeError):
            pass
        if self.unhashed:
            for key in list(self.more):
                if isinstance(key, Unhashed) and (<Unhashed>key).callback == callback:
                    return self.take(key) is not None
        return False

    cdef list pairs(self):
        found = [] if self.first is None else [(self.first, self.first_value)]
        if self.more is not None:
            found.extend(self.more.items())
        return found

    cdef list take_collectors(self):
        if not self.more:
            if not isinstance(self.first, Collector):
                return None
            found = [self.first]
            self.first = None
            return found
        found = [key for key, _ in self.pairs() if isinstance(key, Collector)]
        return [self.take(key) for key in found]

    cdef object take(self, key):
        if self.first is not None and self.first is key:
            self.first = self.first_value = None
            return key
        if not self.more:
            return None
        if isinstance(key, Unhashed):
            if key not in self.more:
                return None
            del self.more[key]
            self.unhashed -= 1
            return (<Unhashed>key).callback
        try:
            del self.more[key]
        except (KeyError, TypeError):
            return None  # TypeError: it cannot be hashed, was the first, and has been removed
        return key
