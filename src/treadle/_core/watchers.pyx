# cython: nonecheck=True
"""gevent's watchers: callbacks for descriptors, timers, other threads and turns of the loop.

A watcher is active from start() to stop(). An event of an active watcher queues a call of its
callback in the hub greenlet.
"""

import fcntl
import os

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds, now, time_in
from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport (
    HUB_CLOSED,
    Callback,
    Hub,
    TurnHook,
    cancel_timer,
    run_callback,
    set_timer,
)
from treadle._core.poller cimport Pollable, Poller
from treadle._core.thread_hub cimport abandon_timers
from treadle._core.thread_state cimport treadle_clear_state, treadle_is_in_use

from treadle._core.hub import get_current_hub, get_existing_hub
from treadle._core.pollers import make_inner_poller

READ = 1
WRITE = 2
# libev sets this bit in the events of a descriptor that it reports, and programs pass it back.
IO_DESCRIPTOR_SET = 128

LOWEST_PRIORITY = -2
HIGHEST_PRIORITY = 2

# Watchers that forks left behind. Dropping them would drop the parent's greenlets and so run their
# code; see left_by_forks in thread_hub.pyx.
cdef list left_by_forks = []


class EventsPlaceholder:
    """Stands, as the first argument of a watcher's callback, for the events that happened."""

    __slots__ = ()

    def __repr__(self):
        return "EVENTS"


EVENTS = EventsPlaceholder()


cdef class Loop:

    def __init__(self, hub=None):
        self.hub = get_current_hub() if hub is None else hub
        self.watchers = set()
        self.prepares, self.checks, self.idles = [], [], []
        self.descriptors = {}
        self.generation = self.hub.generation

    cdef int check_open(self) except -1:
        if self.hub.state == HUB_CLOSED:
            raise ValueError("operation on destroyed loop: its hub or its thread has ended")
        return 0

    cdef int open_io(self) except -1:
        """Make the poller of the Io watchers, if there is none yet."""
        cdef Poller poller
        cdef Gate gate
        if self.io_poller is None:
            poller = make_inner_poller(self.hub.poller)
            gate = Gate.__new__(Gate, poller.fileno())
            gate.loop = self
            try:
                self.hub.poller.watch(gate, READ, False)
            except BaseException:
                poller.close()
                raise
            self.io_poller, self.gate = poller, gate
        return 0

    def prepare_io(self):
        """Make what the first watcher of a descriptor would make: no later one makes a descriptor."""
        self.check_open()
        self.open_io()

    cdef int set_turn_hook(self) except -1:
        cdef LoopHook hook
        if self.hub.turn_hook is None:
            hook = LoopHook.__new__(LoopHook)
            hook.loop = self
            self.hub.turn_hook = hook
        self.hub.turn_hook.active = bool(self.prepares or self.checks or self.idles)
        return 0

    # -- callbacks

    def run_callback(self, func, *args):
        """Queue a call ``func(*args)`` in the hub greenlet. Any thread may call this.

        Returns an object whose ``stop()`` cancels the call. Raises ValueError if the loop is
        destroyed and TypeError if *func* is not callable.
        """
        self.check_open()
        if not callable(func):
            raise TypeError(f"a callback must be callable, not {func!r}")
        return run_callback(self.hub, func, args)

    run_callback_threadsafe = run_callback

    # -- watchers

    def io(self, fd, events, ref=True, priority=None):
        """Return a watcher that calls while *fd* is ready for *events*: 1 read, 2 write, 3 either.

        The watcher is level-triggered: it calls as long as the descriptor is ready. Raises
        ValueError for a negative *fd* or unknown *events*, and OSError if *fd* is not open.
        """
        return Io(self, fd, events, ref, priority)

    def closing_fd(self, fd):
        """Call the Io watchers of *fd*, which is about to be closed, as if it were ready.

        Return whether there were any.
        """
        cdef DescriptorWatch watch = self.descriptors.get(fd)
        if watch is None:
            return False
        watch.ready(READ | WRITE)
        return True

    def timer(self, after, repeat=0.0, ref=True, priority=None):
        """Return a watcher that calls after *after* seconds, then every *repeat* (0: once only)."""
        return Timer(self, after, repeat, ref, priority)

    def async_(self, ref=True, priority=None):
        """Return a watcher that calls after its ``send()``, which any thread may call."""
        return Async(self, ref, priority)

    def idle(self, ref=True, priority=None):
        """Return a watcher that calls in each turn of the loop in which nothing else is to do."""
        return Idle(self, ref, priority)

    def prepare(self, ref=True, priority=None):
        """Return a watcher that calls before the loop waits."""
        return Prepare(self, ref, priority)

    def check(self, ref=True, priority=None):
        """Return a watcher that calls after the loop has waited."""
        return Check(self, ref, priority)

    # -- time

    def now(self):
        """Return the loop's time in seconds; only differences of such times mean something."""
        return now() / 1e9

    def update(self):
        """Do nothing: the loop reads the clock whenever it needs the time."""

    update_now = update

    # -- state

    @property
    def default(self):
        """Whether this is the main thread's loop."""
        return self.hub.main_hub

    @property
    def activecnt(self):
        """The number of active watchers."""
        return len(self.watchers) if self.generation == self.hub.generation else 0

    @property
    def pendingcnt(self):
        """The number of callbacks and greenlets that are ready to run."""
        return self.hub.pending()

    @property
    def iteration(self):
        """The number of turns that the loop has made."""
        return self.hub.turns

    @property
    def backend(self):
        """The name of the poller: ``"epoll"`` or ``"select"``."""
        return "epoll" if self.hub.poller.edge_triggered else "select"

    MINPRI = LOWEST_PRIORITY
    MAXPRI = HIGHEST_PRIORITY

    def fileno(self):
        """Return the poller's descriptor, which can itself be watched.

        Return None if the loop is destroyed. Raises NotImplementedError if the poller has none.
        """
        return None if self.hub.state == HUB_CLOSED else self.hub.poller.fileno()

    def ref(self):
        """Keep the loop alive even if nothing is left to wait for."""
        self.hub.refs += 1

    def unref(self):
        """Undo one :meth:`ref`."""
        self.hub.refs -= 1

    def verify(self):
        """Check that the set of active watchers is consistent; raise AssertionError if not."""
        cdef Watcher watcher
        for watcher in list(self.watchers):
            if watcher.loop is not self or not watcher.is_active():
                raise AssertionError(f"{watcher!r} is on the list of active watchers")

    def reinit(self):
        """Do nothing: after a fork the child's loop is renewed without this call."""

    def run(self, nowait=False, once=False):
        """Run the loop until nothing keeps it alive.

        With *once*, make only one turn; with *nowait*, make one turn that does not block. The hub
        runs a thread's own loop, so for such a loop this waits for the hub to do so, and raises
        RuntimeError in any other thread. Raises ValueError if the loop is destroyed.
        """
        self.check_open()
        self.hub.run_loop(nowait, once)

    def destroy(self):
        """Stop all watchers and close the hub; return whether the hub was open."""
        cdef Watcher watcher
        if self.hub.state == HUB_CLOSED:
            return False
        for watcher in list(self.watchers):
            watcher.deactivate()
        if self.io_poller is not None:
            self.io_poller.close()
        self.hub.close()
        return True

    def handle_error(self, context, type, value, tb):
        """Report an exception of a callback through the hub's ``handle_error``."""
        self.hub.handle_error(context, type, value, tb)

    def __repr__(self):
        state = "destroyed" if self.hub.state == HUB_CLOSED else (
            f"backend={self.backend}{' default' if self.default else ''} "
            f"pending={self.pendingcnt} active={self.activecnt}")
        return f"<{type(self).__name__} at {id(self):#x} {state}>"


cdef class LoopHook(TurnHook):

    cdef bint before_wait(self) except -1:
        call_now(self.loop, self.loop.prepares)
        return bool(self.loop.idles)

    cdef int after_wait(self) except -1:
        cdef Watcher watcher
        call_now(self.loop, self.loop.checks)
        if self.loop.idles and self.loop.hub.pending() == 0:
            for watcher in self.loop.idles:
                watcher.fire(0)
        return 0


cdef int call_now(Loop loop, list watchers) except -1:
    """Call watchers directly, in the turn; this may run any code."""
    cdef Watcher watcher
    cdef Hub hub = loop.hub
    if not watchers:
        return 0
    hub.in_callback = True
    try:
        for watcher in list(watchers):
            if watcher.is_active():
                call(watcher)
    finally:
        hub.in_callback = False
        if hub.thread_state != NULL and treadle_is_in_use(hub.thread_state):
            treadle_clear_state()  # what they set ends with them
    return 0


def call(Watcher self):
    """Call a watcher's callback; this may run any code."""
    cdef bint failed = False
    function, arguments = self.function, self.arguments
    self.entry = None
    if function is None:
        return
    if arguments and arguments[0] is EVENTS:
        arguments = (self.happened, *arguments[1:])
    try:
        function(*arguments)
    except BaseException as exc:
        if self.loop.hub.state == HUB_CLOSED:
            raise
        failed = True
        self.loop.hub.report(self, exc)
    self.called(failed)
    if not self.is_active() and self.entry is None:
        self.function = self.arguments = None


cdef class Watcher:
    """The base class of watchers."""

    def __init__(self, Loop loop, ref=True, priority=None):
        self.loop = loop
        self.counts = ref
        self.level = 0 if priority is None else priority

    # -- for subclasses

    cdef int begin(self) except -1:
        """Become active."""
        return 0

    cdef int end(self) except -1:
        """Become inactive."""
        return 0

    cdef int account(self, int delta) except -1:
        """Add *delta* to the number of things that keep the hub's loop alive."""
        if self.counts:
            self.loop.hub.refs += delta
        return 0

    cdef int called(self, bint failed) except -1:
        """Continue after the callback has returned or failed."""
        return 0

    cdef int forked(self) except -1:
        """Continue in a forked child in which the watcher is active."""
        return 0

    cdef void fire(self, int events) noexcept:
        if self.entry is not None and self.entry.args is not None:
            self.happened |= events
            return
        self.happened = events
        try:
            self.entry = run_callback(self.loop.hub, call, (self,))
        except RuntimeError:
            pass  # the hub was closed: nothing runs in it any more

    # -- life

    cdef bint is_active(self) noexcept:
        return self.on and self.generation == self.loop.hub.generation

    cdef int activate(self, object callback, tuple args) except -1:
        self.loop.check_open()
        self.callback = callback
        if callback is None:
            raise TypeError("a watcher's callback must be callable, not None")
        self.arguments = args
        if self.is_active():
            return 0
        try:
            self.begin()
        except BaseException:
            self.function = self.arguments = None
            raise
        self.on = True
        self.generation = self.loop.hub.generation
        self.loop.watchers.add(self)
        self.account(1)
        return 0

    cdef int deactivate(self) except -1:
        if self.is_active():
            self.on = False
            self.loop.watchers.discard(self)
            self.account(-1)
            self.end()
        self.on = False
        return 0

    def start(self, callback, *args):
        """Become active: call ``callback(*args)`` in the hub at each event of the watcher.

        Raises TypeError if *callback* is not callable.
        """
        self.activate(callback, args)

    def stop(self):
        """Become inactive and cancel a pending call."""
        self.deactivate()
        entry, self.entry = self.entry, None
        if entry is not None:
            entry.stop()
        self.function = self.arguments = None

    def close(self):
        """Stop the watcher for good."""
        self.stop()

    def __enter__(self):
        return self

    def __exit__(self, typ, value, tb):
        self.close()

    def feed(self, revents, callback, *args):
        """Queue a call ``callback(*args)``, as if the events *revents* had happened."""
        self.loop.check_open()
        self.callback = callback
        self.arguments = args
        self.fire(revents)

    @property
    def active(self):
        """Whether the watcher is started and can still call its callback."""
        return self.is_active()

    @property
    def pending(self):
        """Whether a call of the callback is queued."""
        return self.entry is not None and self.entry.args is not None

    @property
    def ref(self):
        """Whether the watcher keeps the loop alive while it is active."""
        return self.counts

    @ref.setter
    def ref(self, value):
        active = self.is_active()
        if active:
            self.account(-1)
        self.counts = value
        if active:
            self.account(1)

    @property
    def priority(self):
        """The priority, for gevent's API; it has no effect: calls are first in, first out."""
        return self.level

    @priority.setter
    def priority(self, value):
        if self.is_active():
            raise AttributeError("the priority of an active watcher cannot be changed")
        if not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
            raise ValueError(
                f"a priority lies between {LOWEST_PRIORITY} and {HIGHEST_PRIORITY}, not {value}")
        self.level = value

    @property
    def callback(self):
        """The function that the watcher calls; None if the watcher is stopped."""
        return self.function

    @callback.setter
    def callback(self, value):
        if value is not None and not callable(value):
            raise TypeError(f"a watcher's callback must be callable, not {value!r}")
        self.function = value

    @property
    def args(self):
        """The arguments of the callback."""
        return self.arguments

    @args.setter
    def args(self, value):
        if value is not None and not isinstance(value, tuple):
            raise TypeError(f"a watcher's args must be a tuple or None, not {value!r}")
        self.arguments = value

    def _format(self):
        return ""

    def __repr__(self):
        text = f"<{type(self).__name__} at {id(self):#x}{self._format()}"
        text += " active" if self.is_active() else " stopped"
        if self.pending:
            text += " pending"
        # Not their reprs: the callback or the arguments may refer to this watcher.
        if self.function is not None:
            text += f" callback={getattr(self.function, '__qualname__', type(self.function))}"
        return text + ">"


# ---------------------------------------------------------------- descriptors

cdef class Gate(Pollable):

    cdef void ready(self, int events) noexcept:
        try:
            self.open()
        except OSError as exc:
            run_callback(self.loop.hub, open_again, (self, exc))  # Python must not run here

    cdef int open(self) except -1:
        # The inner poller's events are one-shot, so it reports nothing until a watcher asks again.
        self.loop.io_poller.wait(0)
        self.loop.hub.poller.watch(self, READ, False)
        return 0

    cdef int rewatch(self, Poller poller) except -1:
        self.loop.io_poller.renew_and_rewatch()
        self.fd = self.loop.io_poller.fileno()
        poller.watch(self, READ, False)
        return 0


def open_again(Gate gate, exc):
    """Report the error with which a gate failed to open, and try again."""
    gate.loop.hub.report(gate, exc)
    gate.open()


cdef class DescriptorWatch(Pollable):

    def __init__(self, int fd, Loop loop):
        self.loop = loop
        self.watchers = []

    cdef void ready(self, int events) noexcept:
        cdef Io watcher
        for watcher in self.watchers:
            if watcher.wanted & events:
                watcher.fire(watcher.wanted & events)

    cdef int arm(self) except -1:
        cdef Io watcher
        cdef int events = 0
        for watcher in self.watchers:
            if watcher.entry is None:
                events |= watcher.wanted
        if events:
            self.loop.io_poller.watch(self, events & (READ | WRITE), False)
        return 0

    cdef int arm_again(self) except -1:
        """Call arm(); pass an error, which no caller can handle here, to the hub's handle_error."""
        cdef Io watcher
        try:
            self.arm()
        except OSError as exc:  # the descriptor was closed meanwhile
            watchers, self.watchers = self.watchers, []
            for watcher in watchers:
                self.loop.hub.report(watcher, exc)
                watcher.stop()
        return 0

    cdef int rewatch(self, Poller poller) except -1:
        return self.arm_again()


cdef class Io(Watcher):
    """Calls its callback while a file descriptor is ready."""

    def __init__(self, Loop loop, fd, events, ref=True, priority=None):
        Watcher.__init__(self, loop, ref, priority)
        self.fd = fd
        self.events = events

    @property
    def fd(self):
        """The file descriptor; cannot be changed while the watcher is active."""
        return self.number

    @fd.setter
    def fd(self, value):
        self.check_inactive()
        if value < 0:
            raise ValueError(f"a descriptor is not negative: {value!r}")
        fcntl.fcntl(value, fcntl.F_GETFD)
        self.number = value

    @property
    def events(self):
        """The events it waits for: 1 read, 2 write, 3 either; cannot be changed while active."""
        return self.wanted

    @events.setter
    def events(self, value):
        self.check_inactive()
        if value & ~(READ | WRITE | IO_DESCRIPTOR_SET):
            raise ValueError(f"events of a descriptor are 1, 2 or 3, not {value!r}")
        self.wanted = value

    def check_inactive(self):
        """Raise AttributeError if the watcher is active."""
        if self.is_active():
            raise AttributeError("fd and events of an active watcher cannot be changed")

    def start(self, callback, *args, pass_events=False):
        """Call ``callback(*args)`` while the descriptor is ready.

        With *pass_events*, the events that happened are passed before *args*. Raises OSError if the
        descriptor is not open.
        """
        self.activate(callback, (EVENTS, *args) if pass_events else args)

    cdef int begin(self) except -1:
        self.loop.open_io()
        self.watch = self.loop.descriptors.get(self.number)
        if self.watch is None:
            self.watch = DescriptorWatch(self.number, self.loop)
            self.loop.descriptors[self.number] = self.watch
        self.watch.watchers.append(self)
        try:
            self.watch.arm()
        except BaseException:
            self.leave()
            raise
        return 0

    cdef int end(self) except -1:
        self.leave()
        return 0

    cdef int leave(self) except -1:
        cdef DescriptorWatch watch = self.watch
        self.watch = None
        if self in watch.watchers:
            watch.watchers.remove(self)
        if watch.watchers:
            watch.arm_again()
        else:
            self.loop.io_poller.forget(watch)
            if self.loop.descriptors.get(self.number) is watch:
                del self.loop.descriptors[self.number]
        return 0

    cdef int called(self, bint failed) except -1:
        if not self.is_active():
            return 0
        if failed:
            self.stop()  # the descriptor stays ready, so the callback would fail again and again
            return 0
        return self.watch.arm_again()

    def _format(self):
        names = [name for bit, name in ((READ, "READ"), (WRITE, "WRITE")) if self.wanted & bit]
        return f" fd={self.number} events={'|'.join(names)}"


# ---------------------------------------------------------------- time

cdef class Timer(Watcher):
    """Calls its callback after a number of seconds, once or repeatedly."""

    def __init__(self, Loop loop, after=0.0, repeat=0.0, ref=True, priority=None):
        Watcher.__init__(self, loop, ref, priority)
        if repeat < 0:
            raise ValueError(f"repeat must be 0 or more seconds, not {repeat!r}")
        if nanoseconds(after) < 0:
            raise TypeError("a timer needs a number of seconds, not None")
        self.after = after
        self.period = repeat

    @property
    def repeat(self):
        """The seconds between calls after the first; 0 if there is only one call."""
        return self.period

    def start(self, callback, *args, update=None):
        """Call ``callback(*args)`` when the timer is due; *update* is gevent's and ignored."""
        self.activate(callback, args)

    def again(self, callback, *args, update=None):
        """Start again, with the first call after ``repeat`` seconds; if that is 0, only stop.

        *update*, for gevent's API, is ignored.
        """
        self.deactivate()
        if self.period == 0:
            self.stop()
            return
        after, self.after = self.after, self.period
        try:
            self.activate(callback, args)
        finally:
            self.after = after

    cdef int set(self, object seconds) except -1:
        self.timer = set_timer(self.loop.hub, time_in(nanoseconds(seconds)), self, timer_due)
        return 0

    cdef int begin(self) except -1:
        return self.set(self.after)

    cdef int end(self) except -1:
        if self.timer != NULL:
            cancel_timer(self.loop.hub, self.timer)
            self.timer = NULL
        return 0

    cdef int account(self, int delta) except -1:
        # Every timer keeps the hub's loop alive, except those counted here.
        if not self.counts:
            self.loop.hub.unref_timers += delta
        return 0

    def _format(self):
        return f" after={self.after}" + (f" repeat={self.period}" if self.period else "")


cdef void timer_due(PyObject *obj) noexcept:
    cdef Timer self = <Timer>obj
    self.timer = NULL
    if self.period > 0:
        self.set(self.period)
    else:
        self.deactivate()
    self.fire(0)


cdef bint forget_timer(PyObject *obj, greenlet current, greenlet heir) noexcept:
    cdef Timer self = <Timer>obj
    self.timer = NULL
    if not self.counts:
        self.loop.hub.unref_timers -= 1
    return True


abandon_timers(timer_due, forget_timer)


# ---------------------------------------------------------------- threads and turns

cdef class Async(Watcher):
    """Calls its callback after any thread has called :meth:`send`."""

    def send(self):
        """Queue a call of the callback, if the watcher is active. Any thread may call this.

        Several calls before the callback runs count as one.
        """
        if self.is_active():
            self.fire(0)

    def send_ignoring_arg(self, _ignored):
        """Call :meth:`send`, ignoring the argument, such as a link's."""
        self.send()


cdef class Prepare(Watcher):
    """Calls its callback before the loop waits."""

    cdef int begin(self) except -1:
        self.loop.prepares.append(self)
        return self.loop.set_turn_hook()

    cdef int end(self) except -1:
        self.loop.prepares.remove(self)
        return self.loop.set_turn_hook()


cdef class Check(Watcher):
    """Calls its callback after the loop has waited."""

    cdef int begin(self) except -1:
        self.loop.checks.append(self)
        return self.loop.set_turn_hook()

    cdef int end(self) except -1:
        self.loop.checks.remove(self)
        return self.loop.set_turn_hook()


cdef class Idle(Watcher):
    """Calls its callback in each turn of the loop in which nothing else is to be done."""

    cdef int begin(self) except -1:
        self.loop.idles.append(self)
        return self.loop.set_turn_hook()

    cdef int end(self) except -1:
        self.loop.idles.remove(self)
        return self.loop.set_turn_hook()


# ---------------------------------------------------------------- fork

def after_fork_in_child():
    """Leave the parent's watchers behind, unless the hub keeps its greenlets."""
    cdef Hub hub = get_existing_hub()
    cdef Loop loop
    cdef Watcher watcher
    if hub is None or hub.loop_made is None:
        return
    loop = hub.loop_made
    watchers = loop.watchers
    if loop.generation != hub.generation:
        left_by_forks.append((watchers, loop.descriptors, loop.prepares, loop.checks, loop.idles))
        if loop.io_poller is not None:
            loop.io_poller.close()
            loop.io_poller = loop.gate = None
        loop.prepares, loop.checks, loop.idles = [], [], []
        loop.descriptors = {}
        loop.watchers = set()
        loop.generation = hub.generation
        loop.set_turn_hook()
        for watcher in watchers:
            if watcher.inherited and watcher.on:
                watcher.generation = hub.generation
                watcher.entry = None
                loop.watchers.add(watcher)
                watcher.account(1)
    for watcher in loop.watchers:
        watcher.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork_in_child)
