from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from treadle._core.greenlet_api cimport greenlet, treadle_current_greenlet
from treadle._core.poller cimport Poller

cdef extern from "timers.h":
    ctypedef struct treadle_timer:
        pass
    ctypedef void (*treadle_fire)(PyObject *obj)
    ctypedef struct treadle_timers:
        pass

cdef extern from "ring.h":
    ctypedef struct treadle_ring:
        size_t count


# Why a greenlet is parked; REASONS in hub.pyx gives each its words.
cdef enum Reason:
    ON_SLEEP, ON_YIELD, ON_SWITCH, ON_JOIN, ON_WAIT, ON_HUB, ON_LOCK, ON_EVENT, ON_RESULT, ON_CONDITION,
    ON_QUEUE_GET, ON_QUEUE_PUT, ON_QUEUE_JOIN, ON_CHANNEL, ON_READ, ON_WRITE, ON_THREAD

# The states of a Wait and of a hub, and what may follow what: states.h.
cdef extern from "states.h":
    ctypedef enum WaitState "treadle_wait_state":
        WAIT_NEW, WAIT_PARKED, WAIT_READY, WAIT_DONE
    ctypedef enum HubState "treadle_hub_state":
        HUB_OPEN, HUB_FORKING, HUB_CLOSED


cdef class Wait:
    """One wait of one greenlet, or of one native thread without a hub; used once."""
    cdef readonly Hub hub            # None for a native thread
    cdef greenlet waiter             # who waits; None for a native thread
    cdef readonly object on          # what it waits for
    cdef Wait outer                  # the wait that this one interrupts (in a signal handler or finalizer)
    cdef object exc                  # what to raise instead of returning
    cdef object value                # for whoever unparks to leave something
    cdef Reason reason
    cdef WaitState state
    cdef bint expired                # ended by its deadline
    cdef bint granted                # whoever unparked handed over what was waited for
    cdef bint settled                # its call is done and must return: no exception may end it now
    cdef bint beside_loops           # its greenlet has taken asyncio's notes along
    cdef bint shadowed               # an inner wait of the same greenlet is on
    cdef int64_t deadline            # of the loop's clock, in nanoseconds; -1: none
    cdef unsigned int generation     # of the hub; an older one was left behind by a fork
    cdef treadle_timer *timer
    cdef void *thread_lock           # of a native thread
    cdef object queue                # the WaitQueue it is in, if any; prev and next are its neighbours
    cdef PyObject *prev
    cdef PyObject *next


cdef class Fiber(greenlet):
    """A greenlet that knows its hub and what it waits for."""
    cdef readonly Hub hub
    cdef Wait wait                   # the innermost, None while it runs
    cdef bint scheduled              # its first switch is in the ring
    cdef object trace                # what local.pyx keeps of its greenlet-local attributes


cdef class Callback:
    cdef public object callback
    cdef public object args          # None once it ran or was stopped


cdef class TurnHook:
    """What watchers add to a turn of the loop; runs in the hub greenlet, may run Python."""
    cdef bint active
    cdef bint before_wait(self) except -1    # whether the loop must not block now
    cdef int after_wait(self) except -1


cdef class Hub(greenlet):
    cdef treadle_ring ring
    cdef treadle_ring inbox             # entries other threads posted; drained into the ring
    cdef treadle_timers timers
    cdef readonly Poller poller
    cdef readonly greenlet main      # the root greenlet, or the ThreadMain it runs
    cdef Wait main_wait
    cdef dict raw_waits              # greenlet -> its Wait, for those that are not Fibers
    cdef TurnHook turn_hook
    cdef list join_waits
    cdef object loop_made            # the Loop, None until somebody asks for it
    cdef object stand_in             # what somebody put in the Loop's place, or None
    cdef readonly uint64_t turns     # made so far
    cdef size_t turn                 # entries left of this turn
    cdef uint64_t last_look          # at timers and poller, in ticks
    cdef bint waits_for_threads      # nothing but another thread can wake it
    cdef bint in_callback            # the hub greenlet is inside a callback: switches go through it
    cdef bint for_main_thread
    cdef HubState state
    cdef Fiber starting              # kept until it runs
    cdef public object keeping_fork  # the greenlet whose fork() takes all along, while it is in it
    cdef readonly unsigned int generation  # one more after each fork that left greenlets behind
    cdef readonly unsigned long thread_ident
    # What can wake this hub besides timers: parked I/O waits and active watchers.
    cdef public Py_ssize_t refs
    cdef public Py_ssize_t unref_timers  # timers that do not keep the loop alive

    cdef int take_turn(self) except -1
    cdef int resume(self, greenlet target) except -1
    cdef int run_next_callback(self) except -1
    cdef int report(self, context, exc) except -1
    # The subclasses'.
    cdef bint can_wake(self) except -1
    cdef bint on_deadlock(self) except -1
    cdef int meet_fork(self, Wait wait) except -1
    cdef int leave_greenlets_behind(self) except -1


# Who runs. While the interpreter ends, and greenlet does not say so any more: the main greenlet.
cdef inline greenlet current_greenlet():
    return treadle_current_greenlet(greenlet_at_end)
cdef greenlet greenlet_at_end()

# This thread's hub; made if need be.
cdef Hub get_hub()
# This thread's hub, or None.
cdef Hub get_hub_if_exists()

# Begin a wait of whoever runs: queue it where it belongs, then park.
# In a native thread without a hub it blocks the thread; the main thread always gets a hub.
cdef Wait new_wait(Reason reason, object on)
# The same for what only a hub can do (timers, I/O): makes one in any thread.
cdef Wait new_hub_wait(Reason reason, object on)
# Let others run until unparked (1) or `timeout` nanoseconds passed (0; -1: no limit).
# Raises what was delivered. Switches.
cdef int park(Wait wait, int64_t timeout) except -1
# Only park() calls it. Declared, so that the compiler keeps its frame out of park's.
cdef int park_beside_loops(Wait wait, int64_t timeout) except -1
# End a wait; from any thread, never switches. False if it was ended already or its hub is gone.
cdef bint unpark(Wait wait) noexcept
# End it by raising `exc` (instance or class) in it, even if it was unparked but did not run yet;
# not if it is settled: then the exception must wait for the next one.
cdef bint unpark_with(Wait wait, object exc) noexcept
# Deliver `exc` into a greenlet wherever it is parked or suspended; any thread; never switches.
cdef int interrupt(Hub hub, greenlet target, object exc) except -1
cdef Wait wait_of(Hub hub, greenlet target)

# Queue the first switch to a greenlet; its own thread only.
cdef int schedule_start(Hub hub, Fiber fiber) except -1
# Queue a callback for the hub greenlet; from any thread. Raises RuntimeError if the hub is closed.
cdef Callback run_callback(Hub hub, object callback, tuple args)
# Call fire(obj) when the loop's clock reaches `deadline`; the heap holds a reference meanwhile.
cdef treadle_timer *set_timer(Hub hub, int64_t deadline, object obj, treadle_fire fire) except NULL
cdef void cancel_timer(Hub hub, treadle_timer *timer) noexcept

# For the kinds of hubs.
cdef bint move_hub(Hub hub, HubState state) noexcept
cdef int next_turn(Hub hub, greenlet current, bint no_wait) except -1
cdef int interrupt_main(Hub hub, object exc) except -1
cdef greenlet main_greenlet()
cdef void set_thread_hub(Hub hub) noexcept  # None: the thread has none
cdef void wait_expired(PyObject *obj) noexcept
cdef Py_ssize_t count_sleeping_threads() noexcept
cdef void forget_sleeping_threads() noexcept
