"""Event, a flag, and AsyncResult, a result: greenlets and threads wait for them."""

from types import GenericAlias

from treadle._core.sleep import sleep

from treadle._core.greenlet_api cimport PyGreenlet_Import
from treadle._core.hub cimport ON_EVENT, ON_RESULT, Hub, current_greenlet, get_hub_if_exists
from treadle._core.linkable cimport Linkable
from treadle._core.probe cimport Preemption, add_preemption, operation
from treadle._core.timeout cimport timeout_error


PyGreenlet_Import()

cdef Preemption PREEMPTION
add_preemption(&PREEMPTION)


cdef class Event(Linkable):
    """Event()\n--\n
    The compiled part of :class:`treadle.event.Event`.
    """

    def __init__(self):
        pass  # takes no arguments

    cdef bint is_ready(self) noexcept:
        return self.flag

    def is_set(self):
        """Return whether the flag is set."""
        return self.flag

    isSet = is_set
    ready = is_set

    def set(self):
        """Set the flag and wake all waiters."""
        operation(&PREEMPTION)
        self.raise_flag()

    cdef int raise_flag(self) except -1:
        cdef Hub hub
        self.flag = True
        if self.waiters.count:
            hub = get_hub_if_exists()
            if hub is not None:
                self.waker, self.woken_in = <void *>hub, hub.turns
        self.grant_all(self.waiters)
        return self.call_links()

    def clear(self):
        """Clear the flag."""
        operation(&PREEMPTION)
        self.flag = False

    def wait(self, timeout=None):
        """Wait until the flag is set, at most *timeout* seconds (None: no limit).

        Return whether the flag was set. If it is set already, return at once, except that greenlets
        that :meth:`set` woke in the same turn run first, as with gevent: a loop that calls both
        methods lets other greenlets run.
        """
        operation(&PREEMPTION)
        if not self.flag:
            return self.wait_in(self.waiters, ON_EVENT, timeout)
        if self.waker != NULL and timeout != 0 and self.woke_others_just_now():
            sleep(0)
        return True

    cdef bint woke_others_just_now(self):
        """Return whether greenlets that set() woke last have yet to run in this thread's hub."""
        cdef Hub hub = get_hub_if_exists()
        if hub is None or <void *>hub != self.waker or hub.turns != self.woken_in:
            self.waker = NULL
            return False
        return current_greenlet() is not hub

    def _reset_internal_locks(self):
        """Do nothing: threading calls this in a forked child, but there is nothing to reset."""

    _at_fork_reinit = _reset_internal_locks

    def __repr__(self):
        state = "set" if self.flag else "clear"
        return f"<{type(self).__name__} at {id(self):#x} {state} waiting={self.waiters.count}>"


cdef class AsyncResult(Linkable):
    """AsyncResult()\n--\n
    The compiled part of :class:`treadle.event.AsyncResult`.
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self):
        pass  # takes no arguments

    cdef bint is_ready(self) noexcept:
        return self.outcome != UNSET

    cdef int settle(self, Outcome outcome, object value) except -1:
        self.outcome = outcome
        self.result_or_error = value
        self.grant_all(self.waiters)
        return self.call_links()

    def ready(self):
        """Return whether there is a value or an exception."""
        return self.outcome != UNSET

    done = ready

    def successful(self):
        """Return whether there is a value."""
        return self.outcome == VALUE

    def set(self, value=None):
        """Store *value* and wake all waiters."""
        operation(&PREEMPTION)
        self.settle(VALUE, value)

    set_result = set

    def set_exception(self, exception, exc_info=None):
        """Store an exception, which :meth:`get` raises in all waiters.

        *exc_info*, a triple like that of ``sys.exc_info()``, gives the exception and its traceback
        instead. Raises TypeError if there is no exception in the arguments.
        """
        operation(&PREEMPTION)
        if exc_info and exc_info[1] is not None:
            exception = exc_info[1].with_traceback(exc_info[2])
        elif isinstance(exception, type):
            exception = exception()
        if not isinstance(exception, BaseException):
            raise TypeError(f"set_exception() needs an exception, not {exception!r}")
        self.error_traceback = exception.__traceback__
        self.settle(ERROR, exception)

    @property
    def value(self):
        """The value; None if there is none (yet)."""
        return self.result_or_error if self.outcome == VALUE else None

    @property
    def exception(self):
        """The exception; None if there is none (yet)."""
        return self.result_or_error if self.outcome == ERROR else None

    @property
    def exc_info(self):
        """Type, value and traceback of the exception; ``()`` if there is none."""
        if self.outcome != ERROR:
            return ()
        error = self.result_or_error
        return type(error), error, error.__traceback__

    def get(self, block=True, timeout=None):
        """Return the value or raise the exception, waiting for it if *block* is true.

        Raises :class:`~treadle.Timeout` after *timeout* seconds (None: no limit), or at once if
        *block* is false.
        """
        operation(&PREEMPTION)
        if self.outcome == UNSET:
            if not block or not self.wait_in(self.waiters, ON_RESULT, timeout):
                raise timeout_error(timeout if block else None)
        if self.outcome == ERROR:
            # With the traceback that it was set with, so that it does not collect the tracebacks
            # of all callers.
            raise self.result_or_error.with_traceback(self.error_traceback)
        return self.result_or_error

    def result(self, timeout=None):
        """Wait for the value and return it, or raise the exception.

        Raises Timeout after *timeout* seconds (None: no limit). concurrent.futures has this name
        for :meth:`get`.
        """
        return self.get(True, timeout)

    def get_nowait(self):
        """Return the value or raise the exception; raise Timeout if there is neither yet."""
        return self.get(False)

    def wait(self, timeout=None):
        """Wait until there is a value or an exception, at most *timeout* seconds (None: no limit).

        Return the value, or None if there is none.
        """
        operation(&PREEMPTION)
        if self.outcome == UNSET:
            self.wait_in(self.waiters, ON_RESULT, timeout)
        return self.value

    def __call__(self, source):
        """Take over the outcome of *source*, which calls this as a link when it has ended."""
        if source.successful():
            self.set(source.value)
        else:
            self.set_exception(source.exception, getattr(source, "exc_info", None))

    def cancel(self):
        """Return False: the computation continues. For gevent and concurrent.futures."""
        return False

    def cancelled(self):
        """Return False: a result is never cancelled."""
        return False

    def __repr__(self):
        state = "unset"
        if self.outcome == VALUE:
            state = f"value={self.result_or_error!r}"
        elif self.outcome == ERROR:
            state = f"exception={self.result_or_error!r}"
        return f"<{type(self).__name__} at {id(self):#x} {state} waiting={self.waiters.count}>"
