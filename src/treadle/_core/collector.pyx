"""Collects objects as they become ready, for one greenlet that waits for a number of them."""

from treadle._core.clock cimport nanoseconds, now, time_in
from treadle._core.greenlet_api cimport PyGreenlet_Import
from treadle._core.hub cimport ON_WAIT, made_hub, new_wait, park, unpark

PyGreenlet_Import()


cdef class Collector:

    def __cinit__(self):
        self.ready = []

    cdef int add(self, object source) except -1:
        self.ready.append(source)
        if self.wait is not None and len(self.ready) >= self.wanted:
            unpark(self.wait)
        return 0

    cdef int adopt(self, object child) except -1:
        return 0

    def __call__(self, source):
        """Add *source*, which is ready: objects call this as a link."""
        self.add(source)

    def __repr__(self):
        return f"{len(self.ready)} of {self.wanted} objects"

    def wait_for(self, Py_ssize_t count, deadline):
        """Wait until *count* objects are ready, and return True; False if *deadline* comes first.

        *deadline* is a time of the loop in nanoseconds; None: no limit.
        """
        if len(self.ready) >= count:
            return True
        if made_hub() and len(self.ready) >= count:
            return True
        self.wanted = count
        self.wait = new_wait(ON_WAIT, self)
        try:
            park(self.wait, -1 if deadline is None else max(deadline - now(), 0))
        finally:
            self.wait = None
        return len(self.ready) >= count


def deadline_after(seconds):
    """Return the loop's time *seconds* from now, in nanoseconds; None if *seconds* is None."""
    return None if seconds is None else time_in(nanoseconds(seconds))
