"""The scheduler: park() suspends a greenlet, unpark() wakes it, and the hub runs in between.

HACKING.md explains the vocabulary and the invariants.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals, PyErr_Fetch, PyErr_Restore, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint64_t

from treadle._core.clock cimport idle_until, is_replaced, nanoseconds, now, time_in
from treadle._core.greenlet_api cimport (
    PyGreenlet_ACTIVE,
    PyGreenlet_Import,
    PyGreenlet_SetParent,
    PyGreenlet_STARTED,
    PyGreenlet_Switch,
    greenlet,
    treadle_switch,
)
from treadle._core.methods cimport is_a
from treadle._core.poller cimport Poller
from treadle._core.ring cimport (
    ring_free,
    ring_head_kind,
    ring_pop,
    ring_push,
    ring_push_front,
    ring_trim,
)
from treadle._core.thread_state cimport treadle_clear_state, treadle_is_in_use
from treadle._core.threads cimport (
    PyThread_acquire_lock_timed,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_get_thread_ident,
    PyThread_release_lock,
    treadle_is_finalizing,
    treadle_is_main_thread,
)
from treadle._core.timers cimport (
    timers_add,
    timers_cancel,
    timers_free,
    timers_live,
    timers_next,
    timers_pop_due,
)

from greenlet import GreenletExit

from treadle._core import chunks
from treadle.exceptions import BlockingSwitchOutError, InvalidSwitchError, LoopExit

cdef extern from "ticks.h" nogil:
    uint64_t treadle_ticks()
    uint64_t treadle_ticks_per_20us()

cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) PyObject *treadle_thread_hub;
    #else
    static __thread PyObject *treadle_thread_hub;
    #endif
    """
    PyObject *treadle_thread_hub  # borrowed: the thread's state keeps it alive

PyGreenlet_Import()
chunks.install()

# While greenlets are always ready, a turn ends with a check of the timers and the poller only if
# this many ticks (about 20 microseconds) have passed since the last check: a system call in each
# turn would cost more than a short turn itself.
cdef uint64_t LOOK_INTERVAL = treadle_ticks_per_20us()
# The longest timeout of one system call, in nanoseconds (about 11 days). It is far below every
# poller's limit.
cdef int64_t LONGEST_POLL = 1_000_000_000_000_000
# How often, in nanoseconds, a hub that only another thread can wake checks whether such a thread
# is left: nothing notifies the hub when a thread ends or when the last one goes to sleep.
cdef int64_t THREADS_CHECK = 500_000_000

cdef list REASONS = [
    "sleeping", "yielding", "switched to the hub", "joining", "waiting for", "waiting for the loop",
    "acquiring", "waiting for event", "waiting for result", "waiting for condition", "getting from",
    "putting to", "joining queue", "meeting at", "reading", "writing", "waiting for a thread at",
    "interrupted by", "leaving",
]

# The number of native threads parked without a deadline. Such a thread wakes no greenlet until
# another thread wakes it.
cdef Py_ssize_t sleeping_threads = 0

# The class of new hubs; treadle.hub sets it.
hub_class = None
# Makes a hub's loop; treadle.hub sets it to a function that makes a treadle.core loop.
loop_class = None
@cython.no_gc
@cython.freelist(256)
cdef class Wait:

    def __dealloc__(self):
        if self.thread_lock != NULL:
            PyThread_free_lock(self.thread_lock)

    @property
    def greenlet(self):
        """The greenlet that waits; None for a native thread without a hub."""
        return self.waiter

    @property
    def woken(self):
        """Whether the wait was unparked or is over; its greenlet may still have to run."""
        return self.state >= WAIT_READY

    @property
    def exc(self):
        """The exception that the wait raises when its greenlet goes on; None if there is none."""
        return delivery.error_of(self) if self.by_scope else self.exc

    @property
    def reason(self):
        """Why the greenlet waits, in words such as ``"sleeping"``."""
        return REASONS[<int>self.reason]

    def __repr__(self):
        what = "" if self.on is None else f" {self.on!r}"
        if self.deadline > 0:
            what += f" for {max(self.deadline - now(), 0) / 1e9:.3g} s"
        return f"{self.waiter!r} {REASONS[<int>self.reason]}{what}"


cdef class Fiber(greenlet):

    def __dealloc__(self):
        unlist_fiber(self)

    @property
    def waiting(self):
        """The innermost :class:`Wait` of the greenlet; None while the greenlet runs."""
        return self.wait


cdef class ThreadMain(greenlet):
    """The main greenlet of a thread whose code does not run in the thread's first greenlet."""


cdef class Callback:
    """A function that the hub greenlet is going to call."""

    @property
    def pending(self):
        """Whether the callback has yet to run."""
        return self.args is not None

    def __bool__(self):
        return self.args is not None

    def stop(self):
        """Cancel the callback: if it has not run yet, it never does."""
        self.callback = self.args = None

    close = stop

    def __repr__(self):
        if self.args is None:
            return f"<{type(self).__name__} stopped>"
        return f"<{type(self).__name__} {self.callback!r} args={self.args!r}>"


cdef class TurnHook:

    cdef bint before_wait(self) except -1:
        return False

    cdef int after_wait(self) except -1:
        return 0


# ---------------------------------------------------------------- waiting

cdef Wait new_wait(Reason reason, object on):
    cdef Hub hub
    if treadle_thread_hub != NULL:
        hub = <Hub>treadle_thread_hub
    elif treadle_is_main_thread() and not treadle_is_finalizing():
        hub = get_hub()
    else:
        return new_thread_wait(reason, on)
    return wait_in(hub, reason, on)


cdef bint made_hub() except -1:
    if treadle_thread_hub != NULL or not treadle_is_main_thread() or treadle_is_finalizing():
        return False
    get_hub()
    return True


cdef Wait new_hub_wait(Reason reason, object on):
    if treadle_thread_hub == NULL and treadle_is_finalizing():
        return new_thread_wait(reason, on)  # too late to make a hub
    return wait_in(get_hub(), reason, on)


cdef inline Wait wait_in(Hub hub, Reason reason, object on):
    cdef Wait wait = Wait.__new__(Wait)
    wait.waiter = current_greenlet()
    if wait.waiter is hub:
        raise BlockingSwitchOutError(
            f"{REASONS[<int>reason]} {on!r} would block the hub, where callbacks and watchers run: "
            "spawn a greenlet for it")
    wait.in_fiber = is_a(wait.waiter, Fiber)
    wait.hub = hub
    wait.reason = reason
    wait.on = on
    wait.deadline = -1
    wait.generation = hub.generation
    return wait


cdef Wait new_thread_wait(Reason reason, object on):
    cdef Wait wait = Wait.__new__(Wait)
    wait.reason = reason
    wait.on = on
    wait.deadline = -1
    wait.thread_lock = PyThread_allocate_lock()
    if wait.thread_lock == NULL:
        raise MemoryError("no lock for a waiting thread")
    PyThread_acquire_lock_timed(wait.thread_lock, -1, 0)
    return wait


# Whether an asyncio loop runs in some greenlet; aside.pyx sets both.
cdef bint loops_run = False
cdef StateFunctions with_state


cdef void set_loops_run(bint value) noexcept:
    global loops_run
    loops_run = value


cdef void set_state_functions(StateFunctions functions) noexcept:
    global with_state
    with_state = functions


cdef DeliveryFunctions delivery


cdef void set_delivery_functions(DeliveryFunctions functions) noexcept:
    global delivery
    delivery = functions


cdef inline bint may_be_interrupted(Hub hub, Wait wait) noexcept:
    """Return whether something may be held for the greenlet that waits, or a scope be around it."""
    if wait.in_fiber:
        return (<Fiber>wait.waiter).interrupts is not None
    if wait.waiter is hub.main:
        return hub.main_interrupts is not None
    return hub.interrupts_raw


cdef int park(Wait wait, int64_t timeout) except -1:
    cdef Hub hub = wait.hub
    if hub is None:
        return park_thread(wait, timeout)
    if (treadle_is_in_use(hub.thread_state) or loops_run) and not wait.state_aside:
        return with_state.park(wait, timeout)
    if hub.state == HUB_FORKING:
        hub.meet_fork(wait)
    if may_be_interrupted(hub, wait):
        delivery.before_wait(wait)
    if timeout >= 0:
        wait.deadline = time_in(timeout)
        wait.timer = timers_add(&hub.timers, wait.deadline, wait, wait_expired)
    enter(hub, wait)
    # No try statement: the state that Cython saves for one would take up stack in every parked
    # greenlet.
    while (<int (*)(Hub, Wait) noexcept>run_others)(hub, wait) < 0:
        if not wait.shielded or not delivery.held_error(wait):
            return leave_by_error(hub, wait)
    leave(hub, wait)
    if wait.exc is not None:
        raise delivery.error_of(wait) if may_be_interrupted(hub, wait) else wait.exc
    return not wait.expired


cdef int leave_by_error(Hub hub, Wait wait) except -1:
    cdef PyObject *type
    cdef PyObject *value
    cdef PyObject *tb
    PyErr_Fetch(&type, &value, &tb)
    leave(hub, wait)
    PyErr_Restore(type, value, tb)
    return -1


cdef inline void enter(Hub hub, Wait wait) noexcept:
    cdef greenlet waiter = wait.waiter
    if wait.in_fiber:
        wait.outer = (<Fiber>waiter).wait
        (<Fiber>waiter).wait = wait
    elif waiter is hub.main:
        wait.outer = hub.main_wait
        hub.main_wait = wait
    else:
        wait.outer = hub.raw_waits.get(waiter)
        hub.raw_waits[waiter] = wait
    if wait.outer is not None:
        wait.outer.entered = False
    wait.entered = True
    move(wait, WAIT_PARKED)  # unless another thread has unparked it already


cdef inline void leave(Hub hub, Wait wait) noexcept:
    cdef greenlet waiter = wait.waiter
    if wait.in_fiber:
        (<Fiber>waiter).wait = wait.outer
    elif waiter is hub.main:
        hub.main_wait = wait.outer
    elif wait.outer is None:
        hub.raw_waits.pop(waiter, None)
    else:
        hub.raw_waits[waiter] = wait.outer
    if wait.outer is not None:
        wait.outer.entered = True
        wait.outer = None
    move(wait, WAIT_DONE)
    if wait.timer != NULL:
        cancel_timer(hub, wait.timer)
        wait.timer = NULL
    if hub.left_by_handler is not None and waiter is hub.principal:
        with_state.bring(hub)


cdef int run_others(Hub hub, Wait wait) except -1:
    """Switch to other greenlets, or poll, until `wait` is taken from the ring."""
    cdef PyObject *target
    if ending:
        return run_alone(hub, wait)
    while wait.state != WAIT_DONE:
        target = next_to_run(hub, wait)
        if target == NULL:
            continue
        treadle_switch(target)  # may run any code
        if wait.state != WAIT_DONE:
            raise switched_by_others(wait)
    return 0


cdef int run_alone(Hub hub, Wait wait) except -1:
    """Poll until `wait` is taken from the ring; no other greenlet runs as the interpreter ends."""
    cdef PyObject *entry
    while wait.state != WAIT_DONE:
        if hub.turn == 0 or hub.ring.count == 0:
            next_turn(hub, hub.main, False)
        elif ring_head_kind(&hub.ring) == WAIT:
            take_wait(hub)
        else:
            entry = ring_pop(&hub.ring)
            Py_DECREF(<object>entry)
            hub.turn -= 1
    return 0


cdef int ask_probe(Hub hub, Wait wait) except -1:
    """Let the probe choose. If it fails, the hub goes on without it, and the main greenlet is told."""
    try:
        hub.probe.steer(hub, wait)
    except BaseException as exc:
        hub.probe = None
        delivery.interrupt_main(hub, exc)


cdef PyObject *next_to_run(Hub hub, Wait wait) except? NULL:
    """Return the greenlet to switch to; NULL if the caller has to check `wait` and ask again.

    The reference is borrowed: a Wait keeps its parked greenlet alive, the thread keeps the hub.
    """
    cdef Wait other
    if hub.probe is not None:
        ask_probe(hub, wait)
    if hub.in_callback:
        return <PyObject *>hub
    if hub.turn == 0 or hub.ring.count == 0:
        if hub.turn_hook is not None and hub.turn_hook.active:
            return <PyObject *>hub
        next_turn(hub, wait.waiter, False)
        return NULL
    if (ring_head_kind(&hub.ring) == START and PyGreenlet_STARTED(hub)
            and (wait.waiter is hub.main or wait.reason == ON_HANDLER)):
        hub.starting = take_start(hub)
        return NULL if hub.starting is None else <PyObject *>hub.starting
    if ring_head_kind(&hub.ring) != WAIT:
        # The hub runs callbacks and makes first switches: see the first invariant in HACKING.md.
        return <PyObject *>hub
    other = take_wait(hub)
    if other is None or other is wait:
        return NULL
    return <PyObject *>other.waiter


cdef object switched_by_others(Wait wait):
    return InvalidSwitchError(
        f"Invalid switch: {wait!r} was switched to by something else than what it waits for")


cdef inline Wait take_wait(Hub hub):
    """Pop the Wait at the head of the ring and move it to WAIT_DONE.

    Return it, or None if its greenlet must not be switched to.
    """
    cdef PyObject *obj = ring_pop(&hub.ring)
    cdef Wait wait = <Wait>obj
    Py_DECREF(wait)
    hub.turn -= 1
    if wait.state != WAIT_READY or wait.generation != hub.generation:
        return None
    move(wait, WAIT_DONE)
    return wait if wait.entered else None


cdef inline Fiber take_start(Hub hub):
    cdef PyObject *obj = ring_pop(&hub.ring)
    cdef Fiber fiber = <Fiber>obj
    Py_DECREF(fiber)
    hub.turn -= 1
    if not fiber.scheduled:
        return None  # killed before it began
    fiber.scheduled = False
    return fiber


cdef void wait_expired(PyObject *obj) noexcept:
    cdef Wait wait = <Wait>obj
    wait.timer = NULL
    if wait.state <= WAIT_PARKED:
        wait.expired = True
        unpark(wait)


cdef bint unpark(Wait wait) noexcept:
    cdef Hub hub = wait.hub
    if hub is None:
        return unpark_thread(wait)
    if wait.generation != hub.generation or hub.state == HUB_CLOSED:
        return False
    # WAIT_READY first: waking another hub's poller may release the GIL, and then its thread runs.
    if not move(wait, WAIT_READY):
        return False
    enqueue(hub, wait, WAIT)
    return True


cdef bint unpark_first(Wait wait) noexcept:
    cdef Hub hub = wait.hub
    if (hub is None or <PyObject *>hub != treadle_thread_hub or hub.state == HUB_CLOSED
            or wait.generation != hub.generation):
        return unpark(wait)
    if not move(wait, WAIT_READY):
        return False
    ring_push_front(&hub.ring, wait, WAIT)
    hub.turn += 1
    if hub.poller.blocking:
        hub.poller.wake()
    return True


cdef bint unpark_with(Wait wait, object exc) noexcept:
    if wait.state == WAIT_DONE or wait.settled or wait.exc is not None and not wait.by_scope:
        return False
    wait.exc = exc
    wait.by_scope = False
    if wait.state == WAIT_READY or unpark(wait):
        return True
    wait.exc = None
    return False


cdef bint enqueue(Hub hub, object obj, int kind) noexcept:
    if hub.state == HUB_CLOSED:
        return False
    if <PyObject *>hub == treadle_thread_hub:
        ring_push(&hub.ring, obj, kind)
    else:
        ring_push(&hub.inbox, obj, kind)
    if hub.poller.blocking:
        hub.poller.wake()
    return True


# Waits of native threads that have no hub.

cdef int park_thread(Wait wait, int64_t timeout) except -1:
    global sleeping_threads
    cdef long long us = -1 if timeout < 0 else (min(timeout, LONGEST_POLL) + 999) // 1000
    if not move(wait, WAIT_PARKED):
        return 1  # it was unparked already
    if us < 0:
        sleeping_threads += 1
    else:
        wait.deadline = 0
    with nogil:
        PyThread_acquire_lock_timed(wait.thread_lock, us, 0)
    # The GIL is held again: no other thread can unpark the wait from here on.
    wait.expired = wait.state == WAIT_PARKED
    move(wait, WAIT_DONE)
    if wait.exc is not None:
        raise wait.exc
    return not wait.expired


cdef bint unpark_thread(Wait wait) noexcept:
    global sleeping_threads
    cdef bint sleeps = wait.state == WAIT_PARKED and wait.deadline < 0
    if not move(wait, WAIT_READY):
        return False
    if sleeps:
        sleeping_threads -= 1
    PyThread_release_lock(wait.thread_lock)
    return True


# ---------------------------------------------------------------- the loop

cdef int next_turn(Hub hub, greenlet current, bint no_wait) except -1:
    """Poll (blocking if nothing is ready), fire timers, and move the inbox to the ring.

    Called in the greenlet that parks, or in the hub. It may run signal handlers. Otherwise it runs
    only C, except for a replaced clock, the portable poller and the text of a LoopExit.
    """
    cdef bint busy = hub.ring.count > 0 or hub.inbox.count > 0 or no_wait
    # Whether a signal handler waits that the poller runs in the middle of its own wait.
    cdef bint inside_poll = hub.poller.blocking
    if not busy or treadle_ticks() - hub.last_look > LOOK_INTERVAL or is_replaced():
        try:
            poll(hub, busy)
            fire_timers(hub)
        except BaseException as exc:
            # A signal handler raised. The exception belongs to the principal, even if another
            # greenlet polls.
            if current is hub.principal:
                raise
            delivery.interrupt_main(hub, exc)
        if hub.thread_state != NULL and treadle_is_in_use(hub.thread_state):
            with_state.keep(hub)
        hub.last_look = treadle_ticks()
    while hub.inbox.count > 0:
        kind = ring_head_kind(&hub.inbox)
        obj = ring_pop(&hub.inbox)
        ring_push(&hub.ring, <object>obj, kind)
        Py_DECREF(<object>obj)
    ring_trim(&hub.ring)
    hub.turn = hub.ring.count
    hub.turns += 1
    if inside_poll:
        hub.poller.blocking = True
        hub.poller.wake()  # what that wait waits for may have come, and its timeout may be too long
    return 0


cdef int poll(Hub hub, bint busy) except -1:
    cdef int64_t deadline
    cdef uint64_t turns = hub.turns
    if busy:
        return hub.poller.wait(0)
    # Signal handlers run now, before it is decided whether and how long to wait: they may set
    # timers, wake greenlets and wait themselves.
    PyErr_CheckSignals()
    if hub.ring.count > 0 or hub.inbox.count > 0 or hub.turns != turns:
        return 0
    deadline = timers_next(&hub.timers)
    if deadline >= 0 and deadline <= now():
        return hub.poller.wait(0)
    if not hub.can_wake() and hub.on_deadlock():
        return 0
    return block(hub, deadline)


cdef int block(Hub hub, int64_t deadline) except -1:
    cdef int64_t timeout = LONGEST_POLL
    if is_replaced():
        hub.poller.wait(0)
    # From here on, what another thread posts wakes the poller. What it posted before is seen here. A
    # replaced clock runs Python, which lets other threads run.
    hub.poller.blocking = True
    try:
        if hub.ring.count > 0 or hub.inbox.count > 0 or is_replaced() and idle_until(deadline):
            return 0
        if deadline >= 0:
            timeout = min(max(deadline - now(), 0), LONGEST_POLL)
        if hub.waits_for_threads:
            timeout = min(timeout, THREADS_CHECK)
        hub.poller.wait(timeout)
    finally:
        hub.poller.blocking = False
    return 0


cdef int fire_timers(Hub hub) except -1:
    cdef treadle_fire fire
    cdef PyObject *obj
    cdef int64_t at
    if timers_live(&hub.timers) == 0:
        return 0
    at = now()
    while hub.probe is None or hub.probe.lets_fire(hub):
        obj = timers_pop_due(&hub.timers, at, &fire)
        if obj == NULL:
            return 0
        fire(obj)
        Py_DECREF(<object>obj)
    return 0


cdef Wait wait_of(Hub hub, greenlet target):
    if isinstance(target, Fiber):
        return (<Fiber>target).wait
    if target is hub.main:
        return hub.main_wait
    return hub.raw_waits.get(target)


cdef Callback run_callback(Hub hub, object callback, tuple args):
    cdef Callback entry = Callback.__new__(Callback)
    entry.callback = callback
    entry.args = args
    queue_callback(hub, entry)
    return entry


cdef int queue_callback(Hub hub, Callback entry) except -1:
    if not enqueue(hub, entry, CALLBACK):
        raise RuntimeError(f"{hub!r} is closed and cannot run {entry.callback!r}")
    return 0


cdef int schedule_start(Hub hub, Fiber fiber) except -1:
    if treadle_is_finalizing():
        raise RuntimeError(f"can't start {fiber!r} at interpreter shutdown")
    if not enqueue(hub, fiber, START):
        raise RuntimeError(f"{hub!r} is closed and cannot start {fiber!r}")
    fiber.scheduled = True
    list_fiber(hub, fiber)
    return 0


cdef treadle_timer *set_timer(Hub hub, int64_t deadline, object obj, treadle_fire fire) except NULL:
    if hub.poller.blocking:
        hub.poller.wake()  # a signal handler that the poller runs sets the timer
    return timers_add(&hub.timers, deadline, obj, fire)


cdef void cancel_timer(Hub hub, treadle_timer *timer) noexcept:
    Py_XDECREF(timers_cancel(&hub.timers, timer))


# ---------------------------------------------------------------- the hub greenlet

cdef class Hub(greenlet):
    """The greenlet in which a thread's callbacks run, and the thread's loop.

    It is the parent of all greenlets that treadle makes in the thread. Its ``switch()`` suspends
    the caller and runs other greenlets until something switches back to the caller. Subclasses
    define how a thread's own hub differs from a hub that belongs to no thread.
    """

    def __cinit__(self, *args, **kwargs):
        self.raw_waits = {}
        self.join_waits = []
        self.poller = Poller.__new__(Poller)  # whatever needs one raises, until __init__() has run
        self.thread_ident = PyThread_get_thread_ident()

    cdef bint can_wake(self) except -1:
        """Return whether anything can ever wake the loop."""
        return True

    cdef bint on_deadlock(self) except -1:
        """Report that nothing can wake the loop. Return whether a greenlet was told."""
        return False

    cdef int meet_fork(self, Wait wait) except -1:
        """Prepare for a greenlet to park, with *wait*, while the hub's thread forks."""
        return 0

    cdef int leave_greenlets_behind(self) except -1:
        """Never run any of the hub's greenlets again, except those that a fork lets go on."""
        return 0

    cdef int interrupt_principal(self, exc) except -1:
        return delivery.interrupt_principal(self, exc)

    def __dealloc__(self):
        unlist_all(self)
        ring_free(&self.ring)
        ring_free(&self.inbox)
        timers_free(&self.timers)

    def run(self, *ignored):
        """Run callbacks and the loop, and switch to greenlets as they become ready."""
        cdef int kind
        cdef Wait wait
        cdef Fiber fiber
        cdef greenlet target
        while self.state != HUB_CLOSED:
            if treadle_is_in_use(self.thread_state):
                treadle_clear_state()  # a callback or a greenlet that has ended left it
            if self.turn == 0 or self.ring.count == 0:
                self.take_turn()
                continue
            if self.probe is not None:
                ask_probe(self, None)
            kind = ring_head_kind(&self.ring)
            if kind == WAIT:
                wait = take_wait(self)
                if wait is not None:
                    target, wait = wait.waiter, None  # do not keep alive what it waited for
                    self.resume(target)
                    target = None
            elif kind == START:
                fiber = take_start(self)
                if fiber is not None:
                    self.resume(fiber)
                    fiber = None  # the hub may be suspended for long: do not keep it alive
            else:
                self.run_next_callback()

    cdef int take_turn(self) except -1:
        cdef bint no_wait = False
        if self.turn_hook is None or not self.turn_hook.active:
            return next_turn(self, self, False)
        no_wait = self.turn_hook.before_wait()
        next_turn(self, self, no_wait)
        self.turn_hook.after_wait()

    cdef int resume(self, greenlet target) except -1:
        # An exception here was raised in a child greenlet that did not handle it.
        try:
            PyGreenlet_Switch(target, NULL, NULL)
        except BaseException as exc:
            if self.state == HUB_CLOSED:
                raise
            self.report(target, exc)
        return 0

    cdef int run_next_callback(self) except -1:
        cdef Callback entry = <Callback>ring_pop(&self.ring)
        Py_DECREF(entry)
        self.turn -= 1
        if entry.args is None:
            return 0
        callback, args = entry.callback, entry.args
        entry.callback = entry.args = None
        self.in_callback = True
        try:
            callback(*args)
        except BaseException as exc:
            if self.state == HUB_CLOSED:
                raise
            self.report(callback, exc)
        finally:
            self.in_callback = False
        return 0

    cdef int report(self, context, exc) except -1:
        try:
            self.handle_error(context, type(exc), exc, exc.__traceback__)
        except BaseException as error:
            # An error in the handler must not end the hub.
            PyErr_SetObject(type(error), error)
            PyErr_WriteUnraisable(self)
        return 0

    def handle_error(self, context, type, value, tb):
        """Raise *value*, which no greenlet receives otherwise, in the main greenlet.

        *context* is the object that raised it. Subclasses may report the exception instead.
        """
        delivery.interrupt_main(self, value)

    @property
    def loop(self):
        """The hub's callbacks and watchers, with gevent's interface; None once the hub is closed.

        An object that is assigned here replaces the loop: this property returns it, and sleep()
        and Timeout call its ``update_now()`` when they set a timer, as in gevent.
        """
        if self.stand_in is not None:
            return self.stand_in
        if self.loop_made is None and self.state != HUB_CLOSED:
            self.loop_made = loop_class(hub=self)
        return None if self.state == HUB_CLOSED else self.loop_made

    @loop.setter
    def loop(self, value):
        self.stand_in = None if value is self.loop_made else value

    @property
    def closed(self):
        """Whether the hub was destroyed or its thread has ended."""
        return self.state == HUB_CLOSED

    @property
    def main_hub(self):
        """Whether this is the main thread's hub."""
        return self.for_main_thread

    @property
    def idle(self):
        """Whether the thread is blocked in the poller, with nothing to run."""
        return self.poller.blocking

    def interrupt_main(self, exc):
        """Raise *exc* in this thread's principal greenlet, before anything else runs."""
        delivery.interrupt_main(self, exc)

    def pending(self):
        """Return the number of entries in the ready ring."""
        return self.ring.count

    def timer_count(self):
        """Return the number of timers that are set."""
        return timers_live(&self.timers)


cdef greenlet main_greenlet():
    g = current_greenlet()
    while g.parent is not None and not isinstance(g, ThreadMain):
        g = g.parent
    return g


# Whether the interpreter is tearing down its modules, after all at-exit functions. Finalizers run
# then and may wait, but no greenlet except the main one ever runs again.
cdef bint ending = False
cdef greenlet first_main = main_greenlet()


cdef greenlet greenlet_at_end():
    global ending
    cdef Hub hub = get_hub_if_exists()
    if not ending:
        ending = True
        if hub is not None:
            hub.in_callback = False
            hub.leave_greenlets_behind()
    return first_main if hub is None else hub.main


cdef Hub get_hub():
    if treadle_thread_hub == NULL:
        hub_class()
    return <Hub>treadle_thread_hub


cdef Hub get_hub_if_exists():
    return None if treadle_thread_hub == NULL else <Hub>treadle_thread_hub


cdef void set_thread_hub(Hub hub) noexcept:
    global treadle_thread_hub
    treadle_thread_hub = NULL if hub is None else <PyObject *>hub


cdef Py_ssize_t count_sleeping_threads() noexcept:
    return sleeping_threads


cdef void forget_sleeping_threads() noexcept:
    global sleeping_threads
    sleeping_threads = 0


# ---------------------------------------------------------------- for Python

def get_current_hub() -> Hub:
    """Return this thread's hub; make it if there is none."""
    return get_hub()


def get_existing_hub() -> Hub | None:
    """Return this thread's hub, or None if it has none."""
    return get_hub_if_exists()
