"""Functions that patching puts in the place of the interpreter's built-in ones.

They are built-in functions as well, so a class that stores one (``sleep = time.sleep``) does not
make it a method. :class:`builtin` gives that property to a function written in Python.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from treadle._core.clock cimport check_range, nanoseconds
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport (
    ON_SLEEP,
    ON_YIELD,
    Fiber,
    Hub,
    Wait,
    current_greenlet,
    get_hub,
    get_hub_if_exists,
    new_hub_wait,
    park,
    unpark,
)
from treadle._core.threads cimport (
    PyThread_get_thread_ident,
    treadle_report_shutdown,
    treadle_report_thread,
)

from importlib import import_module
from typing import SupportsFloat, SupportsIndex

PyGreenlet_Import()

cdef extern from "Python.h":
    void PyErr_SetObject(object type, object value)

cdef object NUMBER = (SupportsFloat, SupportsIndex)


class _Module:
    """Is pickled so that the module of this name comes out of the pickle."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return import_module, (self.name,)


class builtin(staticmethod):
    """A function that classes do not bind, like the interpreter's built-in functions.

    ``class Clock: sleep = time.sleep`` is common, and works with the built-in function.
    """

    #: The standard module that has the function, once patching has put it there.
    home = None

    def __reduce__(self):
        if self.home is None:
            return self.__name__  # pickled by name, as functions are
        return getattr, (_Module(self.home), self.__name__)

    def __repr__(self):
        return f"<function {self.__module__}.{self.__name__}>"


cdef greenlet represented_by(greenlet g):
    """Return the principal if *g* runs a signal handler, or forks on its behalf (``Hub.host``), else *g*."""
    cdef Hub hub = get_hub_if_exists()
    if isinstance(g, Fiber) and (<Fiber>g).for_principal:
        return (<Fiber>g).hub.principal
    return g if hub is None or hub.host is not g else hub.principal


def caller():
    """Return the current greenlet, or the principal if the current one acts for that."""
    return represented_by(current_greenlet())


def get_ident(gr=None):
    """Return the number of *gr*, or of the current greenlet if it is None.

    No other living greenlet or thread has that number. A thread's root greenlet has the number that
    the unpatched function returns for the thread. A signal handler has the number of the greenlet
    for which it runs.
    """
    gr = represented_by(current_greenlet() if gr is None else gr)
    if isinstance(gr, Fiber) and (<Fiber>gr).stands_for_main:
        return PyThread_get_thread_ident()
    return PyThread_get_thread_ident() if gr.parent is None else id(gr)


def sleep(seconds, /):
    """Suspend the current greenlet for *seconds*: :func:`time.sleep`, with its errors.

    Raises TypeError for what is not a number, ValueError for negative numbers and NaN,
    OverflowError for more than the platform's time can hold.
    """
    cdef double duration
    cdef int64_t ns
    cdef Wait wait
    if type(seconds) is not float and not isinstance(seconds, NUMBER):
        kind = type(seconds).__name__
        raise TypeError(f"'{kind}' object cannot be interpreted as an integer")
    duration = float(seconds)
    if duration != duration:
        raise ValueError("Invalid value NaN (not a number)")
    check_range(duration)
    if duration < 0:
        raise ValueError("sleep length must be non-negative")
    ns = nanoseconds(duration)
    wait = new_hub_wait(ON_SLEEP if ns > 0 else ON_YIELD, None)
    if ns == 0:
        unpark(wait)
        ns = -1
    park(wait, ns)


def getnameinfo(sockaddr, flags, /):
    """Return what :func:`socket.getnameinfo` does, through the hub's resolver."""
    # Raised here, where no Python frame in the traceback keeps `sockaddr` alive.
    if not isinstance(sockaddr, tuple):
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    return (<object>get_hub()).resolver.getnameinfo(sockaddr, flags)


def report_thread(function, exc):
    """Pass *exc*, which a thread's *function* raised, to :func:`sys.unraisablehook`."""
    PyErr_SetObject(type(exc), exc)
    treadle_report_thread(function)


def report_shutdown(exc):
    """Pass *exc*, which ended the wait for all threads, to :func:`sys.unraisablehook`."""
    PyErr_SetObject(type(exc), exc)
    treadle_report_shutdown()
