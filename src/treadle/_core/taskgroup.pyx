"""Task groups: blocks that end when all greenlets have ended that were spawned in them."""

from treadle._core.collector cimport Collector
from treadle._core.delivery cimport (
    Interrupts,
    begin_firm_shield,
    end_firm_shield,
    hold,
    interrupts_of,
    own_interrupts,
    raise_due,
    take_urgent,
)
cimport treadle._core.greenlet as core_greenlet
from treadle._core.greenlet cimport (
    FAILED,
    FRESH,
    CallerStack,
    Failure,
    Greenlet,
    caller_stack,
    new_greenlet,
)
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport (
    HUB_CLOSED,
    ON_GROUP,
    Fiber,
    Hub,
    Wait,
    current_greenlet,
    get_hub_if_exists,
    new_wait,
    park,
    run_callback,
    unpark,
)
from treadle._core.locks cimport Semaphore
from treadle._core.scopes cimport CancelScope, new_scope

from cpython.object cimport PyObject

from greenlet import GreenletExit

cdef extern from "Python.h":
    PyObject *PyException_GetContext(object exc) noexcept              # new; NULL if there is none
    void PyException_SetContext(object exc, PyObject *context) noexcept  # takes the reference

PyGreenlet_Import()

# The class of the greenlets that groups spawn; treadle.taskgroup sets it.
greenlet_class = None


cdef class TaskGroup(Collector):
    """TaskGroup(limit=None, *, name=None, adopt=False)\n--\n
    The compiled part of :class:`treadle.taskgroup.TaskGroup`.
    """

    def __cinit__(self, *args, **kwargs):
        self.cancel_scope = new_scope(None, False)

    def __init__(self, limit=None, *, name=None, adopt=False):
        if self.hub is not None:
            raise RuntimeError(f"{self!r} was entered before; make another one")
        if limit is not None and limit < 1:
            raise ValueError(f"a task group has places for one greenlet at least, not for {limit!r}")
        self.places = None if limit is None else Semaphore(limit)
        self.name = name
        self.adopts = adopt

    def __enter__(self):
        cdef Interrupts interrupts, common
        cdef CancelScope scope
        if self.hub is not None:
            raise RuntimeError(f"{self!r} was entered before; make another one")
        scope = self.cancel_scope
        scope.enter()
        self.hub, self.generation = scope.hub, scope.hub.generation
        self.children = scope.children = {}
        interrupts = own_interrupts(self.hub, scope.owner)
        self.outer_adopter = interrupts.adopter
        if self.adopts:
            interrupts.adopter = self
            core_greenlet.adopting_groups += 1
        common = self.common = Interrupts.__new__(Interrupts)
        common.scope, common.group, common.adopter = scope, self, interrupts.adopter
        common.is_common = True
        return self

    def __exit__(self, typ, value, tb):
        if self.hub is None:
            raise RuntimeError(f"{self!r} is left, but was never entered")
        if self.is_over:
            raise RuntimeError(f"{self!r} is left, but is over")
        misplaced = None
        try:
            self.cancel_scope.check_innermost()
        except RuntimeError as exc:
            if self.cancel_scope.owner is not None:
                raise  # another greenlet leaves it; its own will wait for the children
            misplaced = exc
        if misplaced is not None or value is not None:
            self.fail_by_body(value if misplaced is None else misplaced)
        self.wait_for_children()
        raised, self.body = self.body, None
        from_outside = raised is not None and (raised is misplaced or came_from_outside(self.hub, raised))
        self.close()
        self.leave_scope()
        raised = self.cancel_scope.without_own(raised)
        self.cancel_scope.source = None  # its failure, if it is a child, refers to this frame
        errors = self.failures(raised)
        if self.was_shielded:
            errors += take_urgent(self.hub, current_greenlet())  # what handlers have raised meanwhile
        return self.end(value, raised, errors, from_outside)

    cdef bint end(self, object value, object raised, list errors, bint from_outside) except -1:
        """Raise *errors*, or what is left of *raised*, which has ended the body; return whether nothing is."""
        for exc in errors:
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                if exc is raised and exc is value:
                    return False
                raise_alone(exc)
        if errors and not (len(errors) == 1 and errors[0] is raised and (
                from_outside or isinstance(raised, GeneratorExit))):
            if from_outside and isinstance(raised, GreenletExit):
                hold(self.hub, current_greenlet(), raised)  # a kill, which the failures must not hide
            raise_alone(BaseExceptionGroup(f"failures in {self.title()}", errors))
        if raised is not None and raised is not value:
            raise raised
        if raised is None and self.was_shielded:
            raise_due()  # the wait for the children held it back
        return raised is not value

    cdef int fail_by_body(self, object exc) except -1:
        self.body = exc
        self.before = len(self.ready)
        return self.cancel_scope.cancel_by("an exception has left the body", current_greenlet())

    cdef int wait_for_children(self) except -1:
        """Wait until all children have ended; an exception that ends the wait cancels them."""
        while True:
            self.forget_left()
            if not self.children:
                return 0
            self.wait = new_wait(ON_GROUP, self)
            self.wait.shielded = self.was_shielded = self.body is not None
            if isinstance(self.body, (KeyboardInterrupt, SystemExit)):
                self.wait.value = self.body  # the next one ends the wait
            try:
                park(self.wait, -1)
            except BaseException as exc:
                if self.body is not None:  # a LoopExit, as the children can never end, or Ctrl-C again
                    self.close()
                    self.leave_scope()
                    raise
                self.fail_by_body(exc)
            finally:
                self.wait = None

    cdef int forget_left(self) except -1:
        """Forget the children that a fork, or the end of the hub, has left behind."""
        cdef Greenlet child
        if self.hub is None or self.generation == self.hub.generation and self.hub.state != HUB_CLOSED:
            return 0
        self.generation = self.hub.generation
        for child in list(self.children.values()):
            if child.place == NULL or self.hub.state == HUB_CLOSED:
                del self.children[child.spawned_at]
                self.give_place(child.spawned_at)
                start = None if not self.starting else self.starting.pop(child.spawned_at, None)
                if start is not None:
                    (<Start>start).end()
        return 0

    cdef int give_place(self, CallerStack of_child) except -1:
        if self.adopted is not None and of_child in self.adopted:
            self.adopted.discard(of_child)
        elif self.places is not None:
            self.places.give()
        return 0

    cdef int close(self) except -1:
        if self.is_over:
            return 0
        self.is_over = True
        if self.adopts:
            own_interrupts(self.hub, current_greenlet()).adopter = self.outer_adopter
            core_greenlet.adopting_groups -= 1
        self.common = self.outer_adopter = None
        return 0

    cdef int leave_scope(self) except -1:
        cdef greenlet current = current_greenlet()
        if self.cancel_scope.owner is None:
            return 0  # it was left before the group
        return self.cancel_scope.unlink(current, interrupts_of(self.hub, current))

    cdef list failures(self, object body):
        """Return what has failed, in the order in which it did: the body's exception, and the children's."""
        cdef Greenlet child
        cdef list found = []
        for child, function, place in self.ready:
            child.observe()
            exc = without_exits((<Failure>child.result).restored())
            if exc is not None and not is_among(exc, found):
                note_place(exc, function, place)
                found.append(exc)
        self.ready.clear()
        body = without_exits(body)
        if body is not None and not isinstance(body, GreenletExit) and not is_among(body, found):
            found.insert(self.before, body)
        return found

    cdef int add(self, object source) except -1:
        cdef Greenlet child = source
        cdef Start start = None
        cdef CallerStack place = child.spawned_at
        if place is None or not self.children or self.children.pop(place, None) is None:
            return 0
        child.spawned_at = None
        if self.starting:
            start = self.starting.pop(place, None)
        if start is not None and not start.has_begun:
            start.failed = child.target, place
            start.end()
        elif child.life == FAILED:
            self.note_failure(child, child.target, place)
        self.give_place(place)  # now: who waits for a place must not get it before the cancellation
        if not self.children and self.wait is not None:
            unpark(self.wait)
        return 0

    cdef int note_failure(self, Greenlet child, object function, object place) except -1:
        if self.is_over:  # it was left in a wrong place, or given up
            run_callback(self.hub, report_failure, (child,))
            return 0
        self.ready.append((child, function, place))
        return self.cancel_scope.cancel_by("a greenlet of the group has failed", child)

    cdef int adopt(self, object child) except -1:
        if self.is_over or (<Greenlet>child).hub is not self.hub:
            return 0
        if self.adopted is None:
            self.adopted = set()
        self.take(child)
        self.adopted.add((<Greenlet>child).spawned_at)
        return 0

    cdef int take(self, Greenlet child) except -1:
        child.interrupts = self.common
        child.spawned_at = caller_stack(1)
        self.children[child.spawned_at] = child
        child.add_link(self)
        return 0

    cdef int check_open(self) except -1:
        if self.hub is None:
            raise RuntimeError(f"{self!r} has not begun: a with statement begins and ends it")
        if self.is_over:
            raise RuntimeError(f"{self!r} is over")
        if self.hub is not get_hub_if_exists():
            raise RuntimeError(f"{self!r} belongs to another thread")
        return 0

    cdef Greenlet new_child(self, tuple args, dict kwargs):
        cdef Greenlet child
        self.check_open()
        self.forget_left()
        if self.places is not None:
            self.places.take(True, None)
        try:
            self.check_open()  # it may have ended while this call waited
            child = new_greenlet(greenlet_class, args, kwargs)
        except:
            if self.places is not None:
                self.places.give()
            raise
        self.take(child)
        return child

    def spawn(self, *args, **kwargs):
        """Run ``function(*args, **kwargs)`` in a new greenlet, a child of the group, and return that.

        Waits for a place first, if the group has a limit. Raises RuntimeError if the group has not
        begun or is over, and in another thread than the group's.
        """
        cdef Greenlet child = self.new_child(args, kwargs)
        self.begin(child)
        return child

    cdef int begin(self, Greenlet child) except -1:
        try:
            child.start()
        except:
            # A callback of on_spawn has failed, or the interpreter ends.
            if self.starting:
                self.starting.pop(child.spawned_at, None)
            if child.life == FRESH and not child.scheduled:
                self.add(child)
            raise
        return 0

    def start(self, *args, **kwargs):
        """Spawn a child, wait until it calls :func:`~treadle.started`, and return what it says there.

        Raises what the child raises before that, which then is no failure of the group, and
        RuntimeError if the child ends without calling it. If this wait is interrupted, the child is
        killed, and has ended when the exception goes on.
        """
        cdef Greenlet child = self.new_child(args, kwargs)
        cdef Start start = Start.__new__(Start)
        if self.starting is None:
            self.starting = {}
        self.starting[child.spawned_at] = start
        self.begin(child)
        while not start.is_over:
            self.forget_left()
            if start.is_over:
                break
            start.wait = new_wait(ON_GROUP, child)
            try:
                park(start.wait, -1)
            except:
                if not start.is_over:
                    del self.starting[child.spawned_at]
                    end_child(child)
                elif not start.has_begun and child.life == FAILED:
                    self.note_failure(child, start.failed[0], start.failed[1])
                raise
            finally:
                start.wait = None
        if start.has_begun:
            return start.value
        if child.life == FAILED:
            child.observe()
            raise (<Failure>child.result).restored()
        raise RuntimeError(f"{child!r} has ended without calling started()")

    def cancel(self, reason=None):
        """Raise :class:`~treadle.Cancelled` at each wait of the body and the children, from now on."""
        self.cancel_scope.cancel_by(reason, current_greenlet())

    def __len__(self):
        """Return how many children have not ended."""
        self.forget_left()
        return 0 if self.children is None else len(self.children)

    def __iter__(self):
        """Iterate over the children that have not ended."""
        self.forget_left()
        return iter([] if self.children is None else list(self.children.values()))

    cdef str title(self):
        kind = type(self).__name__
        return f"{kind} at {id(self):#x}" if self.name is None else f"{kind} {self.name!r}"

    def __repr__(self):
        state = "over" if self.is_over else f"{len(self)} children"
        return f"<{self.title()}: {state}>"


cdef class Start:

    cdef int end(self) except -1:
        self.is_over = True
        if self.wait is not None:
            unpark(self.wait)
        return 0


def started(value=None):
    """Tell :meth:`TaskGroup.start`, which waits for the current greenlet, to return *value*.

    It does nothing in a greenlet that was not started in this way. Raises RuntimeError if it was
    called before.
    """
    cdef Fiber current
    cdef TaskGroup group
    cdef Start start
    if not isinstance(current_greenlet(), Greenlet):
        return
    current = current_greenlet()
    group = (<Greenlet>current).group()
    if group is None or not group.starting:
        return
    start = group.starting.get((<Greenlet>current).spawned_at)
    if start is None:
        return
    if start.has_begun:
        raise RuntimeError(f"{current!r} has called started() before")
    start.value, start.has_begun = value, True
    start.end()


cdef bint came_from_outside(Hub hub, object exc) except -1:
    """Return whether *exc* was raised in a wait of the current greenlet by a kill, a Timeout or the like."""
    cdef Interrupts interrupts = interrupts_of(hub, current_greenlet())
    return interrupts is not None and interrupts.has_raised(exc)


cdef int raise_alone(object exc) except -1:
    """Raise *exc*; the exception that is being handled does not become its context."""
    context = PyException_GetContext(exc)
    try:
        raise exc
    except BaseException:
        PyException_SetContext(exc, context)
        raise


def report_failure(Greenlet child not None):
    """Report that *child* has failed, whose group is over."""
    if child.life == FAILED:
        child.observe()
        child.hub.report(child, (<Failure>child.result).exception)


cdef object without_exits(object exc):
    """Return *exc*, without the kills and cancellations that are in it if it is a group; None if nothing is left."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    try:
        exits, rest = BaseExceptionGroup.split(exc, GreenletExit)
    except Exception:
        return exc  # its class, or its depth, does not let it be divided
    return exc if exits is None else rest


cdef bint is_among(object exc, list found) noexcept:
    for each in found:
        if each is exc:
            return True
    return False


cdef int end_child(Greenlet child) except -1:
    """Kill *child* and wait for its end, whatever comes meanwhile."""
    shield = begin_firm_shield()
    try:
        child.kill()
    finally:
        end_firm_shield(shield)
    return 0


cdef int note_place(object exc, object function, CallerStack place) except -1:
    """Add one line to the traceback of *exc*: where the greenlet was spawned that has raised it."""
    if place is None:
        return 0
    frame = place.frames()
    if frame is not None:
        code = frame.f_code
        try:
            name = getattr(function, "__qualname__", None) or repr(function)
            exc.add_note(f"in the greenlet of {name}, spawned at {code.co_filename}:{frame.f_lineno} "
                         f"in {code.co_qualname}")
        except Exception:
            pass  # the failure counts, even if its class takes no notes
    return 0
