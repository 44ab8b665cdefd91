"""Raising exceptions in greenlets: kills, timeouts, cancelled scopes, and what signal handlers raise.

All of them come by one way, and only while a greenlet waits. What cannot end a wait now is held and
raised at the greenlet's next wait, before that begins. HACKING.md has the order of precedence.
"""

cimport cython
from cpython.exc cimport PyErr_Fetch, PyErr_Restore
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint64_t

from treadle._core.greenlet_api cimport (
    PyGreenlet_ACTIVE,
    PyGreenlet_Import,
    PyGreenlet_Throw,
    greenlet,
)
from treadle._core.hub cimport (
    HUB_CLOSED,
    ON_GROUP,
    WAIT_DONE,
    WAIT_PARKED,
    DeliveryFunctions,
    Fiber,
    Hub,
    Wait,
    current_greenlet,
    get_hub,
    get_hub_if_exists,
    move,
    run_callback,
    set_delivery_functions,
    unpark,
    unpark_first,
    unpark_with,
    wait_of,
)

from weakref import ref as weak_ref

from treadle.exceptions import LoopExit

cdef extern from "Python.h":
    int PyErr_GivenExceptionMatches(PyObject *given, PyObject *exc) noexcept
    void PyErr_NormalizeException(PyObject **type, PyObject **value, PyObject **tb)
    int PyException_SetTraceback(object exc, object tb) except -1

PyGreenlet_Import()

# The attribute in which greenlets that are no Fibers have their Interrupts.
cdef str RAW = "_treadle_interrupts"


cdef class Scope:

    cdef object error(self):
        raise NotImplementedError(f"{type(self).__name__} has no error")

    cdef int holds_back(self) except -1:
        return 0

    cdef int abandon(self) except -1:
        return 0


@cython.final
cdef class Held:
    pass


@cython.final
@cython.freelist(64)
cdef class Interrupts:

    cdef object take_due(self):
        cdef Held first
        cdef Scope scope
        if self.urgent is not None:
            exc = self.urgent.pop(0)
            if not self.urgent:
                self.urgent = None
            return self.noted(exc)
        if self.held is not None:
            first = self.first_held()
            if first is not None:
                self.held.remove(first)
                if not self.held:
                    self.held = None
                first.is_over = True
                return self.noted(first.exc)
        scope = self.cancelled()
        return None if scope is None else scope.error()

    cdef object noted(self, object exc):
        """Return the exception to raise, an instance; remember it until the outermost scope is left."""
        if isinstance(exc, type):
            exc = exc()
        # Those that are on their way. With its traceback each keeps frames alive, so there are only
        # weak references, but for built-in classes, which have none: of them, the last is kept.
        found = [] if self.delivered is None else [
            each for each in self.delivered if isinstance(each, weak_ref) and each() is not None]
        try:
            found.append(weak_ref(exc))
        except TypeError:
            found.append(exc)
        self.delivered = found
        return exc

    cdef bint has_raised(self, object exc):
        if self.delivered is not None:
            for each in self.delivered:
                if each is exc or isinstance(each, weak_ref) and each() is exc:
                    return True
        return False

    cdef Held first_held(self):
        cdef Held each
        if not self.has_held():
            return None
        for each in self.held:
            if self.shield is None or self.shield.number <= each.number:
                return each
        return None

    cdef bint has_held(self):
        """Return whether a kill or Timeout is held; forget those that were withdrawn."""
        if self.held is not None and any_over(self.held):
            self.held = [each for each in self.held if not (<Held>each).is_over] or None
        return self.held is not None

    cdef Scope cancelled(self):
        return outermost_cancelled(self.scope)

    cdef int find_shield(self, greenlet owner) except -1:
        cdef Scope scope = self.scope
        while scope is not None and not scope.shields and scope.owner is owner:
            scope = scope.parent
        self.shield = scope if scope is not None and scope.owner is owner else None
        return 0

    cdef int leave_open(self, greenlet owner) except -1:
        cdef Scope scope = self.scope
        cdef list left = []
        while scope is not None and scope.owner is owner:
            left.append(scope)
            scope = scope.parent
        while left:  # the outermost first: it reaches what is inside the others, too
            (<Scope>left.pop()).abandon()
        self.scope = scope
        return 0

    cdef bint is_idle(self):
        return (self.urgent is None and self.held is None and self.scope is None and self.firm == 0
                and self.group is None)


cdef Scope outermost_cancelled(Scope scope):
    cdef Scope found = None
    while scope is not None:
        if scope.is_cancelled:
            found = scope
        if scope.shields:
            break
        scope = scope.parent
    return found


cdef bint any_over(list held) noexcept:
    cdef Held each
    for each in held:
        if each.is_over:
            return True
    return False


cdef Interrupts interrupts_of(Hub hub, greenlet target):
    if isinstance(target, Fiber):
        return (<Fiber>target).interrupts
    if target is hub.main:
        return hub.main_interrupts
    return getattr(target, RAW, None) if hub.interrupts_raw else None


cdef Interrupts own_interrupts(Hub hub, greenlet target):
    cdef Interrupts interrupts = interrupts_of(hub, target)
    cdef Interrupts own
    if interrupts is not None and not interrupts.is_common:
        return interrupts
    own = Interrupts.__new__(Interrupts)
    if interrupts is not None:
        own.scope, own.group, own.adopter = interrupts.scope, interrupts.group, interrupts.adopter
    keep_interrupts(hub, target, own)
    return own


cdef int keep_interrupts(Hub hub, greenlet target, Interrupts interrupts) except -1:
    if isinstance(target, Fiber):
        (<Fiber>target).interrupts = interrupts
    elif target is hub.main:
        hub.main_interrupts = interrupts
    else:
        hub.interrupts_raw = True
        setattr(target, RAW, interrupts)
    return 0


cdef int drop_idle(Hub hub, greenlet target, Interrupts interrupts) except -1:
    # The class of an exception may wait in its constructor; then others put new ones in their place.
    if interrupts.is_idle() and interrupts is interrupts_of(hub, target):
        keep_interrupts(hub, target, None)
    return 0


# ---------------------------------------------------------------- from others

cdef Held interrupt(Hub hub, greenlet target, object exc, uint64_t number=0):
    cdef Wait wait = wait_of(hub, target)
    cdef Interrupts interrupts = interrupts_of(hub, target)
    if hub.state == HUB_CLOSED:
        raise RuntimeError(f"{target!r} will never run again: its {hub!r} is closed")
    cdef Held held
    if wait is not None and not wait.shielded and (
            interrupts is None or interrupts.shield is None
            or interrupts.shield.number <= number) and unpark_with(wait, exc):
        wait.from_outside = True
        return None
    held = hold(hub, target, exc, number)
    if wait is None:
        run_callback(hub, deliver, (target,))
    return held


cdef Held hold(Hub hub, greenlet target, object exc, uint64_t number=0):
    cdef Interrupts interrupts = own_interrupts(hub, target)
    cdef Held held = Held.__new__(Held)
    cdef Scope scope
    held.exc, held.number = exc, number
    if interrupts.held is None:
        interrupts.held = []
    interrupts.held.append(held)
    scope = interrupts.scope
    while scope is not None and scope.owner is target:
        if scope.shields and scope.number > number:
            scope.holds_back()
        scope = scope.parent
    return held


cdef int interrupt_main(Hub hub, object exc) except -1:
    cdef Wait wait = wait_of(hub, hub.principal)
    if wait is not None and not wait.settled and wait.exc is None and lets_in(wait, exc):
        wait.exc = exc
        if unpark_first(wait):
            wait.from_outside = True
            return 0
        wait.exc = None
    return hub.interrupt_principal(exc)


cdef int interrupt_principal(Hub hub, object exc) except -1:
    cdef Wait wait = wait_of(hub, hub.principal)
    if hub.state == HUB_CLOSED:
        raise RuntimeError(f"{hub.principal!r} will never run again: its {hub!r} is closed")
    if wait is not None and lets_in(wait, exc) and unpark_with(wait, exc):
        wait.from_outside = True
        return 0
    hold_urgently(hub, hub.principal, exc)
    if wait is None:
        run_callback(hub, deliver, (hub.principal,))
    return 0


cdef int hold_urgently(Hub hub, greenlet target, object exc) except -1:
    cdef Interrupts interrupts = own_interrupts(hub, target)
    if interrupts.urgent is None:
        interrupts.urgent = []
    interrupts.urgent.append(exc)
    return 0


cdef bint lets_in(Wait wait, object exc):
    """Return whether an exception of a signal handler, or a LoopExit, may end *wait*."""
    return not wait.shielded or is_pressed_again(wait) or PyErr_GivenExceptionMatches(
        <PyObject *>exc, <PyObject *>LoopExit)


cdef bint is_pressed_again(Wait wait):
    """Return whether *wait* is for the children of a group, and a handler has raised something before."""
    cdef Interrupts interrupts
    if wait.reason != ON_GROUP:
        return False
    interrupts = interrupts_of(wait.hub, wait.waiter)
    return wait.value is not None or interrupts is not None and interrupts.urgent is not None


cdef list take_urgent(Hub hub, greenlet target):
    cdef Interrupts interrupts = interrupts_of(hub, target)
    if interrupts is None or interrupts.urgent is None:
        return []
    urgent, interrupts.urgent = interrupts.urgent, None
    drop_idle(hub, target, interrupts)
    return urgent


def deliver(greenlet target not None):
    """Raise what is held for *target* now, in its hub, if that is suspended. It may run any code."""
    cdef Hub hub = get_hub()
    cdef Interrupts interrupts = interrupts_of(hub, target)
    if interrupts is None:
        return
    if wait_of(hub, target) is not None:
        deliver_held(hub, target)
    elif PyGreenlet_ACTIVE(target) and interrupts.firm == 0:
        exc = interrupts.take_due()
        drop_idle(hub, target, interrupts)
        if exc is not None:
            PyGreenlet_Throw(target, type(exc), exc, exc.__traceback__)


cdef int deliver_held(Hub hub, greenlet target) except -1:
    cdef Interrupts interrupts = interrupts_of(hub, target)
    cdef Wait wait = wait_of(hub, target)
    cdef Scope scope
    cdef Held first
    if interrupts is None or wait is None or wait.shielded or wait.generation != hub.generation:
        return 0
    if interrupts.urgent is not None:
        if unpark_with(wait, interrupts.urgent[0]):
            wait.from_outside = True
            del interrupts.urgent[0]
            interrupts.urgent = interrupts.urgent or None
        return 0
    first = interrupts.first_held()
    if first is not None:
        if unpark_with(wait, first.exc):
            wait.from_outside = first.is_over = True
            interrupts.held.remove(first)
            interrupts.held = interrupts.held or None
        return 0
    scope = interrupts.cancelled()
    return 0 if scope is None else cancel_wait(hub, target, scope)


cdef int cancel_wait(Hub hub, greenlet target, Scope scope) except -1:
    cdef Wait wait = wait_of(hub, target)
    if (wait is None or wait.state != WAIT_PARKED or not wait.entered or wait.settled or wait.shielded
            or wait.exc is not None):
        return 0  # the next wait raises it
    wait.exc = scope
    wait.by_scope = True
    if not unpark(wait):
        wait.exc = None
        wait.by_scope = False
    return 0


# ---------------------------------------------------------------- in the greenlet itself

cdef int before_wait(Wait wait) except -1:
    """Raise what is due in the greenlet that is about to park."""
    cdef Interrupts interrupts = interrupts_of(wait.hub, wait.waiter)
    if interrupts is None:
        return 0
    if interrupts.firm:
        wait.shielded = True
    if wait.settled or wait.shielded:
        return 0
    exc = interrupts.take_due()
    if exc is None:
        return 0
    drop_idle(wait.hub, wait.waiter, interrupts)
    move(wait, WAIT_DONE)
    raise exc


cdef bint held_error(Wait wait) except -1:
    """Hold the error that is set, if nothing may end *wait*; return False if that is a LoopExit."""
    cdef PyObject *type
    cdef PyObject *value
    cdef PyObject *tb
    PyErr_Fetch(&type, &value, &tb)
    if is_pressed_again(wait) or PyErr_GivenExceptionMatches(type, <PyObject *>LoopExit):
        PyErr_Restore(type, value, tb)
        return False
    PyErr_NormalizeException(&type, &value, &tb)
    hold_urgently(wait.hub, wait.waiter, <object>value)
    Py_XDECREF(type)
    Py_XDECREF(value)
    Py_XDECREF(tb)
    return True


cdef object error_of(Wait wait):
    """Return the exception that *wait* raises, whose greenlet may be in a scope."""
    cdef Interrupts interrupts = interrupts_of(wait.hub, wait.waiter)
    cdef Scope scope
    if wait.by_scope:
        scope = None if interrupts is None else interrupts.cancelled()
        return (<Scope>wait.exc if scope is None else scope).error()
    if interrupts is None or not wait.from_outside:
        return wait.exc
    if interrupts.is_common:
        interrupts = own_interrupts(wait.hub, wait.waiter)
    return interrupts.noted(wait.exc)


cdef int raise_due() except -1:
    cdef Hub hub = get_hub_if_exists()
    cdef greenlet current = current_greenlet()
    cdef Interrupts interrupts = None if hub is None else interrupts_of(hub, current)
    if interrupts is None or interrupts.firm:
        return 0
    exc = interrupts.take_due()
    drop_idle(hub, current, interrupts)
    if exc is not None:
        raise exc
    return 0


cdef Interrupts begin_firm_shield():
    cdef Hub hub = get_hub_if_exists()
    cdef Interrupts interrupts
    if hub is None:
        return None  # a native thread, which nothing interrupts
    interrupts = own_interrupts(hub, current_greenlet())
    interrupts.firm += 1
    return interrupts


cdef int end_firm_shield(Interrupts interrupts) except -1:
    if interrupts is None:
        return 0
    interrupts.firm -= 1
    return drop_idle(get_hub(), current_greenlet(), interrupts)


cdef DeliveryFunctions functions
functions.before_wait, functions.held_error, functions.error_of = before_wait, held_error, error_of
functions.interrupt_main, functions.interrupt_principal = interrupt_main, interrupt_principal
set_delivery_functions(functions)
