"""Waiting for a value that a callback or another thread hands over."""

from treadle._core.clock cimport nanoseconds, now
from treadle._core.greenlet_api cimport PyGreenlet_Import
from treadle._core.hub cimport ON_WAIT, Hub, Wait, get_hub, new_hub_wait, new_wait, park, unpark, unpark_with

from treadle.exceptions import ConcurrentObjectUseError

PyGreenlet_Import()

cdef object UNSET = object()


cdef object exception_from(tuple args):
    """Return the exception that the arguments of a ``throw()`` describe."""
    kind, value, tb = args + (None,) * (3 - len(args))
    if isinstance(value, BaseException):
        exc = value
    elif isinstance(kind, BaseException):
        exc = kind
    else:
        exc = kind() if value is None else kind(value)
    if not isinstance(exc, BaseException):
        raise TypeError(f"exceptions must derive from BaseException, not {exc!r}")
    return exc if tb is None else exc.with_traceback(tb)


cdef class Waiter:
    """Waiter(hub=None)\n--\n
    Hands one value, or one exception, to the one greenlet that calls :meth:`get`.

    What comes before a greenlet waits is kept. Any greenlet, callback or thread may call
    :meth:`switch` and :meth:`throw`; the waiting greenlet runs soon afterwards.
    """

    cdef readonly Hub hub
    cdef readonly object value
    cdef object failure  # UNSET: nothing came yet; None: a value came; else the args of throw()
    cdef Wait wait

    def __init__(self, hub=None):
        self.hub = get_hub() if hub is None else hub
        self.failure = UNSET

    @property
    def greenlet(self):
        """The greenlet that waits; None if none does."""
        return None if self.wait is None else self.wait.waiter

    def clear(self):
        """Forget the value or exception that came, and the greenlet that waits."""
        self.wait = None
        self.value = None
        self.failure = UNSET

    def ready(self):
        """Return whether a value or an exception came before a greenlet waited for it."""
        return self.failure is not UNSET

    def successful(self):
        """Return whether a value came before a greenlet waited for it."""
        return self.failure is None

    @property
    def exc_info(self):
        """The arguments :meth:`throw` was called with, or None."""
        return None if self.failure is UNSET else self.failure

    def switch(self, value):
        """Hand *value* to the greenlet that waits, or keep it for the next :meth:`get`."""
        cdef Wait wait = self.wait
        self.wait = None
        if wait is not None:
            wait.value = value
            wait.granted = unpark(wait)
            if wait.granted:
                return
        self.value = value
        self.failure = None

    def switch_args(self, *args):
        """Hand a tuple of all arguments to the greenlet that waits, as :meth:`switch` does."""
        return self.switch(args)

    def throw(self, *throw_args):
        """Raise an exception in the greenlet that waits, or keep it for the next :meth:`get`."""
        cdef Wait wait
        exc = exception_from(throw_args)  # it may raise, and the greenlet then waits on
        wait, self.wait = self.wait, None
        if wait is None or not unpark_with(wait, exc):
            self.failure = throw_args

    def get(self):
        """Return the value or raise the exception, waiting for it if it has not come yet.

        Raises ConcurrentObjectUseError if another greenlet waits already.
        """
        cdef Wait wait
        if self.failure is None:
            return self.value
        if self.failure is not UNSET:
            raise exception_from(self.failure)
        if self.wait is not None:
            raise ConcurrentObjectUseError(
                f"{self!r} is already waited for by {self.wait.waiter!r}")
        wait = self.wait = new_hub_wait(ON_WAIT, self)
        try:
            park(wait, -1)
        except:
            if wait.granted and self.failure is UNSET:  # keep the value that this greenlet leaves
                self.value, self.failure = wait.value, None
            raise
        finally:
            if self.wait is wait:
                self.wait = None
        return wait.value

    def __call__(self, source):
        """Take over the result of *source*, which has ``value`` and ``exception``."""
        if source.exception is None:
            self.switch(source.value)
        else:
            self.throw(source.exception)

    def __str__(self):
        # Not __repr__: a greenlet's repr shows its function, which may be a method of this object.
        text = f"<{type(self).__name__} greenlet={self.greenlet!r}"
        if self.failure is None:
            text += f" value={self.value!r}"
        elif self.failure is not UNSET:
            text += f" exc_info={self.failure!r}"
        return text + ">"
