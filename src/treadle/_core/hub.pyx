# cython: binding=False
# Calls of what is not subclassed in Python are faster so.
"""The scheduler: how a greenlet stops (park), how it is woken (unpark), and the hub between.

HACKING.md explains the vocabulary and the invariants.
"""

import os
import sys
from _signal import NSIG as _NSIG
from _signal import default_int_handler, getsignal

cimport cython
from cpython.exc cimport PyErr_Fetch, PyErr_Restore, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint64_t

from treadle._core.clock cimport idle_until, is_replaced, nanoseconds, now
from treadle._core.greenlet_api cimport (
    PyGreenlet_ACTIVE,
    PyGreenlet_Import,
    PyGreenlet_SetParent,
    PyGreenlet_STARTED,
    PyGreenlet_Switch,
    PyGreenlet_Throw,
    greenlet,
    treadle_switch,
)
from treadle._core.poller cimport Poller

from greenlet import GreenletExit

from treadle._core import chunks
from treadle._core.poller import SelectorsPoller
from treadle.exceptions import BlockingSwitchOutError, HubDestroyed, InvalidSwitchError, LoopExit

if sys.platform == "linux":
    from treadle._core.epoll import EpollPoller
else:
    EpollPoller = None

cdef extern from "ring.h":
    int ring_push(treadle_ring *ring, object obj, int kind) except -1
    int ring_push_front(treadle_ring *ring, object obj, int kind) except -1
    int ring_head_kind(treadle_ring *ring)
    PyObject *ring_pop(treadle_ring *ring)
    void ring_trim(treadle_ring *ring)
    void ring_free(treadle_ring *ring)

cdef extern from "timers.h":
    treadle_timer *timers_add(treadle_timers *timers, int64_t deadline, object obj, treadle_fire fire) except NULL
    PyObject *timers_cancel(treadle_timers *timers, treadle_timer *timer)
    int64_t timers_next(treadle_timers *timers)
    PyObject *timers_pop_due(treadle_timers *timers, int64_t now, treadle_fire *fire)
    size_t timers_live(const treadle_timers *timers)
    void timers_free(treadle_timers *timers)
    PyObject *timers_take(treadle_timers *timers, treadle_fire fire)

cdef extern from "ticks.h" nogil:
    uint64_t treadle_ticks()
    uint64_t treadle_ticks_per_20us()

cdef extern from "threads.h":
    bint treadle_is_main_thread()
    Py_ssize_t treadle_other_threads()

cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock
    enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long us, int intr)
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()

cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) PyObject *treadle_thread_hub;
    #else
    static __thread PyObject *treadle_thread_hub;
    #endif
    """
    PyObject *treadle_thread_hub  # borrowed: the thread's HubHolder keeps it alive

cdef extern from "threads.h":
    bint treadle_is_finalizing()

cdef extern from "Python.h":
    PyObject *PyThreadState_GetDict()

PyGreenlet_Import()
chunks.install()

# What an entry of the ring is.
cdef enum:
    WAIT = 1      # a Wait: switch to its greenlet
    START = 2     # a Fiber: switch to it for the first time
    CALLBACK = 3  # a Callback: run it in the hub greenlet

# While greenlets are always ready, timers and the poller are looked at at the end of a turn once
# this many ticks (some 20 microseconds) have passed since the last look: a system call per turn
# would cost more than a short turn itself.
cdef uint64_t LOOK_INTERVAL = treadle_ticks_per_20us()
# Longest wait handed to the system at once (about 11 days), far below every poller's limit.
cdef int64_t LONGEST_POLL = 1_000_000_000_000_000
# How often, in nanoseconds, a hub that only another thread can wake looks whether one is left:
# nothing tells of a thread's end, or that the last one went to sleep.
cdef int64_t THREADS_CHECK = 500_000_000

cdef list REASONS = [
    "sleeping", "yielding", "switched to the hub", "joining", "waiting for", "waiting for the loop",
    "acquiring", "waiting for event", "waiting for result", "waiting for condition",
    "getting from", "putting to", "joining queue", "meeting at", "reading", "writing",
    "waiting for a thread at",
]

# Objects of greenlets that cannot run again, because their thread ended or a fork left them
# behind. Dropping them at once would raise GreenletExit in them: code of theirs would run.
# What ended threads left is dropped when the next hub is made; what forks left, never.
cdef list left_by_threads = []
cdef list left_by_forks = []

cdef list all_hubs = []
# Native threads parked without a deadline: they wake nobody until somebody wakes them.
cdef Py_ssize_t sleeping_threads = 0

# The class of new hubs, filled from above: treadle.hub's.
hub_class = None
# The class of their loops, filled from above: treadle.core's.
loop_class = None
# The name of the poller of new hubs: "epoll", "select", or None for the best there is.
poller_name = None


@cython.no_gc
@cython.freelist(256)
cdef class Wait:

    def __dealloc__(self):
        if self.thread_lock != NULL:
            PyThread_free_lock(self.thread_lock)

    @property
    def greenlet(self):
        """Who waits; None for a native thread without a hub."""
        return self.waiter

    @property
    def woken(self):
        """Whether it was unparked already and only has to run."""
        return self.state >= READY

    @property
    def reason(self):
        """Why, in words."""
        return REASONS[<int>self.reason]

    def __repr__(self):
        what = "" if self.on is None else f" {self.on!r}"
        return f"{self.waiter!r} {REASONS[<int>self.reason]}{what}"


cdef class WaitQueue:
    # A queued wait refers to its queue, so a queue that is freed is empty.

    def __len__(self):
        return self.count

    cdef int append(self, Wait wait) except -1:
        wait.queue = self
        wait.prev = self.last
        wait.next = NULL
        if self.last == NULL:
            self.first = <PyObject *>wait
        else:
            (<Wait>self.last).next = <PyObject *>wait
        self.last = <PyObject *>wait
        self.count += 1
        Py_INCREF(wait)
        return 0

    cdef int prepend(self, Wait wait) except -1:
        wait.queue = self
        wait.prev = NULL
        wait.next = self.first
        if self.first == NULL:
            self.last = <PyObject *>wait
        else:
            (<Wait>self.first).prev = <PyObject *>wait
        self.first = <PyObject *>wait
        self.count += 1
        Py_INCREF(wait)
        return 0

    cdef void remove(self, Wait wait) noexcept:
        if wait.queue is not self:
            return
        if wait.prev == NULL:
            self.first = wait.next
        else:
            (<Wait>wait.prev).next = wait.next
        if wait.next == NULL:
            self.last = wait.prev
        else:
            (<Wait>wait.next).prev = wait.prev
        wait.queue = None
        self.count -= 1
        Py_DECREF(wait)

    cdef Wait pop(self):
        cdef Wait wait
        if self.first == NULL:
            return None
        wait = <Wait>self.first
        self.remove(wait)
        return wait

    cdef Wait grant(self):
        cdef Wait wait
        while self.first != NULL:
            wait = self.pop()
            wait.granted = True
            if unpark(wait):
                return wait
            wait.granted = False
        return None


cdef class Fiber(greenlet):

    @property
    def waiting(self):
        """What it is parked on, as a Wait; None while it runs."""
        return self.wait


cdef class ThreadMain(greenlet):
    """The main greenlet of a thread whose code runs in another than the thread's first."""


cdef class Callback:
    """A function that the hub greenlet is going to call."""

    @property
    def pending(self):
        """Whether it has still to run."""
        return self.args is not None

    def __bool__(self):
        return self.args is not None

    def stop(self):
        """Do not run it."""
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


# While an asyncio loop runs in some greenlet: what takes the thread's notes of it away before a
# greenlet waits (None if there are none), and what puts them back.
cdef object suspend_loop = None
cdef object resume_loop = None


def guard_loops(suspend, resume):
    """Call ``suspend()`` before each wait and ``resume(what it returned)`` after it, unless None."""
    global suspend_loop, resume_loop
    suspend_loop, resume_loop = suspend, resume


cdef int park_beside_loops(Wait wait, int64_t timeout) except -1:
    wait.beside_loops = True
    loop, resume = suspend_loop(), resume_loop
    try:
        return park(wait, timeout)
    finally:
        if loop is not None:
            resume(loop)


cdef int park(Wait wait, int64_t timeout) except -1:
    cdef Hub hub = wait.hub
    if suspend_loop is not None and not wait.beside_loops:
        return park_beside_loops(wait, timeout)
    if hub is None:
        return park_thread(wait, timeout)
    if hub.forking:
        renew_if_forked(hub, wait)
    if timeout >= 0:
        wait.deadline = now() + timeout
        wait.timer = timers_add(&hub.timers, wait.deadline, wait, wait_expired)
    enter(hub, wait)
    # Not by try: what Cython keeps for it would lie in every parked greenlet's stack.
    if (<int (*)(Hub, Wait) noexcept>run_others)(hub, wait) < 0:
        return leave_by_error(hub, wait)
    leave(hub, wait)
    if wait.exc is not None:
        raise wait.exc
    return not wait.expired


cdef int leave_by_error(Hub hub, Wait wait) except -1:
    cdef PyObject *type
    cdef PyObject *value
    cdef PyObject *tb
    PyErr_Fetch(&type, &value, &tb)
    leave(hub, wait)
    PyErr_Restore(type, value, tb)
    return -1


cdef PyTypeObject *last_fiber_type = NULL


cdef inline bint is_fiber(greenlet g) noexcept:
    # Nearly all greenlets of a program are of one class: remember the last that passed.
    global last_fiber_type
    if Py_TYPE(g) == last_fiber_type:
        return True
    if isinstance(g, Fiber):
        last_fiber_type = Py_TYPE(g)
        return True
    return False


cdef inline void enter(Hub hub, Wait wait) noexcept:
    cdef greenlet waiter = wait.waiter
    if is_fiber(waiter):
        wait.outer = (<Fiber>waiter).wait
        (<Fiber>waiter).wait = wait
    elif waiter is hub.main:
        wait.outer = hub.main_wait
        hub.main_wait = wait
    else:
        wait.outer = hub.raw_waits.get(waiter)
        hub.raw_waits[waiter] = wait
    if wait.outer is not None:
        wait.outer.shadowed = True
    if wait.state == NEW:
        wait.state = PARKED


cdef inline void leave(Hub hub, Wait wait) noexcept:
    cdef greenlet waiter = wait.waiter
    if is_fiber(waiter):
        (<Fiber>waiter).wait = wait.outer
    elif waiter is hub.main:
        hub.main_wait = wait.outer
    elif wait.outer is None:
        hub.raw_waits.pop(waiter, None)
    else:
        hub.raw_waits[waiter] = wait.outer
    if wait.outer is not None:
        wait.outer.shadowed = False
        wait.outer = None
    wait.state = DONE
    if wait.timer != NULL:
        cancel_timer(hub, wait.timer)
        wait.timer = NULL


cdef int run_others(Hub hub, Wait wait) except -1:
    """Switch to whoever is next, or poll, until `wait` was taken from the ring."""
    cdef PyObject *target
    if ending:
        return run_alone(hub, wait)
    while wait.state != DONE:
        target = next_to_run(hub, wait)
        if target == NULL:
            continue
        # Nothing here keeps `target` or what it waited for alive while this greenlet is parked.
        treadle_switch(target)  # runs anything
        if wait.state != DONE:
            raise switched_by_others(wait)
    return 0


cdef int run_alone(Hub hub, Wait wait) except -1:
    """Poll until `wait` was taken from the ring, while the interpreter ends: nobody else runs."""
    cdef PyObject *entry
    while wait.state != DONE:
        if hub.turn == 0 or hub.ring.count == 0:
            next_turn(hub, hub.main, False)
        elif ring_head_kind(&hub.ring) == WAIT:
            take_wait(hub)
        else:
            entry = ring_pop(&hub.ring)
            Py_DECREF(<object>entry)
            hub.turn -= 1
    return 0


cdef PyObject *next_to_run(Hub hub, Wait wait) except? NULL:
    """The greenlet to switch to; NULL if `wait` is over, or something else is to be looked at.

    Borrowed: a parked greenlet is kept by its Wait, the hub by the thread.
    """
    cdef Wait other
    if hub.in_callback:
        return <PyObject *>hub
    if hub.turn == 0 or hub.ring.count == 0:
        if hub.turn_hook is not None and hub.turn_hook.active:
            return <PyObject *>hub
        next_turn(hub, wait.waiter, False)
        return NULL
    if ring_head_kind(&hub.ring) == START and wait.waiter is hub.main and PyGreenlet_STARTED(hub):
        hub.starting = take_start(hub)
        return NULL if hub.starting is None else <PyObject *>hub.starting
    if ring_head_kind(&hub.ring) != WAIT:
        # Callbacks belong into the hub. So do first switches: a greenlet's stack begins where
        # its starter's stood, so starting one from the other would nest them without end; only
        # the main greenlet's is no part of that.
        return <PyObject *>hub
    other = take_wait(hub)
    if other is None or other is wait:
        return NULL
    return <PyObject *>other.waiter


cdef object switched_by_others(Wait wait):
    return InvalidSwitchError(
        f"Invalid switch: {wait!r} was switched to by something else than what it waits for")


cdef inline Wait take_wait(Hub hub):
    """The wait at the head of the ring, delivered; None if it must not be switched to."""
    cdef PyObject *obj = ring_pop(&hub.ring)
    cdef Wait wait = <Wait>obj
    Py_DECREF(wait)
    hub.turn -= 1
    if wait.state != READY or wait.generation != hub.generation:
        return None
    wait.state = DONE
    return None if wait.shadowed else wait


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
    if wait.state <= PARKED:
        wait.expired = True
        unpark(wait)


cdef bint unpark(Wait wait) noexcept:
    global sleeping_threads
    if wait.state > PARKED:
        return False
    if wait.hub is None:
        if wait.state == PARKED and wait.deadline < 0:
            sleeping_threads -= 1
        wait.state = READY
        PyThread_release_lock(wait.thread_lock)
        return True
    if wait.generation != wait.hub.generation:
        return False
    # First: waking the other hub's poller may release the GIL, and its thread runs.
    wait.state = READY
    if not enqueue(wait.hub, wait, WAIT):
        wait.state = PARKED
        return False
    return True


cdef bint unpark_with(Wait wait, object exc) noexcept:
    if wait.state == DONE or wait.exc is not None or wait.settled:
        return False
    wait.exc = exc
    if wait.state == READY or unpark(wait):
        return True
    wait.exc = None
    return False


cdef bint enqueue(Hub hub, object obj, int kind) noexcept:
    if hub.closed:
        return False
    if <PyObject *>hub == treadle_thread_hub:
        ring_push(&hub.ring, obj, kind)
    else:
        ring_push(&hub.inbox, obj, kind)
    if hub.poller.blocking:
        hub.poller.wake()
    return True


cdef int park_thread(Wait wait, int64_t timeout) except -1:
    """Block a native thread that has no hub."""
    global sleeping_threads
    cdef long long us = -1 if timeout < 0 else (min(timeout, LONGEST_POLL) + 999) // 1000
    if wait.state == READY:
        return 1
    wait.state = PARKED
    if us < 0:
        sleeping_threads += 1
    else:
        wait.deadline = 0
    with nogil:
        PyThread_acquire_lock_timed(wait.thread_lock, us, 0)
    wait.expired = wait.state == PARKED  # with the GIL again: nobody unparks it from here on
    wait.state = DONE
    if wait.exc is not None:
        raise wait.exc
    return not wait.expired


# ---------------------------------------------------------------- the loop

cdef int next_turn(Hub hub, greenlet current, bint no_wait) except -1:
    """Poll (waiting if nothing is ready), fire timers, take what other threads posted.

    Runs in whichever greenlet parks; runs signal handlers, otherwise only C.
    """
    cdef bint busy = hub.ring.count > 0 or hub.inbox.count > 0 or no_wait
    if not busy or treadle_ticks() - hub.last_look > LOOK_INTERVAL or is_replaced():
        try:
            poll(hub, busy)
        except BaseException as exc:
            # A signal handler raised. It belongs to the main greenlet, whoever happens to poll.
            if current is hub.main:
                raise
            interrupt_main(hub, exc)
        fire_timers(hub)
        hub.last_look = treadle_ticks()
    while hub.inbox.count > 0:
        kind = ring_head_kind(&hub.inbox)
        obj = ring_pop(&hub.inbox)
        ring_push(&hub.ring, <object>obj, kind)
        Py_DECREF(<object>obj)
    ring_trim(&hub.ring)
    hub.turn = hub.ring.count
    hub.turns += 1
    return 0


cdef int poll(Hub hub, bint busy) except -1:
    cdef int64_t deadline
    if busy:
        return hub.poller.wait(0)
    deadline = timers_next(&hub.timers)
    if deadline >= 0 and deadline <= now():
        return hub.poller.wait(0)
    if not can_wake(hub) and on_deadlock(hub):
        return 0
    return block(hub, deadline)


cdef int block(Hub hub, int64_t deadline) except -1:
    cdef int64_t timeout = LONGEST_POLL
    if is_replaced():
        hub.poller.wait(0)
        if hub.ring.count > 0 or hub.inbox.count > 0 or idle_until(deadline):
            return 0
    if deadline >= 0:
        timeout = min(max(deadline - now(), 0), LONGEST_POLL)
    if hub.waits_for_threads:
        timeout = min(timeout, THREADS_CHECK)
    hub.poller.blocking = True
    try:
        # Between the look at the inbox and here nothing ran without the GIL.
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
    while True:
        obj = timers_pop_due(&hub.timers, at, &fire)
        if obj == NULL:
            return 0
        fire(obj)
        Py_DECREF(<object>obj)


cdef bint can_wake(Hub hub) except -1:
    """Whether anything can ever make this hub's loop go on."""
    hub.waits_for_threads = False
    if hub.refs > 0 or <Py_ssize_t>timers_live(&hub.timers) > hub.unref_timers:
        return True
    if hub.join_waits:
        return False  # Hub.join() waits for what the loop itself knows of, not for threads
    if not treadle_is_main_thread():
        return True  # the main thread can
    # Other threads can, unless they all sleep until somebody wakes them.
    hub.waits_for_threads = treadle_other_threads() > sleeping_threads
    return hub.waits_for_threads or has_signal_handlers()


cdef bint has_signal_handlers() except -1:
    """Whether the program handles signals, and not by KeyboardInterrupt alone."""
    for number in range(1, _NSIG):
        handler = getsignal(number)
        if callable(handler) and getattr(handler, "handler", handler) is not default_int_handler:
            return True
    return False


cdef bint on_deadlock(Hub hub) except -1:
    """End Hub.join(), or tell the main greenlet. Whether somebody was told."""
    cdef Wait wait
    if hub.join_waits:
        for wait in hub.join_waits:
            unpark(wait)
        hub.join_waits = []
        return True
    if hub.main_wait is not None and hub.main_wait.generation != hub.generation:
        # In a forked child whose first greenlet has ended, as when the last thread ends.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(0)
    interrupt_main(hub, LoopExit(blocked_text(hub)))
    return True


cdef str blocked_text(Hub hub):
    import gc  # for this report only
    import greenlet as api
    waits = [hub.main_wait] if hub.main_wait is not None else []
    waits += hub.raw_waits.values()
    for obj in gc.get_objects():
        if isinstance(obj, Fiber) and (<Fiber>obj).hub is hub and (<Fiber>obj).wait is not None:
            waits.append((<Fiber>obj).wait)
    lines = [f"    {wait!r}" for wait in waits[:50]]
    if len(waits) > 50:
        lines.append(f"    ... and {len(waits) - 50} more")
    return "This operation would block forever\n    Hub: {!r}\n{}".format(hub, "\n".join(lines))


cdef int interrupt_main(Hub hub, object exc) except -1:
    """Raise `exc` in the main greenlet before anything else runs."""
    cdef Wait wait = hub.main_wait
    if (wait is not None and wait.state <= PARKED and not wait.settled
            and wait.generation == hub.generation):
        wait.exc = exc
        wait.state = READY
        ring_push_front(&hub.ring, wait, WAIT)
        hub.turn += 1
        return 0
    return interrupt(hub, hub.main, exc)


cdef int interrupt(Hub hub, greenlet target, object exc) except -1:
    cdef Wait wait = wait_of(hub, target)
    if hub.closed:
        raise RuntimeError(f"{target!r} will never run again: its {hub!r} is closed")
    if wait is None or not unpark_with(wait, exc):
        post_callback(hub, deliver, (target, exc))
    return 0


cdef Wait wait_of(Hub hub, greenlet target):
    if isinstance(target, Fiber):
        return (<Fiber>target).wait
    if target is hub.main:
        return hub.main_wait
    return hub.raw_waits.get(target)


def deliver(greenlet target, exc):
    """Raise *exc* in *target* now, from its hub. Runs anything."""
    cdef Hub hub = get_hub()
    cdef Wait wait = wait_of(hub, target)
    if not PyGreenlet_ACTIVE(target):
        return
    if wait is None:
        if isinstance(exc, type):
            PyGreenlet_Throw(target, exc, None, None)
        else:
            PyGreenlet_Throw(target, type(exc), exc, exc.__traceback__)
    elif wait.generation == hub.generation and not unpark_with(wait, exc):
        run_callback(hub, deliver, (target, exc))  # another one is on its way to it


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


cdef Callback post_callback(Hub hub, object callback, tuple args):
    return run_callback(hub, callback, args)


cdef int schedule_start(Hub hub, Fiber fiber) except -1:
    if treadle_is_finalizing():
        raise RuntimeError(f"can't start {fiber!r} at interpreter shutdown")
    if not enqueue(hub, fiber, START):
        raise RuntimeError(f"{hub!r} is closed and cannot start {fiber!r}")
    fiber.scheduled = True
    return 0


cdef treadle_timer *set_timer(Hub hub, int64_t deadline, object obj, treadle_fire fire) except NULL:
    return timers_add(&hub.timers, deadline, obj, fire)


cdef void cancel_timer(Hub hub, treadle_timer *timer) noexcept:
    Py_XDECREF(timers_cancel(&hub.timers, timer))


# ---------------------------------------------------------------- the hub greenlet

cdef class Hub(greenlet):
    """The greenlet in which a thread's callbacks run, and the thread's loop.

    The parent of all greenlets that treadle makes in the thread. Its ``switch()`` gives way to the
    others until something switches back to the caller.
    """

    def __cinit__(self, *args, **kwargs):
        self.raw_waits = {}
        self.join_waits = []
        self.thread_ident = PyThread_get_thread_ident()

    def __init__(self):
        global left_by_threads
        if treadle_thread_hub != NULL:
            raise RuntimeError(f"this thread has a hub already: {<object>treadle_thread_hub!r}")
        left_by_threads = []
        self.main = main_greenlet()
        PyGreenlet_SetParent(self, self.main)
        self.for_main_thread = treadle_is_main_thread()
        self.poller = make_poller(poller_name, self.for_main_thread)
        all_hubs.append(self)
        hold_in_thread(self)

    def __dealloc__(self):
        ring_free(&self.ring)
        ring_free(&self.inbox)
        timers_free(&self.timers)

    def run(self, *ignored):
        """Run callbacks and the loop; gives control to greenlets as they become ready."""
        cdef int kind
        cdef Wait wait
        cdef Fiber fiber
        cdef greenlet target
        while not self.closed:
            if self.turn == 0 or self.ring.count == 0:
                self.take_turn()
                continue
            kind = ring_head_kind(&self.ring)
            if kind == WAIT:
                wait = take_wait(self)
                if wait is not None:
                    target, wait = wait.waiter, None  # nor keep alive what it waited for
                    self.resume(target)
                    target = None
            elif kind == START:
                fiber = take_start(self)
                if fiber is not None:
                    self.resume(fiber)
                    fiber = None  # the hub may be suspended long: do not keep it alive
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
        # What comes back as an exception was raised by a child without a handler of its own.
        try:
            PyGreenlet_Switch(target, NULL, NULL)
        except BaseException as exc:
            if self.closed:
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
            if self.closed:
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
            write_unraisable(error, self)
        return 0

    def handle_error(self, context, type, value, tb):
        """Report an exception that no greenlet will get; *context* is what raised it."""
        interrupt_main(self, value)

    @property
    def loop(self):
        """The callbacks and watchers of the hub, as gevent shows them; None once it is closed.

        What is assigned stands in for it: whoever asks gets that, and its ``update_now()`` is
        called when sleep() or a Timeout sets a timer, as in gevent.
        """
        if self.stand_in is not None:
            return self.stand_in
        if self.loop_made is None and not self.closed:
            self.loop_made = loop_class(hub=self)
        return None if self.closed else self.loop_made

    @loop.setter
    def loop(self, value):
        self.stand_in = None if value is self.loop_made else value

    @property
    def main_hub(self):
        """Whether it is the main thread's hub."""
        return self.for_main_thread

    @property
    def idle(self):
        """Whether the thread waits for events, with nothing to run."""
        return self.poller is not None and self.poller.blocking

    def interrupt_main(self, exc):
        """Raise *exc* in this thread's main greenlet, before anything else runs."""
        interrupt_main(self, exc)

    def wait_until_idle(self, seconds=None):
        """Let everything else run; True once nothing is left that could, False on timeout."""
        cdef int64_t ns = nanoseconds(seconds)
        cdef Wait wait = new_wait(ON_HUB, self)
        self.join_waits.append(wait)
        if ns >= 0:
            self.unref_timers += 1  # its own: nothing is left when only that is
        try:
            return bool(park(wait, ns))
        finally:
            if ns >= 0:
                self.unref_timers -= 1
            if wait in self.join_waits:
                self.join_waits.remove(wait)

    def pending(self):
        """How many entries the ready ring holds."""
        return self.ring.count

    def timer_count(self):
        """How many timers are set."""
        return timers_live(&self.timers)

    def close(self):
        """Let go of the loop and its descriptors; what was parked here never runs again."""
        if not self.closed:
            if <PyObject *>self == treadle_thread_hub:
                release_from_thread()
            self.shut()

    cdef int shut(self) except -1:
        self.closed = True
        all_hubs.remove(self)
        abandon(self, left_by_threads)
        self.poller.close()
        return self.unwind()

    cdef int unwind(self) except -1:
        """End the hub greenlet, which would keep the hub; not if a callback of a user's is in it."""
        if (PyGreenlet_ACTIVE(self) and not self.in_callback
                and current_greenlet() is self.main):
            PyGreenlet_Throw(self, GreenletExit, None, None)
        return 0


cdef class PrivateHub(Hub):
    """Holds a loop that belongs to no thread and runs only while :meth:`run_loop` is called."""

    def __init__(self, poller=None):
        self.main = main_greenlet()
        self.poller = make_poller(poller_name if poller is None else poller, False)
        all_hubs.append(self)

    def handle_error(self, context, type, value, tb):
        """Report the exception as the thread's own hub does."""
        get_hub().handle_error(context, type, value, tb)

    def run_loop(self, bint nowait, bint once):
        """Run callbacks and watchers until nothing is left that keeps the loop going.

        With *once* only one turn; with *nowait* one turn that does not wait. Runs anything.
        """
        cdef bint hooked, busy
        while not self.closed and (
                self.ring.count > 0 or self.inbox.count > 0 or self.refs > 0
                or <Py_ssize_t>timers_live(&self.timers) > self.unref_timers):
            hooked = self.turn_hook is not None and self.turn_hook.active
            busy = nowait or hooked and self.turn_hook.before_wait()
            next_turn(self, self.main, busy)
            if hooked:
                self.turn_hook.after_wait()
            while self.turn > 0 and self.ring.count > 0:
                self.run_next_callback()
            if nowait or once:
                return


cdef int write_unraisable(exc, context) except -1:
    """Hand an exception that nobody can take to sys.unraisablehook."""
    PyErr_SetObject(type(exc), exc)
    PyErr_WriteUnraisable(context)
    return 0


cdef greenlet main_greenlet():
    g = current_greenlet()
    while g.parent is not None and not isinstance(g, ThreadMain):
        g = g.parent
    return g


# The interpreter is taking its modules apart, after all at-exit functions. Finalizers run then, and
# may wait, but no greenlet besides the main one ever runs again.
cdef bint ending = False
cdef greenlet first_main = main_greenlet()


cdef greenlet greenlet_at_end():
    global ending
    cdef Hub hub = get_hub_if_exists()
    if not ending:
        ending = True
        if hub is not None:
            hub.in_callback = False
            leave_greenlets_behind(hub)
    return first_main if hub is None else hub.main


cdef Poller make_poller(name, bint gets_signals):
    if name is None:
        name = "epoll" if EpollPoller is not None else "select"
    if name == "epoll" and EpollPoller is not None:
        return EpollPoller(gets_signals)
    if name == "select":
        return SelectorsPoller()
    raise ValueError(f"no poller named {name!r} here; choose 'select'"
                     + ("" if EpollPoller is None else " or 'epoll'"))


def make_inner_poller(Poller outer):
    """A second poller of the kind of *outer*, to be watched by it."""
    return make_poller("epoll" if outer.edge_triggered else "select", False)


cdef Hub get_hub():
    if treadle_thread_hub == NULL:
        (Hub if hub_class is None else hub_class)()
    return <Hub>treadle_thread_hub


cdef Hub get_hub_if_exists():
    return None if treadle_thread_hub == NULL else <Hub>treadle_thread_hub


@cython.final
cdef class HubHolder:
    """Stands in the thread state's dictionary and ends the hub with the thread."""

    cdef Hub hub

    def __dealloc__(self):
        global treadle_thread_hub
        if self.hub is None or self.hub.closed or treadle_is_finalizing():
            return
        if os.getpid() != last_pid:
            # A forked child drops the parent's threads before any hook runs; see there.
            left_by_forks.append(self.hub)
        else:
            # The thread state has given up its dictionary, and would make another if asked.
            treadle_thread_hub = NULL
            self.hub.shut()


cdef str HOLDER = "treadle.hub"


cdef int hold_in_thread(Hub hub) except -1:
    global treadle_thread_hub
    cdef HubHolder holder = HubHolder()
    holder.hub = hub
    (<dict>PyThreadState_GetDict())[HOLDER] = holder
    treadle_thread_hub = <PyObject *>hub
    return 0


cdef int release_from_thread() except -1:
    global treadle_thread_hub
    cdef PyObject *state = PyThreadState_GetDict()
    treadle_thread_hub = NULL
    if state != NULL:
        (<HubHolder>(<dict>state).pop(HOLDER)).hub = None  # the caller ends it
    return 0


cdef struct AbandonedKind:
    treadle_fire fire
    treadle_fire forget

# The kinds of timers that go with their greenlets.
cdef AbandonedKind[8] abandoned
cdef int abandoned_kinds = 0


cdef void abandon_timers(treadle_fire fire, treadle_fire forget) noexcept:
    global abandoned_kinds
    abandoned[abandoned_kinds].fire = fire
    abandoned[abandoned_kinds].forget = forget
    abandoned_kinds += 1


cdef void forget_wait_timer(PyObject *obj) noexcept:
    (<Wait>obj).timer = NULL


abandon_timers(wait_expired, forget_wait_timer)


cdef int abandon(Hub hub, list keeper) except -1:
    """Forget all greenlets, without letting any of them run."""
    cdef PyObject *obj
    cdef int i
    while hub.ring.count > 0:
        obj = ring_pop(&hub.ring)
        keeper.append(<object>obj)
        Py_DECREF(<object>obj)
    while hub.inbox.count > 0:
        obj = ring_pop(&hub.inbox)
        keeper.append(<object>obj)
        Py_DECREF(<object>obj)
    for i in range(abandoned_kinds):
        while True:
            obj = timers_take(&hub.timers, abandoned[i].fire)
            if obj == NULL:
                break
            abandoned[i].forget(obj)
            keeper.append(<object>obj)
            Py_DECREF(<object>obj)
    keeper.extend(hub.raw_waits.items())
    hub.turn = 0
    hub.raw_waits = {}
    hub.join_waits = []
    return 0


# ---------------------------------------------------------------- fork

cdef int last_pid = os.getpid()


cdef int renew_if_forked(Hub hub, Wait wait) except -1:
    """Another at-fork hook waits before ours ran: it must not run the parent's greenlets."""
    if os.getpid() != last_pid:
        after_fork_in_child()
        wait.generation = hub.generation
    return 0


def before_fork():
    if treadle_thread_hub != NULL:
        (<Hub>treadle_thread_hub).forking = True


def after_fork_in_parent():
    if treadle_thread_hub != NULL:
        (<Hub>treadle_thread_hub).forking = False


def after_fork_in_child():
    """Give the child a fresh poller and, unless its greenlets are to be kept, a clean hub."""
    global last_pid, sleeping_threads, all_hubs
    cdef Hub hub, own = get_hub_if_exists()
    if os.getpid() == last_pid:
        return  # done already
    last_pid = os.getpid()
    sleeping_threads = 0
    for hub in all_hubs:
        if hub is not own:
            # Its thread does not exist here, and its greenlets can never run.
            hub.closed = True
            hub.poller.close()
            left_by_forks.append(hub)
    all_hubs = [own] if own is not None else []
    if own is not None:
        own.for_main_thread = True
        own.forking = own.poller.blocking = False
        if own.keeping_fork is current_greenlet():
            own.poller.renew_and_rewatch()
        else:
            leave_greenlets_behind(own)
            own.poller.renew()


cdef int leave_greenlets_behind(Hub hub) except -1:
    cdef greenlet current = current_greenlet()
    cdef Wait wait = wait_of(hub, current)
    abandon(hub, left_by_forks)
    hub.refs = hub.unref_timers = 0
    hub.generation += 1
    while wait is not None:  # fork() was called in a signal handler while its greenlet waits
        wait.generation = hub.generation
        wait = wait.outer
    return 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent,
                        after_in_child=after_fork_in_child)


# ---------------------------------------------------------------- for Python

def get_current_hub() -> Hub:
    """This thread's hub, made if it has none yet."""
    return get_hub()


def get_existing_hub() -> Hub | None:
    """This thread's hub, or None."""
    return get_hub_if_exists()


cdef object ZERO = 0  # the most frequent argument of sleep(), known by its identity


def sleep(seconds=0, ref=True) -> None:
    """Let others run for *seconds*; with 0 or less, everything that is ready runs once.

    With *ref* false the sleep alone does not keep :meth:`Hub.join` or the loop going.
    Raises TypeError for what is not a number and ValueError for NaN.
    """
    cdef int64_t ns = 0 if seconds is ZERO else nanoseconds(seconds)
    cdef Wait wait
    if ns < 0:
        raise TypeError("sleep() needs a number of seconds, not None")
    wait = new_hub_wait(ON_SLEEP if ns > 0 else ON_YIELD, None)
    if ns == 0:
        unpark(wait)
        ns = -1
    elif wait.hub is not None and wait.hub.stand_in is not None:
        wait.hub.stand_in.update_now()
    if ref or ns < 0 or wait.hub is None:
        park(wait, ns)
    else:
        park_unref(wait, ns)


cdef int park_unref(Wait wait, int64_t timeout) except -1:
    wait.hub.unref_timers += 1
    try:
        return park(wait, timeout)
    finally:
        wait.hub.unref_timers -= 1
