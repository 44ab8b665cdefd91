"""Greenlet: a function that runs in a greenlet, its result, and what waits for its end."""

import atexit
import gc
import os
from types import GenericAlias
from weakref import ref as weak_ref

cimport cython
from cpython.exc cimport PyErr_Fetch
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, Py_XINCREF

from greenlet import GreenletExit

from treadle._core.aside cimport begin_tracing, tracing_for_thread, tracing_here
from treadle._core.clock cimport nanoseconds, time_in
from treadle._core.collector cimport Collector
from treadle._core.context cimport inherited_context
from treadle._core.delivery cimport Interrupts, interrupt, interrupts_of
from treadle._core.greenlet_api cimport (
    PyGreenlet_Import,
    PyGreenlet_SetParent,
    PyGreenlet_Switch,
    greenlet,
)
from treadle._core.hub cimport (
    HUB_CLOSED,
    ON_JOIN,
    Callback,
    Fiber,
    Hub,
    Wait,
    can_run,
    cancel_timer,
    current_greenlet,
    get_hub,
    get_hub_if_exists,
    made_hub,
    new_wait,
    run_callback,
    schedule_start,
    set_timer,
    unlist_fiber,
)
from treadle._core.links cimport Links
from treadle._core.methods cimport make
from treadle._core.thread_hub cimport abandon_timers
from treadle._core.timeout cimport timeout_error
from treadle._core.wait_queue cimport WaitQueue, park_in
from treadle._core.waiter cimport exception_from

cdef extern from "Python.h":
    # Without Cython's error handling: these return NULL with an exception set.
    PyObject *call_object "PyObject_Call"(PyObject *f, PyObject *args, PyObject *kwargs) noexcept
    PyObject *get_attribute "PyObject_GetAttrString"(PyObject *o, const char *name) noexcept
    ctypedef struct PyFrameObject:
        pass
    PyFrameObject *PyEval_GetFrame() noexcept                      # borrowed
    PyFrameObject *PyFrame_GetBack(PyFrameObject *frame) noexcept  # new
    PyCodeObject *PyFrame_GetCode(PyFrameObject *frame) noexcept   # new
    int PyFrame_GetLasti(PyFrameObject *frame) noexcept
    int PyCode_Addr2Line(PyCodeObject *code, int instruction) noexcept
    void PyErr_NormalizeException(PyObject **type, PyObject **value, PyObject **tb)
    int PyException_SetTraceback(object exc, object tb) except -1
    PyObject *PyException_GetTraceback(object exc) noexcept  # new

PyGreenlet_Import()

# Whether greenlets know their spawner, and how many frames of its stack they keep; see
# treadle.config.
cdef bint track_tree = True
cdef Py_ssize_t stack_limit = 0

abandon_timers(start_due, forget_start_timer)

cdef extern from *:
    """
    /* Whether calling the class does no more than tp_new and tp_init of its base. */
    static int treadle_is_made_as(PyObject *cls, PyTypeObject *base) {
        return Py_IS_TYPE(cls, &PyType_Type) && ((PyTypeObject *)cls)->tp_new == base->tp_new
            && ((PyTypeObject *)cls)->tp_init == base->tp_init;
    }
    """
    bint is_made_as "treadle_is_made_as"(object cls, type base) noexcept

cpdef object new_greenlet(cls, tuple args, dict kwargs):
    """Return ``cls(*args, **kwargs)``, by a shorter way if *cls* is made as Greenlet is."""
    cdef Greenlet new
    if not args or kwargs or not is_made_as(cls, Greenlet):
        return cls(*args, **kwargs)
    new = make(cls, ())
    new.prepare(args[0], args[1:], None)
    return new


cdef int inherit_all(Fiber new) except -1:
    """Give a new greenlet what it inherits from the current one: the context, and tracing."""
    context = inherited_context()
    if context is not None:
        new.gr_context = context
    new.tracing = tracing_here()
    return 0


cdef int begin_inherited_tracing(Fiber current) except -1:
    tracing, current.tracing = current.tracing, None
    return begin_tracing(tracing)


cdef Py_ssize_t adopting_groups = 0


cdef int be_adopted(Greenlet child) except -1:
    """Make *child* a child of the task group that adopts what the current greenlet starts."""
    cdef Interrupts interrupts = interrupts_of(child.hub, current_greenlet())
    if interrupts is None or interrupts.adopter is None or child.interrupts is not None:
        return 0
    return (<Collector>interrupts.adopter).adopt(child)


cdef set on_spawn = set()
# Called with each Greenlet that is started.
spawn_callbacks = on_spawn


cdef object traceback_of(object exc):
    """Return the traceback of *exc*, whatever its class forbids."""
    cdef PyObject *found = PyException_GetTraceback(exc)
    if found == NULL:
        return None
    traceback = <object>found
    Py_DECREF(traceback)
    return traceback


@cython.final
cdef class Failure:

    cdef object restored(self):
        """Return the exception as it left the greenlet, without the frames of those who raised it."""
        PyException_SetTraceback(self.exception, self.traceback)  # whatever its class forbids
        return self.exception


# The failed greenlets, by id(), whose errors were left to greenlets that have not run since.
cdef dict left_to_others = {}


def report_left_errors():
    """Report the errors that were left to greenlets in get(), as these will not run any more."""
    cdef Greenlet failed
    while left_to_others:
        _, failed = left_to_others.popitem()
        failed.hub.report(failed, (<Failure>failed.result).exception)


atexit.register(report_left_errors)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=left_to_others.clear)  # the parent reports them

# The value of a Wait in get(), to tell it from other joins.
cdef object GETS = object()
# Whether an error is reported even if a greenlet waits for it in get().
cdef bint report_awaited = False


cdef class Greenlet(Fiber):
    """Greenlet(run=None, *args, **kwargs)\n--\n
    The compiled part of :class:`treadle.greenlet.Greenlet`.
    """

    def __cinit__(self, *args, **kwargs):
        # A subclass may forget to call __init__().
        self.hub = get_hub()
        self.args = ()
        PyGreenlet_SetParent(self, self.hub)

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, run=None, *args, **kwargs):
        self.prepare(run, args, kwargs or None)

    cdef int prepare(self, run, tuple args, dict keywords) except -1:
        cdef greenlet current
        self.target = run
        if run is None:
            run = self._run  # a subclass's method; if that is None the greenlet ends at once
        if run is not None and not callable(run):
            raise TypeError(f"{type(self).__name__} cannot run {run!r}: it is not callable")
        self.args = args
        self.keywords = keywords
        self.inherit()
        if track_tree:
            current = current_greenlet()
            self.spawner = weak_ref(current)
            self.tree_locals = locals_of_tree(current)
        if stack_limit > 0:
            self.stack = caller_stack(stack_limit)
        return 0

    cdef int inherit(self) except -1:
        return inherit_all(self)

    # -- the function

    @property
    def _run(self):
        return self.target

    @_run.setter
    def _run(self, value):
        self.target = value

    @property
    def kwargs(self):
        """The keyword arguments of the function, as a dict."""
        if self.keywords is None:
            self.keywords = {}
        return self.keywords

    @property
    def loop(self):
        """The loop of the greenlet's hub."""
        return self.hub.loop

    @property
    def spawning_greenlet(self):
        """A weak reference to the greenlet that made this one.

        None if ``track_greenlet_tree`` is off.
        """
        return self.spawner

    @property
    def spawning_stack(self):
        """The stack of the code that made this greenlet, for :func:`traceback.format_stack`.

        None unless the setting ``spawning_stack_limit`` is above 0.
        """
        return None if self.stack is None else (<CallerStack>self.stack).frames()

    @property
    def spawn_tree_locals(self):
        """A dict that all greenlets of a spawn tree share.

        The root of a tree is a greenlet that was not spawned by another treadle greenlet. None if
        ``track_greenlet_tree`` is off.
        """
        if self.tree_locals is None and self.spawner is not None:
            self.tree_locals = {}
        return self.tree_locals

    # -- life

    cdef int begin(self) except -1:
        if self.life == FRESH and not self.scheduled and self.start_timer == NULL:
            schedule_start(self.hub, self)
            if adopting_groups:
                be_adopted(self)
        return 0

    def start(self):
        """Schedule the greenlet to run when the caller waits next."""
        self.begin()
        if on_spawn:
            call_spawn_callbacks(self)

    def start_later(self, seconds):
        """Schedule the greenlet to run after *seconds*."""
        if self.life == FRESH and not self.scheduled and self.start_timer == NULL:
            self.start_timer = set_timer(self.hub, time_in(max(nanoseconds(seconds), 0)), self,
                                         start_due)
            if on_spawn:
                call_spawn_callbacks(self)

    @classmethod
    def spawn(cls, *args, **kwargs):
        """Make a greenlet that runs ``function(*args, **kwargs)``, start it and return it.

        The greenlet does not begin before the caller waits for something.
        """
        cdef Greenlet new = new_greenlet(cls, args, kwargs)
        new.start()
        return new

    @classmethod
    def spawn_later(cls, seconds, *args, **kwargs):
        """Make a greenlet that runs ``function(*args, **kwargs)`` after *seconds*, and return it.

        Raises TypeError without a function, unless a subclass defines ``_run``.
        """
        if not args and cls._run is Greenlet._run:
            raise TypeError(f"{cls.__name__} needs a function to run later")
        new = cls(*args, **kwargs)
        new.start_later(seconds)
        return new

    def run(self):
        """Call the function. The greenlet library calls this method on the first switch."""
        cdef PyObject *result
        self.hub.starting = None
        if self.life != FRESH:
            return
        self.cancel_start()
        self.life = RUNNING
        if self.tracing is not None:
            begin_inherited_tracing(self)
        # No try statement and no temporaries: they would take up stack in every parked greenlet.
        result = self.call()
        if result != NULL:
            self.finish(<object>result)
            Py_DECREF(<object>result)
        else:
            self.finish_by_error()

    cdef PyObject *call(self) noexcept:
        """Call the function and return its result, a new reference; NULL if it raises."""
        cdef PyObject *run = <PyObject *>self.target
        cdef PyObject *result
        if self.target is not None:
            Py_INCREF(<object>run)
        else:
            run = get_attribute(<PyObject *>self, "_run")
            if run == NULL or <object>run is None:
                return run
        result = call_object(run, <PyObject *>self.args,
                             NULL if self.keywords is None else <PyObject *>self.keywords)
        Py_DECREF(<object>run)
        return result

    cdef int finish_by_error(self) except -1:
        cdef PyObject *type
        cdef PyObject *value
        cdef PyObject *tb
        PyErr_Fetch(&type, &value, &tb)
        PyErr_NormalizeException(&type, &value, &tb)
        if tb != NULL:
            PyException_SetTraceback(<object>value, <object>tb)
            Py_DECREF(<object>tb)
        Py_DECREF(<object>type)
        exc = <object>value
        Py_DECREF(exc)
        self.fail(exc)
        return 0

    cdef void cancel_start(self) noexcept:
        self.scheduled = False
        if self.start_timer != NULL:
            cancel_timer(self.hub, self.start_timer)
            self.start_timer = NULL

    cdef int finish(self, object result) except -1:
        self.end(FINISHED, result)
        self.target = None
        self.args = ()
        self.keywords = None
        return 0

    cdef int fail(self, object exc) except -1:
        cdef Failure failure
        cdef bint awaited = self.is_awaited()
        cdef bint has_group = self.group() is not None
        if isinstance(exc, GreenletExit) or has_group and is_of_exits(exc):
            # It is the value of the greenlet. With its traceback, it would keep all frames alive.
            PyException_SetTraceback(exc, None)
            return self.finish(exc)
        failure = Failure()
        failure.exception, failure.traceback = exc, traceback_of(exc)
        failure.is_of_group = has_group
        self.end(FAILED, failure)
        if not has_group and (not awaited or report_awaited or not isinstance(exc, Exception)):
            # The report may run any code and may block. It names the function and its arguments,
            # so they are dropped only afterwards.
            self.hub.report(self, exc)
        else:
            left_to_others[id(self)] = self
        self.target = None
        self.args = ()
        self.keywords = None
        return 0

    cdef int end(self, Life life, object result) except -1:
        self.life = life
        unlist_fiber(self)
        if self.interrupts is not None:
            (<Interrupts>self.interrupts).leave_open(self)
            self.interrupts = None
        self.result = result
        return self.notify()

    cdef int observe(self) except -1:
        self.observed = True
        left_to_others.pop(id(self), None)
        return 0

    cdef object group(self):
        """Return the task group that the greenlet is a child of, or None."""
        return None if self.interrupts is None else (<Interrupts>self.interrupts).group

    cdef bint is_awaited(self) noexcept:
        """Return whether a greenlet waits in get(), which will raise what this one raised."""
        cdef PyObject *each = NULL if self.joiners is None else self.joiners.first
        while each != NULL:
            if (<Wait>each).value is GETS and can_run(<Wait>each):
                return True
            each = (<Wait>each).next
        return False

    cdef int settle_before_start(self, object exception) except -1:
        """End the greenlet with *exception* without running it."""
        try:
            exc = exception() if isinstance(exception, type) else exception
            if not isinstance(exc, BaseException):
                raise TypeError(f"exceptions must derive from BaseException, not {exc!r}")
        except BaseException as error:  # as if it had been raised in the greenlet
            exc = error
        self.cancel_start()
        return self.fail(exc)

    @property
    def dead(self):
        """Whether the greenlet has ended or was killed before it began."""
        return self.life >= FINISHED

    @property
    def started(self):
        """Whether the greenlet was started and has not ended."""
        return bool(self)

    def __bool__(self):
        return self.life == RUNNING or self.scheduled or self.start_timer != NULL

    def ready(self):
        """Return whether the greenlet has ended: it returned, failed or was killed."""
        return self.life >= FINISHED

    def successful(self):
        """Return whether the greenlet has ended without an error; GreenletExit is no error."""
        return self.life == FINISHED

    @property
    def value(self):
        """The return value of the function, or the GreenletExit that ended it.

        None until the greenlet has ended, and if it has failed.
        """
        return self.result if self.life == FINISHED else None

    @property
    def exception(self):
        """The exception with which the greenlet failed; None if it has not failed."""
        if self.life != FAILED:
            return None
        self.observe()
        return (<Failure>self.result).restored()

    @property
    def exc_info(self):
        """The type, value and traceback of :attr:`exception`; None if there is none."""
        exc = self.exception
        return None if exc is None else (type(exc), exc, exc.__traceback__)

    # -- waiting for its end

    cdef bint wait_for_end(self, object timeout, object purpose=None) except -1:
        cdef Wait wait
        if self.life >= FINISHED:
            return True
        if made_hub() and self.life >= FINISHED:
            return True
        wait = new_wait(ON_JOIN, self)
        if wait.waiter is self:
            raise RuntimeError(f"{self!r} cannot wait for its own end")
        wait.value = purpose
        if self.joiners is None:
            self.joiners = WaitQueue.__new__(WaitQueue)
        try:
            return park_in(self.joiners, wait, nanoseconds(timeout))
        except:
            if (purpose is GETS and self.life == FAILED and wait.granted and not self.observed
                    and not (<Failure>self.result).is_of_group):
                # The error was left to this greenlet, which was killed before it could take it.
                self.observe()
                self.hub.report(self, (<Failure>self.result).exception)
            raise

    def join(self, timeout=None):
        """Wait until the greenlet has ended, at most *timeout* seconds (None: no limit)."""
        self.wait_for_end(timeout)

    def get(self, block=True, timeout=None):
        """Return the greenlet's value or raise its exception; wait for its end if *block* is true.

        Raises :class:`~treadle.Timeout` if the greenlet has not ended within *timeout* seconds
        (None: no limit), or now if *block* is false.
        """
        if self.life < FINISHED and not (block and self.wait_for_end(timeout, GETS)):
            raise timeout_error(timeout if block else None)
        if self.life == FAILED:
            self.observe()
            raise (<Failure>self.result).restored()
        return self.result

    def kill(self, exception=None, block=True, timeout=None):
        """Raise *exception* in the greenlet and, if *block* is true, wait for its end.

        *exception* is a class, an instance, or a tuple of a type, a value and a traceback; None
        stands for :class:`~treadle.GreenletExit`. A greenlet that has not begun never runs. Waits
        at most *timeout* seconds (None: no limit). Killing a greenlet that has ended does nothing.
        Killing the current greenlet raises here if *block* is true, otherwise at its next wait.
        """
        if self.life >= FINISHED:
            return
        exception = exception_to_throw(GreenletExit if exception is None else exception)
        if self.life == FRESH:
            self.settle_before_start(exception)
        elif block and current_greenlet() is self:
            raise exception
        else:
            interrupt(self.hub, self, exception)
            if block:
                self.urgent = True
                self.join(timeout)  # which a subclass may have overridden

    def throw(self, *args):
        """Switch to the greenlet now and raise in it, from the hub. Elsewhere use :meth:`kill`.

        A greenlet that has not begun never runs. This does nothing if the greenlet has ended.
        """
        if self.life == FRESH:
            exc = args[0] if args else GreenletExit
            if len(args) > 1 and args[1] is not None:
                exc = args[1] if isinstance(args[1], BaseException) else exc(args[1])
            self.settle_before_start(exc)
        elif self.life == RUNNING:
            return greenlet.throw(self, *args)

    # -- links

    cdef int add_link(self, link) except -1:
        cdef Links links = self.links  # comparing callbacks may run unlink_all()
        if self.collector is None and isinstance(link, Collector):
            self.collector = link
            return 0
        if links is None:
            links = self.links = Links.__new__(Links)
        links.add(link, None)
        return 0

    def rawlink(self, callback):
        """Call ``callback(self)`` in the hub once the greenlet has ended.

        Raises TypeError if *callback* is not callable.
        """
        if not callable(callback):
            raise TypeError(f"a link must be callable, not {callback!r}")
        if self.life >= FINISHED and isinstance(callback, Collector):
            (<Collector>callback).add(self)
            return
        self.add_link(callback)
        if self.life >= FINISHED:
            self.notify()

    def unlink(self, callback):
        """Remove *callback* from the links, once; do nothing if it is not linked."""
        cdef Links links = self.links  # comparing callbacks may run unlink_all()
        if callback is not None and callback is self.collector:
            self.collector = None
        elif links is not None:
            links.remove(callback)

    def unlink_all(self):
        """Remove all linked callbacks. Greenlets that wait for the end keep waiting."""
        cdef Links links = self.links
        self.links = None
        if links is not None:
            for link, _ in links.pairs():
                if isinstance(link, Collector):
                    self.add_link(link)

    def has_links(self):
        """Return the number of links and of greenlets that wait, without the link of its locals."""
        cdef Py_ssize_t count = 0 if self.joiners is None else self.joiners.count
        count += self.collector is not None and self.collector is not self.trace
        if self.links is not None:
            for link, _ in self.links.pairs():
                count += link is not self.trace
        return count

    cdef int notify(self) except -1:
        """Schedule the callable links, then wake the joiners and tell the Collectors."""
        cdef list collectors = None
        cdef Collector first = self.collector
        cdef Links links = self.links
        self.collector = None
        if links is not None:
            collectors = links.take_collectors()
            if links.count() and not self.notifying and self.hub.state != HUB_CLOSED:
                self.notifying = True
                run_callback(self.hub, run_links, (self,))
        if self.joiners is not None:
            while self.joiners.count:
                if self.urgent:
                    self.joiners.grant_last_urgently()
                else:
                    self.joiners.grant()
        if first is not None:
            first.add(self)
        if collectors is not None:
            for link in collectors:
                (<Collector>link).add(self)
        return 0


# The attribute of exception groups, whatever their classes have in its place.
cdef object exceptions_in = BaseExceptionGroup.exceptions.__get__


cdef bint is_of_exits(object exc) except -1:
    """Return whether *exc* is an exception group in which there is nothing but GreenletExit."""
    cdef list left = [exc]  # no recursion: groups may be deep; no split(): subclasses may fail in it
    if not isinstance(exc, BaseExceptionGroup):
        return False
    while left:
        exc = left.pop()
        if isinstance(exc, BaseExceptionGroup):
            left += exceptions_in(exc)
        elif not isinstance(exc, GreenletExit):
            return False
    return True


cdef class ThreadStart(Greenlet):
    """A greenlet that stands for a thread: it inherits no context, as the interpreter's threads do."""

    prints_exceptions = True  # and does not end by them

    cdef int inherit(self) except -1:
        self.tracing = tracing_for_thread()
        return 0


cdef object locals_of_tree(greenlet spawner):
    """Return the spawn_tree_locals for greenlets that *spawner* makes; None if they are roots."""
    if isinstance(spawner, Greenlet):
        return (<Greenlet>spawner).spawn_tree_locals
    if isinstance(spawner, RawGreenlet):
        return (<RawGreenlet>spawner).spawn_tree_locals
    return None


cdef object exception_to_throw(given):
    if isinstance(given, type) and issubclass(given, BaseException):
        return given
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple) and len(given) == 3:
        return exception_from(given)
    return BaseException(given)  # as gevent does with an object that is no exception


cdef void start_due(PyObject *obj) noexcept:
    cdef Greenlet self = <Greenlet>obj
    self.start_timer = NULL
    self.begin()


cdef bint forget_start_timer(PyObject *obj, greenlet current, greenlet heir) noexcept:
    (<Greenlet>obj).start_timer = NULL
    return True


cdef int call_spawn_callbacks(Greenlet self) except -1:
    for callback in list(on_spawn):
        callback(self)
    return 0


def run_links(Greenlet self not None):
    """Call the links one after the other; each may run any code."""
    cdef Links links = self.links
    self.notifying = False
    if links is None:
        return  # unlink_all() was called
    for key, _ in links.pairs():
        link = links.take(key) if self.links is links else None
        if link is None:
            continue  # unlinked meanwhile
        try:
            link(self)
        except BaseException as exc:
            self.hub.report((link, self), exc)


class SpawningFrame:
    """One frame of :attr:`Greenlet.spawning_stack`: its code and line, without its variables."""

    __slots__ = ("f_back", "f_code", "f_lineno")
    f_globals = f_locals = {}

    def __init__(self, code, line, back):
        self.f_code, self.f_lineno, self.f_back = code, line, back


@cython.final
@cython.no_gc  # code objects refer to no greenlet
@cython.freelist(256)
cdef class CallerStack:

    def __dealloc__(self):
        cdef int i
        for i in range(self.depth):
            Py_DECREF(<object>self.places[i].code)
        PyMem_Free(self.places)

    cdef object frames(self):
        cdef int i
        stack = None
        for i in reversed(range(self.depth)):
            line = PyCode_Addr2Line(self.places[i].code, self.places[i].instruction)
            stack = SpawningFrame(<object>self.places[i].code, line, stack)
        return stack


cdef CallerStack caller_stack(Py_ssize_t limit):
    cdef CallerStack stack = CallerStack.__new__(CallerStack)
    cdef PyFrameObject *frame = PyEval_GetFrame()
    cdef PyFrameObject *back
    cdef Place *places
    cdef Py_ssize_t room = min(limit, 16)
    stack.places = <Place *>PyMem_Malloc(room * sizeof(Place))
    if stack.places == NULL:
        raise MemoryError("no room for the stack of a greenlet's spawner")
    Py_XINCREF(<PyObject *>frame)
    while frame != NULL and stack.depth < limit:
        if stack.depth == room:
            room *= 2
            places = <Place *>PyMem_Realloc(stack.places, room * sizeof(Place))
            if places == NULL:
                break  # keep what there is room for
            stack.places = places
        stack.places[stack.depth].code = PyFrame_GetCode(frame)
        stack.places[stack.depth].instruction = PyFrame_GetLasti(frame)
        stack.depth += 1
        back = PyFrame_GetBack(frame)
        Py_DECREF(<object>frame)
        frame = back
    Py_XDECREF(<PyObject *>frame)
    return stack


def set_track_tree(value):
    """Set whether new greenlets know their spawner and share ``spawn_tree_locals``."""
    global track_tree
    track_tree = value


def set_stack_limit(value):
    """Set how many frames of their spawner's stack new greenlets keep."""
    global stack_limit
    stack_limit = value


def set_report_awaited(value):
    """Set whether an error is reported even if a greenlet waits for it in ``get()``."""
    global report_awaited
    report_awaited = value


def getcurrent():
    """Return the current greenlet."""
    return current_greenlet()


def kill_raw(greenlet target not None, exception):
    """Raise *exception* in a greenlet of this thread that is not a :class:`Greenlet`."""
    interrupt(get_hub(), target, exception)


cdef class RawGreenlet(Fiber):
    """A greenlet made by :func:`spawn_raw`: it only runs a function and has no value or links."""

    cdef object target, args, kwargs
    cdef readonly object spawning_greenlet
    cdef object tree_locals

    def __init__(self, function, args, kwargs):
        cdef greenlet current
        if not callable(function):
            raise TypeError(f"a greenlet cannot run {function!r}: it is not callable")
        if track_tree:
            current = current_greenlet()
            self.spawning_greenlet = weak_ref(current)
            self.tree_locals = locals_of_tree(current)
        self.hub = get_hub()
        PyGreenlet_SetParent(self, self.hub)
        self.target, self.args, self.kwargs = function, args, kwargs
        inherit_all(self)

    @property
    def spawn_tree_locals(self):
        """A dict that all greenlets of a spawn tree share: see :attr:`Greenlet.spawn_tree_locals`.

        None if ``track_greenlet_tree`` is off.
        """
        if self.tree_locals is None and self.spawning_greenlet is not None:
            self.tree_locals = {}
        return self.tree_locals

    @property
    def loop(self):
        """The loop of the greenlet's hub."""
        return self.hub.loop

    @cython.nonecheck(True)
    def run(self, *ignored):
        function, args, kwargs = self.target, self.args, self.kwargs
        self.target = self.args = self.kwargs = self.hub.starting = None
        if self.tracing is not None:
            begin_inherited_tracing(self)
        return function(*args, **kwargs)


def spawn_raw(function, *args, **kwargs):
    """Run ``function(*args, **kwargs)`` in a bare greenlet and return the greenlet.

    That costs less than :func:`treadle.spawn`. The greenlet has no result and cannot be joined or
    linked to; its errors go to the hub's ``handle_error``.
    """
    cdef RawGreenlet new = RawGreenlet(function, args, kwargs)
    schedule_start(new.hub, new)
    return new


def all_greenlets():
    """Return all greenlets of the process that the garbage collector knows."""
    # In C, so that no other thread runs meanwhile. One that makes a tuple from an iterator fails
    # with SystemError while a list of all objects also refers to the tuple.
    cdef list objects = gc.get_objects(), found = []
    cdef object each
    for each in objects:
        if isinstance(each, greenlet):
            found.append(each)
    return found
