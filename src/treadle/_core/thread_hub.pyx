"""A thread's own hub: made when first needed, closed with its thread; handles deadlocks and forks.

Greenlets that a fork or the end of a thread leaves behind must never run again. They must not be
dropped at once either: that would raise GreenletExit in them and so run their code.
"""

import os
import sys
from _signal import NSIG as _NSIG
from _signal import SIGINT as _SIGINT
from _signal import default_int_handler, getsignal

cimport cython
from cpython.exc cimport PyErr_SetObject, PyErr_WriteUnraisable
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t, uint64_t

from treadle._core.aside cimport begin_tracing
from treadle._core.clock cimport nanoseconds
from treadle._core.delivery cimport interrupt_main
from treadle._core.greenlet_api cimport (
    PyGreenlet_ACTIVE,
    PyGreenlet_Import,
    PyGreenlet_SetParent,
    PyGreenlet_Throw,
    greenlet,
)
from treadle._core.hub cimport (
    HUB_CLOSED,
    HUB_FORKING,
    HUB_OPEN,
    ON_GROUP,
    ON_HUB,
    WAIT,
    WAIT_READY,
    Fiber,
    Hub,
    Wait,
    count_sleeping_threads,
    current_greenlet,
    forget_sleeping_threads,
    get_hub,
    get_hub_if_exists,
    list_fiber,
    main_greenlet,
    move_hub,
    new_wait,
    park,
    run_callback,
    set_thread_hub,
    unlist_fiber,
    unpark,
    wait_expired,
    wait_of,
)
from treadle._core.poller cimport Pollable
from treadle._core.ring cimport ring_pop, ring_push
from treadle._core.thread_state cimport treadle_clear_state
from treadle._core.threads cimport (
    treadle_is_finalizing,
    treadle_is_main_thread,
    treadle_other_threads,
)
from treadle._core.timers cimport (
    timers_at,
    timers_drop,
    timers_live,
    timers_node,
    timers_shift,
    timers_sweep,
    treadle_fire,
    treadle_timer,
)
from treadle._core.wait_queue cimport forgo_grant

from greenlet import GreenletExit

from treadle._core.pollers import make_poller
from treadle._core.sleep import sleep
from treadle.exceptions import LoopExit

cdef extern from "Python.h":
    PyObject *PyThreadState_GetDict()
    void *PyThreadState_Get()

PyGreenlet_Import()

# Makes the text of a LoopExit from its hub; treadle.hub sets it to treadle.observe.deadlock's.
describe_deadlock = None

# What ended threads left behind. The next hub that is made drops it, when the threads are surely
# gone.
cdef list left_by_threads = []
# What forks left behind, and greenlets whose turns others have; kept for ever.
cdef list left_by_forks = []

cdef list all_hubs = []


cdef class ThreadHub(Hub):
    """The hub of the thread that makes it. A thread has at most one."""

    def __init__(self):
        global left_by_threads
        cdef Hub other = get_hub_if_exists()
        if treadle_is_finalizing():
            raise RuntimeError("can't make a hub at interpreter shutdown")
        if other is not None:
            raise RuntimeError(f"this thread has a hub already: {other!r}")
        left_by_threads = []
        self.main = self.principal = main_greenlet()
        self.thread_state = PyThreadState_Get()
        PyGreenlet_SetParent(self, self.main)
        self.for_main_thread = treadle_is_main_thread()
        self.poller = make_poller(None, self.for_main_thread)
        list_hub(self)
        hold_in_thread(self)

    def run_loop(self, bint nowait, bint once):
        """Let the loop run for one turn (*nowait*, *once*), or until nothing is left to do.

        Raises RuntimeError in any thread but the hub's own.
        """
        check_thread(self)
        if nowait or once:
            sleep(0)
        else:
            self.wait_until_idle()

    cdef int run_next_callback(self) except -1:
        if self.tracing is None:
            return Hub.run_next_callback(self)
        begin_tracing(self.tracing)
        try:
            return Hub.run_next_callback(self)
        finally:
            treadle_clear_state()

    # -- deadlock

    def wait_until_idle(self, seconds=None):
        """Let other greenlets run until nothing is left that could run, and return True.

        Return False if that takes more than *seconds* (None: no limit). Raises RuntimeError in any
        thread but the hub's own.
        """
        check_thread(self)
        cdef int64_t ns = nanoseconds(seconds)
        cdef Wait wait = new_wait(ON_HUB, self)
        self.join_waits.append(wait)
        if ns >= 0:
            self.unref_timers += 1  # this wait's own timer must not keep the loop alive
            wait.unref = True
        try:
            return bool(park(wait, ns))
        finally:
            if ns >= 0:
                self.unref_timers -= 1
            if wait in self.join_waits:
                self.join_waits.remove(wait)

    def begin_job(self):
        """Note that a native thread makes a call for this one: until it ends, the hub is not idle."""
        self.jobs += 1

    def end_job(self):
        """Note the end of such a call. Any thread may do it."""
        self.jobs -= 1
        if self.join_waits and self.state != HUB_CLOSED:
            run_callback(self, int, ())  # have it look again whether it is idle

    def waits(self):
        """Return a Wait for each greenlet that is parked in this hub: main's, raw ones', Fibers'."""
        cdef Wait wait
        found = [self.main_wait, *self.raw_waits.values()]
        for fiber in self.fibers():
            found.append((<Fiber>fiber).wait)
        return [wait for wait in found if wait is not None and wait.generation == self.generation]

    def fibers(self):
        """Return the greenlets that were started here and have not ended, the oldest first."""
        found = []
        cdef PyObject *each = self.newest_fiber
        while each != NULL:
            if (<Fiber>each).scheduled or PyGreenlet_ACTIVE(<Fiber>each):
                found.append(<Fiber>each)
            each = (<Fiber>each).older
        found.reverse()
        return found

    def live_timers(self):
        """Return a dict of the timers that are set: a number, and the object that each is for.

        No other timer of this hub has the number.
        """
        found = {}
        cdef uint64_t order
        cdef PyObject *obj
        cdef size_t i
        for i in range(self.timers.count):
            obj = timers_at(&self.timers, i, &order)
            if obj != NULL:
                found[order] = <object>obj
        return found

    cdef bint can_wake(self) except -1:
        # A probe knows which threads matter. A thread may end without waking this hub: then what is
        # left to wait for may be a timer of a clock that jumps.
        self.waits_for_threads = self.probe is not None and self.probe.awaits_others(self)
        if self.waits_for_threads or self.refs > 0:
            return True
        if <Py_ssize_t>timers_live(&self.timers) > self.unref_timers:
            return True
        if self.probe is not None:
            return False
        if self.join_waits:
            # Hub.join() waits for timers, I/O, watchers and its own calls in native threads, but
            # not for whatever another thread may do.
            return self.jobs > 0
        if not treadle_is_main_thread():
            return True  # the main thread can wake this hub
        # Other threads can wake it, unless they all sleep until another thread wakes them.
        self.waits_for_threads = treadle_other_threads() > count_sleeping_threads()
        return self.waits_for_threads or not self.lost_principal() and has_signal_handlers()

    cdef bint lost_principal(self) noexcept:
        """Return whether this is a forked child, and the greenlet that forked it has ended."""
        cdef greenlet principal = self.principal
        if principal is self.main:
            return False
        return not PyGreenlet_ACTIVE(principal) or (
            isinstance(principal, Fiber) and (<Fiber>principal).place == NULL)

    cdef bint on_deadlock(self) except -1:
        """End Hub.join(), or raise LoopExit in the principal greenlet."""
        cdef Wait wait
        if self.join_waits:
            for wait in self.join_waits:
                unpark(wait)
            self.join_waits = []
            return True
        if self.lost_principal():
            # It has nothing more to run: exit, as a process does when its last thread ends.
            exit_without_main(1 if self.ended_by_deadlock() else 0)
        self.deadlocked = self.principal
        interrupt_main(self, LoopExit(describe_deadlock(self)))
        return True

    cdef bint ended_by_deadlock(self) except -1:
        """Return whether the principal, which has ended, was ended by a LoopExit.

        If it prints exceptions, as a thread does, it does not tell: then one that got a LoopExit was.
        """
        if self.deadlocked is not self.principal:
            return False
        if getattr(self.principal, "prints_exceptions", False):
            return True
        return isinstance(getattr(self.principal, "exception", LoopExit()), LoopExit)

    cdef int interrupt_principal(self, exc) except -1:
        if self.lost_principal():
            exit_without_main(exc)
        return Hub.interrupt_principal(self, exc)

    # -- forks

    cdef int meet_fork(self, Wait wait) except -1:
        # An at-fork hook that parks before treadle's has run must not run the parent's greenlets.
        if os.getpid() != last_pid:
            after_fork_in_child()
            wait.generation = self.generation
        return 0

    def forks_for_principal(self):
        """Return whether only the principal would go on in a child that the caller forks."""
        return self.heir(current_greenlet()) is not current_greenlet()

    cdef greenlet heir(self, greenlet current):
        """Return the greenlet that goes on in a child that *current* forks.

        It is *current*, unless that is the hub, waits, or runs a signal handler. Then a callback or
        handler forks, which runs on behalf of the principal: so that one goes on, whoever polls.
        """
        if current is not self and wait_of(self, current) is None and not is_handler(current):
            return current
        return current if wait_of(self, self.principal) is None else self.principal

    cdef int leave_greenlets_behind(self) except -1:
        cdef greenlet current = current_greenlet(), heir = self.heir(current)
        cdef Wait wait
        cdef list waits = waits_of(self, heir)
        if heir is not current:
            # The handler's own waits go on, too. The last may be that of the greenlet it interrupts.
            waits += waits_of(self, current)[:None if is_handler(current) else -1]
        if heir is not self and (wait_of(self, self.principal) is not None or self.lost_principal()):
            self.principal = heir
            if isinstance(heir, Fiber):
                list_fiber(self, heir)
        self.refs = 0
        self.jobs = 0
        self.generation += 1
        for wait in waits:
            wait.generation = self.generation
            self.refs += wait.in_refs
        abandon(self, left_by_forks, current, heir)
        for wait in waits:
            if wait.state == WAIT_READY:
                ring_push(&self.ring, wait, WAIT)
            elif wait.reason == ON_GROUP:
                unpark(wait)  # children were left behind: look again which are to be waited for
        return 0

    # -- the end

    def close(self):
        """Close the hub and its poller. Greenlets parked in the hub never run again."""
        if self.state != HUB_CLOSED:
            if self is get_hub_if_exists():
                release_from_thread()
            shut(self)


cdef int check_thread(Hub hub) except -1:
    if hub is not get_hub_if_exists():
        raise RuntimeError(f"{hub!r} runs in another thread")
    return 0


def hub_for_waiting():
    """Return the hub in which the caller's waits are; None in a native thread without one.

    The main thread's hub is made if there is none. A caller does that before it looks for what it
    may have to wait for: other threads run while a hub is made.
    """
    cdef Hub hub = get_hub_if_exists()
    if hub is None and treadle_is_main_thread() and not treadle_is_finalizing():
        hub = get_hub()
    return hub if isinstance(hub, ThreadHub) else None


cdef inline bint is_handler(greenlet g) noexcept:
    return isinstance(g, Fiber) and (<Fiber>g).for_principal


cdef list waits_of(Hub hub, greenlet target):
    """Return the Waits of a greenlet, the innermost first."""
    cdef Wait wait = wait_of(hub, target)
    found = []
    while wait is not None:
        found.append(wait)
        wait = wait.outer
    return found


cdef int exit_without_main(why) except -1:
    """End this process, as its main greenlet cannot; *why* is a status or an exception."""
    status = why.code if isinstance(why, SystemExit) else why
    if status is None:
        status = 0
    elif isinstance(why, KeyboardInterrupt):
        status = 128 + _SIGINT
    elif not isinstance(status, int):
        if isinstance(why, SystemExit):
            print(status, file=sys.stderr)
        else:
            sys.excepthook(type(why), why, why.__traceback__)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status & 0xff)


cdef bint has_signal_handlers() except -1:
    """Return whether the program handles any signal, apart from Python's own SIGINT handler."""
    for number in range(1, _NSIG):
        handler = getsignal(number)
        if callable(handler) and getattr(handler, "handler", handler) is not default_int_handler:
            return True
    return False


# ---------------------------------------------------------------- the end of a thread

@cython.final
cdef class HubHolder:
    """Closes the hub when its thread ends: the thread state's dictionary holds this object."""

    cdef Hub hub

    def __dealloc__(self):
        if self.hub is None or self.hub.state == HUB_CLOSED or treadle_is_finalizing():
            return
        if os.getpid() != last_pid:
            # A forked child drops the states of the parent's other threads before any at-fork hook
            # runs. Keep the hub for ever, so that none of its greenlets run.
            left_by_forks.append(self.hub)
        else:
            # Not close(): the thread state has dropped its dictionary and would make another one
            # if asked for it.
            set_thread_hub(None)
            shut(self.hub)


# The holder's key in the thread state's dictionary.
cdef str HOLDER = "treadle hub"


cdef int list_hub(Hub hub) except -1:
    all_hubs.append(hub)
    return 0


cdef list open_hubs():
    return all_hubs


def native_thread_of(ident):
    """Return the number of the native thread in which the greenlet with that id() is.

    Return None if no hub of a thread has started such a greenlet, or if it has ended.
    """
    cdef Hub hub
    cdef PyObject *each
    for hub in all_hubs:
        each = hub.newest_fiber
        while each != NULL:
            if id(<Fiber>each) == ident and ((<Fiber>each).scheduled or PyGreenlet_ACTIVE(<Fiber>each)):
                return hub.thread_ident
            each = (<Fiber>each).older
    return None


def shift_timers(int64_t by):
    """Move the deadlines of all hubs by *by* nanoseconds, because the clock was set by so much."""
    cdef Hub hub
    cdef uint64_t order
    cdef PyObject *obj
    cdef size_t i
    for hub in all_hubs:
        timers_shift(&hub.timers, by)
        for i in range(hub.timers.count):
            obj = timers_at(&hub.timers, i, &order)
            if obj != NULL and isinstance(<object>obj, Wait):
                (<Wait>obj).deadline += by


cdef int forget_in_all_hubs(Pollable pollable) except -1:
    cdef Hub hub
    for hub in all_hubs:
        # Another thread may be inside its portable poller, which asks for each event anew anyway.
        if hub.poller.edge_triggered:
            hub.poller.forget(pollable)
    return 0


cdef int hold_in_thread(Hub hub) except -1:
    cdef HubHolder holder = HubHolder()
    holder.hub = hub
    (<dict>PyThreadState_GetDict())[HOLDER] = holder
    set_thread_hub(hub)
    return 0


cdef int release_from_thread() except -1:
    cdef PyObject *state = PyThreadState_GetDict()
    set_thread_hub(None)
    if state != NULL:
        (<HubHolder>(<dict>state).pop(HOLDER)).hub = None  # the caller closes the hub
    return 0


cdef int shut(Hub hub) except -1:
    move_hub(hub, HUB_CLOSED)
    all_hubs.remove(hub)
    abandon(hub, left_by_threads, None, None)
    pass_turns_on()
    hub.poller.close()
    # End the hub greenlet, which would keep the hub alive, unless a user's callback is suspended
    # in it.
    if (PyGreenlet_ACTIVE(hub) and not hub.in_callback
            and current_greenlet() is hub.main):
        PyGreenlet_Throw(hub, GreenletExit, None, None)
    return 0


cdef struct TimerKind:
    treadle_fire fire
    treadle_forget forget

# The kinds of timers that belong to greenlets or watchers; see abandon_timers().
cdef TimerKind[8] kinds
cdef int kind_count = 0


cdef void abandon_timers(treadle_fire fire, treadle_forget forget) noexcept:
    global kind_count
    kinds[kind_count].fire = fire
    kinds[kind_count].forget = forget
    kind_count += 1


cdef bint forget(treadle_timer *timer, greenlet current, greenlet heir) noexcept:
    cdef int i
    for i in range(kind_count):
        if timer.fire == kinds[i].fire:
            return kinds[i].forget(timer.obj, current, heir)
    return False


cdef bint forget_wait_timer(PyObject *obj, greenlet current, greenlet heir) noexcept:
    cdef Wait wait = <Wait>obj
    if heir is not None and wait.generation == wait.hub.generation:
        return False
    wait.timer = NULL
    if wait.unref:
        wait.hub.unref_timers -= 1
    return True


abandon_timers(wait_expired, forget_wait_timer)


cdef object pass_turns_on = None


cdef void turns_pass_on(function) noexcept:
    global pass_turns_on
    pass_turns_on = function


cdef int keep_for_ever(greenlet g) except -1:
    left_by_forks.append(g)
    return 0


cdef list granted_waits(Hub hub, bint all):
    """Return the waits that were granted and whose greenlets have not gone on.

    Unless *all* are wanted: of the greenlets that do not go on after a fork.
    """
    cdef Wait wait
    cdef PyObject *each = hub.newest_fiber
    cdef list found = [], innermost = [hub.main_wait, *hub.raw_waits.values()]
    while each != NULL:
        innermost.append((<Fiber>each).wait)
        each = (<Fiber>each).older
    for wait in innermost:
        while wait is not None:
            if wait.granted and (all or wait.generation != hub.generation):
                found.append(wait)
            wait = wait.outer
    return found


cdef int pass_grants_on(list waits) except -1:
    cdef Wait wait
    for wait in waits:
        wait.granted = False
        try:
            forgo_grant(wait)
        except BaseException as exc:
            PyErr_SetObject(type(exc), exc)
            PyErr_WriteUnraisable(wait)
    return 0


cdef int abandon(Hub hub, list keeper, greenlet current, greenlet heir) except -1:
    """Forget all greenlets of the hub but *heir*, without running any of them.

    *keeper* keeps them alive. If *heir* is not *current*, that one goes on until the handler that
    forked has returned, and stays in the list of Fibers if it is the handler's own greenlet. Both
    are None if the hub is closed.
    """
    cdef PyObject *obj
    cdef PyObject *each
    cdef PyObject *fiber
    cdef Wait wait
    cdef treadle_timer *timer
    cdef size_t i = 0
    cdef list granted = granted_waits(hub, heir is None)
    while hub.ring.count > 0:
        obj = ring_pop(&hub.ring)
        keeper.append(<object>obj)
        Py_DECREF(<object>obj)
    while hub.inbox.count > 0:
        obj = ring_pop(&hub.inbox)
        keeper.append(<object>obj)
        Py_DECREF(<object>obj)
    timer = timers_node(&hub.timers, i)
    while timer != NULL:
        if timer.obj != NULL and forget(timer, current, heir):
            obj = timers_drop(&hub.timers, timer)
            keeper.append(<object>obj)
            Py_DECREF(<object>obj)
        i += 1
        timer = timers_node(&hub.timers, i)
    timers_sweep(&hub.timers)
    keeper.extend(hub.raw_waits.items())
    each = hub.newest_fiber
    while each != NULL:
        fiber, each = each, (<Fiber>each).older
        if (<greenlet>fiber) is not heir and not (
                (<greenlet>fiber) is current and is_handler(current)):
            unlist_fiber(<Fiber>fiber)
    hub.turn = 0
    hub.raw_waits = {g: held for g, held in hub.raw_waits.items() if g is current or g is heir}
    hub.join_waits = [wait for wait in hub.join_waits
                      if heir is not None and wait.generation == hub.generation]
    return pass_grants_on(granted)


# ---------------------------------------------------------------- fork

cdef int last_pid = os.getpid()


def before_fork():
    """Mark the current thread's hub as forking."""
    cdef Hub own = get_hub_if_exists()
    if own is not None:
        move_hub(own, HUB_FORKING)


def after_fork_in_parent():
    """Mark the current thread's hub as open again."""
    cdef Hub own = get_hub_if_exists()
    if own is not None:
        move_hub(own, HUB_OPEN)


def after_fork_in_child():
    """Renew the poller in a forked child and, unless the fork keeps greenlets, leave them behind.

    Hubs of other threads are closed: their threads do not exist in the child.
    """
    global last_pid, all_hubs
    cdef Hub hub, own = get_hub_if_exists()
    if os.getpid() == last_pid:
        return  # meet_fork() has called it already
    last_pid = os.getpid()
    forget_sleeping_threads()
    granted = []
    for hub in all_hubs:
        if hub is not own:
            # Its thread does not exist in the child, so its greenlets can never run.
            move_hub(hub, HUB_CLOSED)
            hub.poller.close()
            left_by_forks.append(hub)
            granted += granted_waits(hub, True)
    all_hubs = [own] if own is not None else []
    pass_grants_on(granted)
    if own is not None:
        move_hub(own, HUB_OPEN)
        own.for_main_thread = True
        own.poller.blocking = False
        if isinstance(own, ThreadHub):
            (<ThreadHub>own).jobs = 0  # the threads that make the calls are not there
        if own.keeping_fork is current_greenlet():
            own.poller.renew_and_rewatch()
        else:
            own.leave_greenlets_behind()
            if isinstance(own, ThreadHub) and (<ThreadHub>own).waits():
                own.poller.renew_and_rewatch()  # a signal handler forked: the principal waits on
            else:
                own.poller.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent,
                        after_in_child=after_fork_in_child)
