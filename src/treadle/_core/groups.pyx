# cython: nonecheck=True
"""The members of a group of greenlets, and the places that are left."""

from treadle._core.greenlet cimport FINISHED, Greenlet
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport HUB_CLOSED, current_greenlet, run_callback
from treadle._core.locks cimport Semaphore
from treadle._core.collector cimport Collector


PyGreenlet_Import()


cdef class Members(Collector):
    """The members of a group. As a link of each member it is told of the member's end, in C."""

    def __init__(self, empty, places):
        self.alive = {}
        self.dying = set()
        self.empty = empty
        self.places = places
        self.empty.raise_flag()

    cdef int add(self, object source) except -1:
        cdef Greenlet member = source
        if current_greenlet() is member or member.hub.state == HUB_CLOSED:
            self.remove(member)
        else:
            # It was killed before it began, by code that may be iterating over the members.
            run_callback(member.hub, remove_in_hub, (self, member))
        return 0

    cdef bint remove(self, object member) except -1:
        if self.alive.pop(member, self) is self:
            return False
        if self.dying:
            self.dying.discard(member)
        if not self.alive:
            self.empty.raise_flag()
        if self.places is not None:
            self.places.give()
        return True

    def enter(self, member, blocking=True, timeout=None):
        """Add *member* until it ends and return True; return False if there is no place.

        If *blocking* is true, wait for a place first, at most *timeout* seconds (None: no limit).
        """
        cdef bint compiled = isinstance(member, Greenlet)
        if member in self.alive:
            return True
        if not compiled and not isinstance(member, greenlet) and not hasattr(member, "rawlink"):
            raise TypeError(f"the members of a group are greenlets, not {member!r}")
        if self.places is not None and not self.places.take_free():
            if not self.places.take(blocking, timeout):
                return False
            if member in self.alive:  # another greenlet added it meanwhile
                self.places.give()
                return True
        # From here to the link nothing waits, so no kill or Timeout can come between.
        self.alive[member] = None
        self.empty.flag = False
        if compiled and (<Greenlet>member).life < FINISHED:
            (<Greenlet>member).add_link(self)
        elif hasattr(member, "rawlink"):
            member.rawlink(self)
        return True

    def leave(self, member):
        """Remove *member* before its end; do nothing if it is not a member."""
        if self.remove(member) and hasattr(member, "unlink"):
            member.unlink(self)

    def __repr__(self):
        return f"{len(self.alive)} members"


def remove_in_hub(Members members, member):
    members.remove(member)
