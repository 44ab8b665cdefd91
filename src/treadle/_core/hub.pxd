from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from treadle._core.greenlet_api cimport greenlet, treadle_current_greenlet
from treadle._core.poller cimport Poller
from treadle._core.probe cimport Probe
from treadle._core.ring cimport ring_push_front, treadle_ring
from treadle._core.timers cimport treadle_fire, treadle_timer, treadle_timers


# Why a greenlet is parked. REASONS in hub.pyx holds the text for each.
cdef enum Reason:
    ON_SLEEP, ON_YIELD, ON_SWITCH, ON_JOIN, ON_WAIT, ON_HUB, ON_LOCK, ON_EVENT, ON_RESULT, ON_CONDITION,
    ON_QUEUE_GET, ON_QUEUE_PUT, ON_QUEUE_JOIN, ON_CHANNEL, ON_READ, ON_WRITE, ON_THREAD, ON_HANDLER, ON_GROUP

# The kinds of ring entries.
cdef enum:
    WAIT = 1      # a Wait: switch to its greenlet
    START = 2     # a Fiber: switch to it for the first time
    CALLBACK = 3  # a Callback: run it in the hub greenlet

# The states of a Wait and of a hub. states.h explains them and tables the allowed moves.
cdef extern from "states.h":
    ctypedef enum WaitState "treadle_wait_state":
        WAIT_NEW, WAIT_PARKED, WAIT_READY, WAIT_DONE
    ctypedef enum HubState "treadle_hub_state":
        HUB_OPEN, HUB_FORKING, HUB_CLOSED
    bint treadle_wait_may(WaitState from_, WaitState to) noexcept
    bint treadle_hub_may(HubState from_, HubState to) noexcept


cdef class Wait:
    """One wait of one greenlet, or of one native thread without a hub; used once."""
    cdef readonly Hub hub            # None for a native thread
    cdef greenlet waiter             # the greenlet that waits; None for a native thread
    cdef readonly object on          # the object it waits for
    cdef Wait outer                  # the wait that this one interrupts (in a signal handler or finalizer)
    cdef object exc                  # what park() raises instead of returning, or the scope that does
    cdef object value                # free for use between the waiter and the code that unparks it
    cdef Reason reason
    cdef WaitState state
    cdef bint in_fiber               # the waiter is a Fiber
    cdef bint expired                # ended by its deadline
    cdef bint granted                # the waiter was given what it waited for
    cdef bint settled                # its call is done and must return: no exception may end it now
    cdef bint state_aside            # its greenlet has put its thread state aside
    cdef bint entered                # its greenlet is suspended in it, and in no inner wait
    cdef bint shielded               # nothing but a LoopExit may end it: the rest is held
    cdef bint by_scope               # exc is a cancelled scope, and what comes later takes its place
    cdef bint from_outside           # exc is no error of the call itself
    cdef readonly bint in_refs       # it is one of hub.refs
    cdef bint unref                  # its timer is one of hub.unref_timers
    cdef int64_t deadline            # on the loop's clock, in nanoseconds; -1: none
    cdef unsigned int generation     # the hub's when made; an older one was left behind by a fork
    cdef treadle_timer *timer
    cdef void *thread_lock           # blocks a native thread; NULL if there is a hub
    cdef object queue                # the WaitQueue it is in, if any; prev and next are its neighbours
    cdef PyObject *prev
    cdef PyObject *next


cdef class Fiber(greenlet):
    """A greenlet that stores its hub and its innermost Wait."""
    cdef readonly Hub hub
    cdef Wait wait                   # the innermost, None while it runs
    cdef bint scheduled              # its first switch is in the ring
    # Two truth values, in one byte each as they add to the size of every greenlet.
    cdef unsigned char stands_for_main  # the thread's main greenlet waits for it, and lends it its identity
    cdef unsigned char for_principal    # it runs a signal handler: see handlers.pyx
    # The list of Fibers that were started and have not ended, or been freed: the next one, and the
    # field that points to this one, in the hub or in the one before; NULL while it is in no list.
    cdef PyObject *older
    cdef PyObject **place
    cdef object tracing              # what it has inherited (see aside.pxd); None once it runs
    cdef object trace                # local.pyx's record of its greenlet-local attributes
    cdef object interrupts           # what is to be raised in it (see delivery.pyx), or None


cdef class Callback:
    cdef public object callback
    cdef public object args          # None once it ran or was stopped


cdef class TurnHook:
    """Watchers' hook into the turns of the loop; called in the hub greenlet, may run Python."""
    cdef bint active
    cdef bint before_wait(self) except -1    # returns whether the loop must not block now
    cdef int after_wait(self) except -1


cdef class Hub(greenlet):
    cdef treadle_ring ring
    cdef treadle_ring inbox             # entries that other threads posted; moved to the ring
    cdef treadle_timers timers
    cdef readonly Poller poller
    cdef readonly greenlet main      # the root greenlet, or the ThreadMain that runs in it
    # The greenlet for which signal handlers run: main, or the one that forked this process.
    cdef readonly greenlet principal
    cdef public greenlet host        # the greenlet that forks on behalf of the principal, or None
    cdef public Probe probe          # None, but for tests and tools
    cdef PyObject *newest_fiber      # the list of live Fibers
    cdef Wait main_wait              # the innermost Wait of `main`, None while it runs
    cdef dict raw_waits              # greenlet -> its Wait, for greenlets that are not Fibers
    cdef object main_interrupts      # what is to be raised in `main`, or None
    cdef bint interrupts_raw         # something was to be raised in greenlets that are not Fibers
    cdef uint64_t scopes             # how many cancel scopes were entered
    cdef TurnHook turn_hook
    cdef list join_waits             # the Waits of Hub.join()
    cdef readonly object loop_made   # the Loop, None until it is first used
    cdef object stand_in             # the object assigned to Hub.loop in the Loop's place, or None
    cdef readonly uint64_t turns     # how many turns were begun
    cdef size_t turn                 # how many entries are left of this turn
    cdef uint64_t last_look          # when timers and poller were last checked, in ticks
    cdef bint waits_for_threads      # only another thread can wake it
    cdef bint in_callback            # the hub greenlet is inside a callback: switches go through it
    cdef bint for_main_thread
    cdef HubState state
    cdef void *thread_state          # the interpreter's, of its thread; NULL in a private hub
    cdef object tracing              # how callbacks are traced (see aside.pxd)
    cdef object left_by_handler      # thread state that a signal handler set for the principal, or None
    cdef Fiber starting              # the greenlet that main starts; kept alive until it runs
    cdef public object keeping_fork  # the greenlet that is in a fork() that keeps all greenlets
    cdef readonly unsigned int generation  # incremented by each fork that leaves greenlets behind
    cdef readonly unsigned long thread_ident
    # The number of parked I/O waits and active watchers: what can wake this hub besides timers.
    cdef public Py_ssize_t refs
    cdef public Py_ssize_t unref_timers  # timers that do not keep the loop alive

    cdef int take_turn(self) except -1
    cdef int resume(self, greenlet target) except -1
    cdef int run_next_callback(self) except -1
    cdef int report(self, context, exc) except -1
    # Subclasses override these.
    cdef bint can_wake(self) except -1
    cdef bint on_deadlock(self) except -1
    cdef int meet_fork(self, Wait wait) except -1
    cdef int leave_greenlets_behind(self) except -1
    cdef int interrupt_principal(self, exc) except -1


# The current greenlet. While the interpreter ends, greenlet does not tell it any more: then this
# returns the main greenlet.
cdef inline greenlet current_greenlet():
    return treadle_current_greenlet(greenlet_at_end)
cdef greenlet greenlet_at_end()

# This thread's hub; made if there is none.
cdef Hub get_hub()
# This thread's hub, or None.
cdef Hub get_hub_if_exists()

# Make a Wait for the current greenlet. The caller puts it into a queue, then parks. In a native
# thread without a hub, park() blocks the thread; the main thread always gets a hub.
cdef Wait new_wait(Reason reason, object on)
# Make the hub that new_wait() would make, and return whether there was none. Making one lets other
# threads run. So whoever looks for what it may have to wait for calls this before new_wait(), and
# looks again if it returns True.
cdef bint made_hub() except -1
# Make a Wait for something that needs a hub (timers, I/O); makes a hub in any thread without one.
cdef Wait new_hub_wait(Reason reason, object on)
# Switch to other greenlets until `wait` is unparked (returns 1) or `timeout` nanoseconds have
# passed (returns 0; -1: no limit). Raises the exception that was delivered to the wait, if any.
cdef int park(Wait wait, int64_t timeout) except -1
# For aside.pyx: park() calls the first if the greenlet has thread state or while loops run, the hub
# the second when a signal handler has left some, and the principal's wait the third at its end.
cdef struct StateFunctions:
    int (*park)(Wait wait, int64_t timeout) except -1
    int (*keep)(Hub hub) except -1
    void (*bring)(Hub hub) noexcept
cdef void set_state_functions(StateFunctions functions) noexcept
cdef void set_loops_run(bint value) noexcept
# End a wait. Any thread may call it; it never switches. Returns False if the wait was ended already
# or its hub is closed.
cdef bint unpark(Wait wait) noexcept
# The same, but the greenlet runs before all that is ready in this thread, in this turn.
cdef bint unpark_first(Wait wait) noexcept
# End a wait by raising `exc` (an instance or class) in its greenlet, even if the wait was unparked
# and its greenlet did not run yet. Returns False if that is impossible: the wait is done or
# settled, or has an exception already. The exception must then wait for the greenlet's next wait.
cdef bint unpark_with(Wait wait, object exc) noexcept
# The innermost Wait of a greenlet, or None.
cdef Wait wait_of(Hub hub, greenlet target)
# What delivery.pyx does for the hub: see there.
cdef struct DeliveryFunctions:
    int (*before_wait)(Wait wait) except -1
    bint (*held_error)(Wait wait) except -1
    object (*error_of)(Wait wait)
    int (*interrupt_main)(Hub hub, object exc) except -1
    int (*interrupt_principal)(Hub hub, object exc) except -1
cdef void set_delivery_functions(DeliveryFunctions functions) noexcept

# The only places that set a state. They return False and change nothing if states.h forbids it.
cdef inline bint move(Wait wait, WaitState state) noexcept:
    if not treadle_wait_may(wait.state, state):
        return False
    wait.state = state
    return True

cdef inline bint move_hub(Hub hub, HubState state) noexcept:
    if not treadle_hub_may(hub.state, state):
        return False
    hub.state = state
    return True

# Whether unpark() would succeed.
cdef inline bint can_run(Wait wait) noexcept:
    if wait.state > WAIT_PARKED:
        return False
    return wait.hub is None or (wait.generation == wait.hub.generation and wait.hub.state != HUB_CLOSED)

# Keep the list of live Fibers. Both do nothing if it is so already. A hub that is freed unlists all.
cdef inline void list_fiber(Hub hub, Fiber fiber) noexcept:
    if fiber.place != NULL:
        return
    fiber.older = hub.newest_fiber
    if fiber.older != NULL:
        (<Fiber>fiber.older).place = &fiber.older
    fiber.place = &hub.newest_fiber
    hub.newest_fiber = <PyObject *>fiber

cdef inline void unlist_fiber(Fiber fiber) noexcept:
    if fiber.place == NULL:
        return
    fiber.place[0] = fiber.older
    if fiber.older != NULL:
        (<Fiber>fiber.older).place = fiber.place
    fiber.place = NULL

cdef inline void unlist_all(Hub hub) noexcept:
    while hub.newest_fiber != NULL:
        unlist_fiber(<Fiber>hub.newest_fiber)

# Queue the first switch to a greenlet. Only the greenlet's own thread may call it.
cdef int schedule_start(Hub hub, Fiber fiber) except -1
# Queue a callback for the hub greenlet. Any thread may call it. Raises RuntimeError if the hub is
# closed.
cdef Callback run_callback(Hub hub, object callback, tuple args)
# Run a callback before all else that is ready. Only the hub's own thread may call it.
cdef inline int run_callback_first(Hub hub, object callback, tuple args) except -1:
    cdef Callback entry = Callback.__new__(Callback)
    entry.callback, entry.args = callback, args
    ring_push_front(&hub.ring, entry, CALLBACK)
    hub.turn += 1
    if hub.poller.blocking:  # a signal handler that the poller runs calls this
        hub.poller.wake()
    return 0
# Call fire(obj) when the loop's clock reaches `deadline`; the heap holds a reference meanwhile.
cdef treadle_timer *set_timer(Hub hub, int64_t deadline, object obj, treadle_fire fire) except NULL
cdef void cancel_timer(Hub hub, treadle_timer *timer) noexcept

# For the subclasses of Hub.
cdef int next_turn(Hub hub, greenlet current, bint no_wait) except -1
cdef greenlet main_greenlet()
cdef void set_thread_hub(Hub hub) noexcept  # None: the thread has no hub
cdef void wait_expired(PyObject *obj) noexcept
cdef Py_ssize_t count_sleeping_threads() noexcept
cdef void forget_sleeping_threads() noexcept
