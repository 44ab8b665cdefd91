"""A deadline on a block of code: an exception that its timer raises in the greenlet that set it."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds, time_in
from treadle._core.delivery cimport interrupt, withdraw
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport cancel_timer, current_greenlet, get_hub, run_callback, set_timer
from treadle._core.methods cimport foreign, is_a
from treadle._core.thread_hub cimport abandon_timers
from treadle._core.timers cimport treadle_timer

PyGreenlet_Import()

public_class = None


cdef object timeout_error(object timeout):
    if isinstance(timeout, Timeout):
        return (<Timeout>timeout).to_raise()
    return public_class(timeout)


cdef class Timeout(BaseException):
    """Timeout(seconds=None, exception=None, ref=True, priority=-1)\n--\n
    The compiled part of :class:`treadle.timeout.Timeout`.
    """


    def __init__(self, seconds=None, exception=None, ref=True, priority=-1):
        self.seconds = seconds
        self.exception = exception
        self.counts = ref

    @property
    def pending(self):
        """Whether the timeout is started and neither expired nor cancelled."""
        return self.timer != NULL or self.is_held()

    cdef bint is_held(self) noexcept:
        return self.held is not None and not self.held.is_over

    @cython.binding(True)
    def start(self):
        """Start the timer for the current greenlet.

        Does nothing if ``seconds`` is None. Raises AssertionError if it is started already,
        TypeError if ``seconds`` is not a number.
        """
        if not is_a(self, Timeout):
            raise foreign(self, "Timeout")
        cdef int64_t ns
        if self.timer != NULL or self.is_held():
            raise AssertionError(f"{self!r} is already started; cancel() it before starting again")
        ns = nanoseconds(self.seconds)
        if ns < 0:
            return
        self.hub = get_hub()
        if self.hub.stand_in is not None:
            self.hub.stand_in.update_now()
        self.start_after(ns)

    @classmethod
    def start_new(cls, timeout=None, exception=None, ref=True, _one_shot=False):
        """Return a started timeout.

        *timeout* is a number of seconds, None, or a Timeout. A Timeout is started, if it is not
        pending, and returned itself.
        """
        if isinstance(timeout, Timeout):
            if not timeout.pending:
                timeout.start()
            return timeout
        new = cls(timeout, exception, ref)
        new.start()
        return new

    @cython.binding(True)
    def cancel(self):
        """Stop the timer; it may be started again. Does nothing if it is not pending."""
        if not is_a(self, Timeout):
            raise foreign(self, "Timeout")
        cdef treadle_timer *timer = self.timer
        if timer != NULL:
            self.disarm()
            cancel_timer(self.hub, timer)
            self.target = None
        if self.held is not None:
            withdraw(self.held)
            self.held = None

    def close(self):
        """Cancel the timeout, as :meth:`cancel` does."""
        self.cancel()

    cdef int start_after(self, int64_t ns) except -1:
        self.hub = get_hub()
        self.target = current_greenlet()
        self.number = self.hub.scopes
        self.timer = set_timer(self.hub, time_in(ns), self, timeout_expired)
        if not self.counts:
            self.hub.unref_timers += 1
        return 0

    cdef void disarm(self) noexcept:
        self.timer = NULL
        if not self.counts:
            self.hub.unref_timers -= 1

    cdef void expire(self) noexcept:
        target, self.target = self.target, None
        try:
            if type(self)._on_expiration is Timeout._on_expiration:
                self.held = interrupt(self.hub, target, self.to_raise(), self.number)
            else:
                run_callback(self.hub, self._on_expiration, (target, self.to_raise()))
        except RuntimeError:
            pass  # the hub was closed: its greenlets never run again

    cdef object to_raise(self):
        if self.exception is None or self.exception is False or isinstance(self.exception, str):
            return self
        if isinstance(self.exception, BaseException) or (
                isinstance(self.exception, type) and issubclass(self.exception, BaseException)):
            return self.exception
        return TypeError(
            f"exceptions must be classes or instances of BaseException, not {self.exception!r}")

    def _on_expiration(self, prev_greenlet, ex):
        """Raise *ex* in *prev_greenlet*. The hub calls this only if a subclass overrides it."""
        if self.hub is None:
            raise RuntimeError(f"{self!r} has not begun")
        self.held = interrupt(self.hub, prev_greenlet, ex, self.number)

    def __enter__(self):
        if not self.pending:
            self.start()
        return self

    def __exit__(self, typ, value, tb):
        self.cancel()
        return value is self and self.exception is False

    def __repr__(self):
        name = type(self).__name__
        pending = " pending" if self.pending else ""
        exception = "" if self.exception is None else f" exception={self.exception!r}"
        return f"<{name} at {id(self):#x} seconds={self.seconds}{exception}{pending}>"

    def __str__(self):
        if self.seconds is None:
            return ""
        plural = "" if self.seconds == 1 else "s"
        if self.exception is None:
            return f"{self.seconds} second{plural}"
        if self.exception is False:
            return f"{self.seconds} second{plural} (silent)"
        return f"{self.seconds} second{plural}: {self.exception}"


cdef bint forget_timeout(PyObject *obj, greenlet current, greenlet heir) noexcept:
    cdef Timeout self = <Timeout>obj
    if self.target is current or self.target is heir:
        return False
    self.disarm()
    return True


abandon_timers(timeout_expired, forget_timeout)


cdef void timeout_expired(PyObject *obj) noexcept:
    cdef Timeout timeout = <Timeout>obj
    timeout.disarm()
    timeout.expire()
