"""Turns: locks of treadle's own, which outlive a holder that a fork or the end of its thread leaves behind.

A lock of the program stays locked then, as what it protects may be half changed. What treadle
protects by a turn it can mend.
"""

import os

from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport HUB_CLOSED, Fiber, Hub, current_greenlet, get_hub_if_exists
from treadle._core.locks cimport RLock
from treadle._core.thread_hub cimport keep_for_ever, turns_pass_on

PyGreenlet_Import()

# The turns that somebody waits for.
cdef set awaited = set()
# How often this process is the child of a fork.
cdef unsigned int forks = 0


cdef class Turn(RLock):

    cdef bint is_left(self) noexcept:
        """Return whether the holder will never run again."""
        cdef Hub hub = self.hub_of_holder
        cdef greenlet holder = self.owner
        if holder is None or holder is current_greenlet():
            return False
        if hub is None:
            return self.generation != forks
        if hub.state == HUB_CLOSED:
            return True
        if self.generation == hub.generation:
            return False
        return (<Fiber>holder).place == NULL if isinstance(holder, Fiber) else holder is not hub.principal

    @property
    def is_awaited(self):
        """Whether somebody waits for the turn."""
        return self.waiters.count > 0

    def reclaim(self):
        """Give the turn on if its holder will never run again; return whether that is so."""
        if not self.is_left():
            return False
        # Its clean-up must not run either: it would end a call that is not its own any more.
        keep_for_ever(self.owner)
        self.was_left = True
        self.give()
        return True

    cdef bint take(self, Py_ssize_t count, bint blocking, object timeout,
                   bint shielded=False) except -1:
        cdef greenlet current = current_greenlet()
        if self.count > 0 and self.owner is not current:
            self.reclaim()
        if self.count == 0:
            self.owner = current
            self.count = count
        elif not self.take_in_line(count, blocking, timeout, shielded):
            return False
        self.hub_of_holder = get_hub_if_exists()
        self.generation = forks if self.hub_of_holder is None else self.hub_of_holder.generation
        return True

    cdef bint take_in_line(self, Py_ssize_t count, bint blocking, object timeout,
                           bint shielded) except -1:
        awaited.add(self)
        try:
            return RLock.take(self, count, blocking, timeout, shielded)
        finally:
            if self.waiters.count == 0:
                awaited.discard(self)

    cdef int give(self) except -1:
        self.hub_of_holder = None
        return RLock.give(self)


def reclaim_all():
    """Give on all turns that somebody waits for and whose holders will never run again."""
    cdef Turn turn
    for turn in list(awaited):
        turn.reclaim()


turns_pass_on(reclaim_all)


def _after_fork_in_child():
    global forks
    forks += 1
    reclaim_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
