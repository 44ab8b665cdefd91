# cython: binding=False
"""What patching puts where the interpreter has built-in functions.

They are built-in functions as well: a class that keeps one (``sleep = time.sleep``) does not make a
method of it. :func:`builtin` gives a function of Python's that property.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds
from treadle._core.greenlet_api cimport PyGreenlet_Import
from treadle._core.hub cimport (
    ON_SLEEP,
    ON_YIELD,
    Wait,
    current_greenlet,
    get_hub,
    new_hub_wait,
    park,
    unpark,
)

from typing import SupportsFloat, SupportsIndex

PyGreenlet_Import()

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef extern from "threads.h":
    void treadle_report_thread(object function)

cdef extern from "Python.h":
    void PyErr_SetObject(object type, object value)
    void PyErr_WriteUnraisable(PyObject *context)

cdef object NUMBER = (SupportsFloat, SupportsIndex)
# More does not fit into the platform's time.
cdef double LONGEST_SLEEP = 9223372036


class builtin(staticmethod):
    """A function that classes do not bind, as they do not bind the interpreter's built-in ones.

    ``class Clock: sleep = time.sleep`` is common, and works with the built-in function.
    """

    def __reduce__(self):
        return self.__name__  # pickled by name, as functions are

    def __repr__(self):
        return f"<function {self.__module__}.{self.__name__}>"


def get_ident(gr=None):
    """A number that no other living greenlet or thread has: the current one's, or that of *gr*.

    A thread's main greenlet has the number the thread has in the operating system.
    """
    if gr is None:
        gr = current_greenlet()
    return PyThread_get_thread_ident() if gr.parent is None else id(gr)


def sleep(seconds, /):
    """Let other greenlets run for *seconds*: :func:`time.sleep`, with its errors.

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
    if duration < 0:
        raise ValueError("sleep length must be non-negative")
    if duration > LONGEST_SLEEP:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    ns = nanoseconds(duration)
    wait = new_hub_wait(ON_SLEEP if ns > 0 else ON_YIELD, None)
    if ns == 0:
        unpark(wait)
        ns = -1
    park(wait, ns)


def getnameinfo(sockaddr, flags, /):
    """:func:`socket.getnameinfo`, by the hub's resolver."""
    # Refused here, where no frame of Python keeps it in the traceback.
    if not isinstance(sockaddr, tuple):
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    return (<object>get_hub()).resolver.getnameinfo(sockaddr, flags)


def report_thread(function, exc):
    """Hand what *function*, a thread's, raised to :func:`sys.unraisablehook`."""
    PyErr_SetObject(type(exc), exc)
    treadle_report_thread(function)


def report_ignored(exc):
    """Hand an exception that nobody can take to :func:`sys.unraisablehook`, without a context."""
    PyErr_SetObject(type(exc), exc)
    PyErr_WriteUnraisable(NULL)
