from treadle._core.hub cimport Callback, Hub, TurnHook, treadle_timer
from treadle._core.poller cimport Pollable, Poller


cdef class Loop:
    """A hub's loop, as gevent shows it: callbacks and watchers."""
    cdef readonly Hub hub
    cdef set watchers                # the active ones: an active watcher lives on by itself
    cdef list prepares, checks, idles
    cdef dict descriptors            # number -> the DescriptorWatch of the active Io watchers
    # Io watchers wait in a poller of their own, whose descriptor the hub's poller watches: so
    # they never compete with the sockets for one number's registration.
    cdef Poller io_poller
    cdef Gate gate
    cdef unsigned int generation
    cdef int open_io(self) except -1
    cdef int check_open(self) except -1
    cdef int set_turn_hook(self) except -1


cdef class Gate(Pollable):
    """Stands in the hub's poller for a loop's io_poller."""
    cdef Loop loop


cdef class DescriptorWatch(Pollable):
    """All active Io watchers of one descriptor number."""
    cdef Loop loop
    cdef list watchers
    cdef int arm(self) except -1     # ask for what those want that have no call pending
    cdef int arm_again(self) except -1


cdef class LoopHook(TurnHook):
    cdef Loop loop


cdef class Watcher:
    cdef readonly Loop loop
    cdef object function, arguments
    cdef Callback entry              # the call that is on its way; None if there is none
    cdef int happened                # event bits to pass on to it
    cdef bint on, counts
    cdef bint inherited              # whether a forked child has it, too
    cdef unsigned int generation
    cdef int level                   # gevent's priority; kept, but calls go first in, first out
    cdef bint is_active(self) noexcept
    cdef int activate(self, object callback, tuple args) except -1
    cdef int deactivate(self) except -1
    cdef int begin(self) except -1
    cdef int end(self) except -1
    cdef int account(self, int delta) except -1
    cdef void fire(self, int events) noexcept
    cdef int called(self, bint failed) except -1
    cdef int forked(self) except -1


cdef class Io(Watcher):
    cdef int number, wanted
    cdef DescriptorWatch watch
    cdef int leave(self) except -1


cdef class Timer(Watcher):
    cdef treadle_timer *timer
    cdef object after, period
    cdef int set(self, object seconds) except -1
