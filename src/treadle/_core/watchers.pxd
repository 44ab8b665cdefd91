from treadle._core.hub cimport Callback, Hub, TurnHook
from treadle._core.poller cimport Pollable, Poller
from treadle._core.timers cimport treadle_timer


cdef class Loop:
    """A hub's loop with gevent's interface: callbacks and watchers."""
    cdef readonly Hub hub
    cdef readonly set watchers       # the active watchers, which this keeps alive
    cdef list prepares, checks, idles
    cdef dict descriptors            # number -> the DescriptorWatch of its active Io watchers
    # Io watchers wait in a poller of their own, whose descriptor the hub's poller watches. So they
    # never compete with sockets for the registration of a number.
    cdef Poller io_poller
    cdef Gate gate
    cdef unsigned int generation
    cdef int open_io(self) except -1
    cdef int check_open(self) except -1
    cdef int set_turn_hook(self) except -1


cdef class Gate(Pollable):
    """Stands in the hub's poller for a loop's io_poller."""
    cdef Loop loop
    cdef int open(self) except -1


cdef class DescriptorWatch(Pollable):
    """All active Io watchers of one descriptor number."""
    cdef Loop loop
    cdef list watchers
    cdef int arm(self) except -1     # ask for the events of the watchers with no call pending
    cdef int arm_again(self) except -1


cdef class LoopHook(TurnHook):
    cdef Loop loop


cdef class Watcher:
    cdef readonly Loop loop
    cdef object function, arguments
    cdef Callback entry              # the call that is queued; None if there is none
    cdef int happened                # event bits to pass on to that call
    cdef bint on, counts             # whether it was started, and whether it keeps the loop alive
    cdef bint inherited              # whether it stays active in a forked child
    cdef unsigned int generation     # the hub's when it was started
    cdef int level                   # gevent's priority; stored, but calls go first in, first out
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
