"""Cancel scopes: blocks of code in which every wait raises Cancelled once the block is cancelled.

The scopes that a greenlet is in are a list, from the innermost outwards. The scope of a task group
continues the lists of its children, so all scopes of a thread are a tree.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds, now, time_in
from treadle._core.delivery cimport (
    Interrupts,
    Scope,
    cancel_wait,
    deliver_held,
    drop_idle,
    interrupts_of,
    outermost_cancelled,
    own_interrupts,
)
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport (
    HUB_CLOSED,
    Hub,
    cancel_timer,
    current_greenlet,
    get_hub,
    get_hub_if_exists,
    run_callback,
    set_timer,
)
from treadle._core.methods cimport make
from treadle._core.thread_hub cimport abandon_timers
from cpython.object cimport PyObject

from contextlib import nullcontext

from greenlet import GreenletExit

PyGreenlet_Import()

# A shield that holds something back for longer than this many nanoseconds is reported.
cdef int64_t LONG_SHIELD = 5_000_000_000

# The class of the scopes that the functions here make, and what reports a shield that holds something
# back for long; treadle.scopes sets both.
public_class = None
report_shield = None
# Splits an exception group into what a scope has raised, and the rest; treadle.scopes sets it, because
# the method of groups takes no compiled functions before CPython 3.13.
split = None


class Cancelled(GreenletExit):
    """A cancelled :class:`~treadle.CancelScope` raises this at each wait inside it.

    The scope itself swallows it. A greenlet that ends by it has not failed, and nothing is printed.
    """

    def __init__(self, scope, reason=None, source=None):
        super().__init__(scope, reason, source)

    @property
    def scope(self):
        """The scope that was cancelled."""
        return self.args[0]

    @property
    def reason(self):
        """What was given to :meth:`CancelScope.cancel`, or a text; None if no reason was given."""
        return self.args[1]

    @property
    def source(self):
        """The greenlet that has cancelled the scope, or the child that has failed, or None."""
        return self.args[2]

    def __str__(self):
        return "cancelled" if self.reason is None else str(self.reason)


cdef class CancelScope(Scope):
    """CancelScope(timeout=None, *, deadline=None, shield=False)\n--\n
    The compiled part of :class:`treadle.scopes.CancelScope`.
    """

    def __cinit__(self, *args, **kwargs):
        self.lasts = self.due = self.grace = -1

    def __init__(self, timeout=None, *, deadline=None, shield=False):
        if timeout is not None and deadline is not None:
            raise TypeError("a scope has a timeout or a deadline, not both")
        if self.hub is not None:
            raise RuntimeError(f"{self!r} was entered before; make another one")
        self.lasts = nanoseconds(timeout)
        if deadline is not None:
            self.due = loop_time(deadline)
        self.shields = shield

    @property
    def cancelled(self):
        """Whether the scope was cancelled, by :meth:`cancel` or because its deadline has passed."""
        return self.is_cancelled

    @property
    def deadline(self):
        """When the scope is cancelled, in seconds of :func:`time.monotonic`; ``inf``: never.

        It may be set at any time, to another value or to ``inf``. A timeout becomes a deadline when
        the scope is entered.
        """
        return INFINITY if self.due < 0 else self.due / 1e9

    @deadline.setter
    def deadline(self, value):
        self.lasts = -1
        self.set_deadline(loop_time(value))

    @property
    def shield(self):
        """Whether the scope holds back what comes from outside, until it ends or this is set to False."""
        return self.shields

    @shield.setter
    def shield(self, value):
        cdef bint on = value
        if on == self.shields:
            return
        if on:
            self.shields = True
            if self.owner is not None:
                begin_shield(self)
        else:
            end_shield(self)

    def cancel(self, reason=None):
        """Raise :class:`Cancelled` at each wait inside the scope, from now on.

        It does nothing if the scope is cancelled already. *reason* becomes an attribute of the
        exception. Any greenlet, any thread, callbacks and signal handlers may call this.
        """
        self.cancel_by(reason, current_greenlet())

    def __enter__(self):
        self.enter()
        return self

    def __exit__(self, typ, value, tb):
        if not self.leave(value):
            return False
        if self.fails and self.is_overdue:
            raise TimeoutError(f"{self!r} was not left before its deadline") from None
        return True

    cdef object error(self):
        return Cancelled(self, self.reason, self.source)

    cdef int cancel_by(self, object reason, object source) except -1:
        if self.is_cancelled:
            return 0
        self.is_cancelled = True
        self.reason, self.source = reason, source
        if self.owner is None and not self.children or self.hub.state == HUB_CLOSED:
            return 0
        if self.hub is get_hub_if_exists():
            self.drop_deadline()
            return 0 if self.is_reached() else reach(self, self, self)
        run_callback(self.hub, reach_from_hub, (self,))
        return 0

    cdef bint is_reached(self):
        """Return whether the waits inside raise the Cancelled of a scope around this one already."""
        cdef Scope scope = self
        while not scope.shields and scope.parent is not None:
            scope = scope.parent
            if scope.is_cancelled:
                return True
        return False

    cdef Interrupts interrupts_in(self, greenlet current):
        """Return what is to be raised in *current*, in the hub in which the scope was entered."""
        return None if self.hub is None else interrupts_of(self.hub, current)

    cdef int enter(self) except -1:
        cdef greenlet current = current_greenlet()
        cdef Hub hub = get_hub()
        cdef Interrupts interrupts
        if self.hub is not None:
            raise RuntimeError(f"{self!r} was entered before; make another one")
        if current is hub:
            raise RuntimeError(f"{self!r} cannot be entered in the hub, where nothing may wait")
        interrupts = own_interrupts(hub, current)
        hub.scopes += 1
        self.number = hub.scopes
        self.hub = hub
        self.owner = current
        self.parent = interrupts.scope
        interrupts.scope = self
        if self.shields:
            begin_shield(self)
        if self.lasts >= 0:
            self.due = time_in(self.lasts)
        if self.due >= 0:
            self.set_deadline(self.due)
        return 0

    cdef bint leave(self, object value) except -1:
        cdef greenlet current = current_greenlet()
        cdef Interrupts interrupts = self.interrupts_in(current)
        if self.is_lost:
            return False  # the scope around it was left too early, which was reported
        if self.owner is not current or interrupts is None or interrupts.scope is not self:
            self.check_place(current, interrupts)
        self.unlink(current, interrupts)
        if value is None or not self.is_cancelled:
            return False
        rest = self.without_own(value)
        if rest is not None and rest is not value:
            raise rest
        return rest is None

    cdef int unlink(self, greenlet current, Interrupts interrupts) except -1:
        interrupts.scope = self.parent
        self.owner = self.parent = None
        if self.shields:
            interrupts.find_shield(current)
        self.drop_timers()
        return drop_idle(self.hub, current, interrupts)

    cdef object without_own(self, object exc):
        """Return *exc* without the Cancelled of this scope, or None if nothing is left."""
        rest = exc
        if isinstance(exc, Cancelled):
            rest = None if exc.scope is self else exc
        elif isinstance(exc, BaseExceptionGroup):
            ours, rest = split(exc, self)
            if ours is None:
                rest = exc
        self.caught = self.caught or rest is not exc
        return rest

    cdef int check_innermost(self) except -1:
        """Raise RuntimeError if the scope is not the innermost one of the current greenlet."""
        cdef greenlet current = current_greenlet()
        cdef Interrupts interrupts = self.interrupts_in(current)
        if self.is_lost or self.owner is current and interrupts is not None and interrupts.scope is self:
            return 0
        return self.check_place(current, interrupts)

    cdef int check_place(self, greenlet current, Interrupts interrupts) except -1:
        """Raise RuntimeError: the scope is not the innermost one of *current*."""
        cdef Scope scope = None if interrupts is None else interrupts.scope
        cdef CancelScope inner = None
        if self.hub is None:
            raise RuntimeError(f"{self!r} is left, but was never entered")
        if self.owner is None:
            raise RuntimeError(f"{self!r} is left, but was left before")
        self.cancel_by("it was left in a wrong place", current)
        if self.owner is not current:
            raise RuntimeError(f"{self!r} was entered in {self.owner!r}, but is left in {current!r}")
        if not is_within(self, scope):
            self.owner = self.parent = None
            self.drop_timers()
            raise RuntimeError(f"{self!r} is left, but {current!r} is not in it any more")
        while scope is not self:
            inner = <CancelScope>scope
            inner.cancel_by("a scope around it was left", current)
            inner.is_lost = True
            inner.drop_timers()
            scope, inner.owner, inner.parent = inner.parent, None, None
        interrupts.scope = self.parent
        self.owner = self.parent = None
        self.drop_timers()
        interrupts.find_shield(current)
        raise RuntimeError(f"{self!r} is left, but {inner!r}, which was entered inside it, is not")

    cdef int set_deadline(self, int64_t due) except -1:
        self.due = due
        if self.hub is get_hub_if_exists():
            self.drop_deadline()
        if self.owner is None or self.is_cancelled or due < 0 or self.hub.state == HUB_CLOSED:
            return 0
        if due <= now():
            pass_deadline(self)
        elif self.hub is get_hub_if_exists():
            self.timer = set_timer(self.hub, due, self, deadline_passed)
        else:
            run_callback(self.hub, set_deadline_from_hub, (self, due))
        return 0

    cdef int abandon(self) except -1:
        self.cancel_by("its greenlet has ended without leaving it", None)
        self.owner = self.parent = None
        return self.drop_timers()

    cdef int drop_deadline(self) except -1:
        if self.timer != NULL:
            cancel_timer(self.hub, self.timer)
            self.timer = NULL
        return 0

    cdef int drop_timers(self) except -1:
        self.drop_deadline()
        return self.drop_shield_timers()

    cdef int drop_shield_timers(self) except -1:
        if self.opening != NULL:
            cancel_timer(self.hub, self.opening)
            self.opening = NULL
        if self.reporting != NULL:
            cancel_timer(self.hub, self.reporting)
            self.reporting = NULL
            self.hub.unref_timers -= 1
        return 0

    cdef int holds_back(self) except -1:
        if self.hub.state == HUB_CLOSED:
            return 0
        if self.hub is not get_hub_if_exists():
            run_callback(self.hub, holds_back_from_hub, (self,))
            return 0
        if self.grace >= 0 and self.opening == NULL:
            self.opening = set_timer(self.hub, time_in(self.grace), self, grace_passed)
        if self.reporting == NULL:
            self.reporting = set_timer(self.hub, time_in(LONG_SHIELD), self, shield_is_long)
            self.hub.unref_timers += 1
        return 0

    def __repr__(self):
        text = f"<{type(self).__name__} at {id(self):#x}"
        if self.is_cancelled:
            text += " cancelled"
        elif self.due >= 0:
            text += f" deadline in {(self.due - now()) / 1e9:.3g} s"
        return text + (" shield>" if self.shields else ">")


cdef bint is_within(Scope outer, Scope scope):
    """Return whether *scope* is *outer* or is inside it."""
    while scope is not None and scope is not outer:
        scope = scope.parent
    return scope is outer


cdef int64_t loop_time(object seconds) except? -2:
    """Return a time of :func:`time.monotonic`, in nanoseconds; -1 for ``inf``."""
    cdef double value = seconds
    if value == INFINITY:
        return -1
    return nanoseconds(value - 0.5e-9)  # the nearest: a float of seconds is none of whole nanoseconds


# ---------------------------------------------------------------- cancelling

cdef int reach(CancelScope top, CancelScope inside, Scope origin) except -1:
    """Raise the Cancelled of *origin* in the waits inside *inside*, except where shields stand before.

    Runs no Python.
    """
    cdef Hub hub = top.hub
    cdef CancelScope around
    cdef greenlet target
    cdef list todo = []
    cdef Py_ssize_t i = 0
    if inside.owner is not None:
        todo.append((inside.owner, inside, False))
    else:  # the scope of a task group, left before the group
        for target in list(inside.children.values()):
            todo.append((target, inside, False))
    while i < len(todo):
        target, around, is_shielded = <tuple>todo[i]
        reach_one(hub, target, around, origin, is_shielded, todo)
        i += 1
    return 0


cdef int reach_one(Hub hub, greenlet target, CancelScope around, Scope origin, bint is_shielded,
                   list todo) except -1:
    """Do so in one greenlet, and append to *todo* the children of its groups inside *around*.

    With *is_shielded* a shield stands before *around*: then only tell the shields inside.
    """
    cdef Interrupts interrupts = interrupts_of(hub, target)
    cdef Scope scope = None if interrupts is None else interrupts.scope
    cdef CancelScope each
    cdef list groups = []
    cdef Py_ssize_t shielded = 0  # how many of these a shield of this greenlet stands before
    cdef bint waits_shielded = is_shielded
    while scope is not None:
        if scope.owner is target and (<CancelScope>scope).children:
            groups.append(scope)
        if scope is around:
            break
        if scope.shields:
            scope.holds_back()
            shielded, waits_shielded = len(groups), True
        scope = scope.parent
    if scope is None:
        return 0  # it has left the scope
    if not waits_shielded:
        cancel_wait(hub, target, origin)
    for each in groups:
        for target in list(each.children.values()):
            todo.append((target, each, is_shielded or shielded > 0))
        shielded -= 1
    return 0


def reach_from_hub(CancelScope scope not None):
    """Raise Cancelled in the waits inside *scope*; runs in its hub."""
    scope.drop_deadline()
    if scope.owner is not None or scope.children:
        reach(scope, scope, scope)


def set_deadline_from_hub(CancelScope scope not None, int64_t due):
    """Set the timer of *scope*, unless its deadline was set anew meanwhile; runs in its hub."""
    if scope.due == due:
        scope.set_deadline(due)


def holds_back_from_hub(CancelScope scope not None):
    """Set the timers of a shield that holds something back; runs in its hub."""
    if scope.owner is not None and scope.shields:
        scope.holds_back()


cdef int pass_deadline(CancelScope scope) except -1:
    if not scope.is_cancelled:
        scope.is_overdue = True
        scope.cancel_by("deadline", None)
    return 0


cdef void deadline_passed(PyObject *obj) noexcept:
    (<CancelScope>obj).timer = NULL
    pass_deadline(<CancelScope>obj)


# ---------------------------------------------------------------- shields

cdef int begin_shield(CancelScope scope) except -1:
    cdef Interrupts interrupts = own_interrupts(scope.hub, scope.owner)
    cdef Scope outer = scope.parent
    interrupts.find_shield(scope.owner)
    while outer is not None and not outer.is_cancelled:
        outer = outer.parent
    if interrupts.has_held() or outer is not None:
        scope.holds_back()
    return 0


cdef int end_shield(CancelScope scope) except -1:
    """Let in what *scope* has held back."""
    cdef Interrupts interrupts
    cdef Scope origin
    scope.shields = False
    if scope.owner is None or scope.hub.state == HUB_CLOSED:
        return 0
    if scope.hub is not get_hub_if_exists():
        run_callback(scope.hub, end_shield_from_hub, (scope,))
        return 0
    scope.drop_shield_timers()
    interrupts = interrupts_of(scope.hub, scope.owner)
    interrupts.find_shield(scope.owner)
    deliver_held(scope.hub, scope.owner)
    origin = outermost_cancelled(scope.parent)
    return 0 if origin is None else reach(scope, scope, origin)


def end_shield_from_hub(CancelScope scope not None):
    """Let in what *scope* has held back, unless it shields again; runs in its hub."""
    if scope.owner is not None and not scope.shields:
        end_shield(scope)


cdef void grace_passed(PyObject *obj) noexcept:
    (<CancelScope>obj).opening = NULL
    end_shield(<CancelScope>obj)


cdef void shield_is_long(PyObject *obj) noexcept:
    cdef CancelScope scope = <CancelScope>obj
    scope.reporting = NULL
    scope.hub.unref_timers -= 1
    run_callback(scope.hub, tell_of_shield, (scope,))


def tell_of_shield(CancelScope scope not None):
    """Report *scope*, whose shield holds something back for long."""
    if scope.owner is not None and scope.shields:
        report_shield(scope, scope.owner)


# ---------------------------------------------------------------- forks

cdef bint belongs(CancelScope scope, greenlet current, greenlet heir) noexcept:
    return scope.owner is current or scope.owner is heir


cdef bint forget_deadline(PyObject *obj, greenlet current, greenlet heir) noexcept:
    if belongs(<CancelScope>obj, current, heir):
        return False
    (<CancelScope>obj).timer = NULL
    return True


cdef bint forget_grace(PyObject *obj, greenlet current, greenlet heir) noexcept:
    if belongs(<CancelScope>obj, current, heir):
        return False
    (<CancelScope>obj).opening = NULL
    return True


cdef bint forget_report(PyObject *obj, greenlet current, greenlet heir) noexcept:
    if belongs(<CancelScope>obj, current, heir):
        return False
    (<CancelScope>obj).reporting = NULL
    (<CancelScope>obj).hub.unref_timers -= 1
    return True


abandon_timers(deadline_passed, forget_deadline)
abandon_timers(grace_passed, forget_grace)
abandon_timers(shield_is_long, forget_report)


# ---------------------------------------------------------------- for programs

cdef CancelScope new_scope(object timeout, bint shields):
    cdef CancelScope scope = make(public_class, ())  # by a shorter way than a call of the class
    scope.lasts = nanoseconds(timeout)
    scope.shields = shields
    return scope


def move_on_after(seconds, *, shield=False):
    """Return a scope that is cancelled *seconds* after it was entered; None: never.

    The block ends then, and the program goes on after it; ``caught`` tells whether that happened.
    """
    return new_scope(seconds, shield)


def fail_after(seconds, *, shield=False):
    """Return a scope that is cancelled *seconds* after it was entered, and then raises TimeoutError."""
    cdef CancelScope scope = new_scope(seconds, shield)
    scope.fails = True
    return scope


def shield(grace=None):
    """Return a scope that holds back cancellation, kills and timeouts from outside until its end.

    They are raised at the first wait afterwards. Scopes and timeouts that begin inside work. What
    signal handlers raise, such as KeyboardInterrupt, is not held back. With *grace*, nothing is held
    back for longer than that many seconds.
    """
    cdef CancelScope scope = new_scope(None, True)
    scope.grace = nanoseconds(grace)
    return scope


cdef object NO_SHIELD = nullcontext()
# How many seconds clean-up code of treadle's own may wait in a cancelled scope.
cdef double CLEAN_UP = 5.0


def clean_up():
    """Return a context in which clean-up code may wait, though the current greenlet was cancelled.

    It is a shield for 5 seconds, or nothing if the greenlet is in no cancelled scope: kills and
    timeouts are raised once, and a second one ends a wait as ever.
    """
    cdef Hub hub = get_hub_if_exists()
    cdef Interrupts interrupts = None if hub is None else interrupts_of(hub, current_greenlet())
    if interrupts is None or interrupts.cancelled() is None:
        return NO_SHIELD
    return shield(CLEAN_UP)
