from cpython.object cimport PyObject

from treadle._core.collector cimport Collector
from treadle._core.hub cimport Fiber
from treadle._core.links cimport Links
from treadle._core.timers cimport treadle_timer
from treadle._core.wait_queue cimport WaitQueue


cdef extern from "Python.h":
    ctypedef struct PyCodeObject:
        pass

cdef struct Place:
    PyCodeObject *code
    int instruction


cdef enum Life:
    FRESH        # not started, or started and not yet begun
    RUNNING
    FINISHED     # returned, or ended by GreenletExit, or killed before it began
    FAILED


# How many task groups adopt the greenlets that are started inside them.
cdef Py_ssize_t adopting_groups


cdef class CallerStack:
    """The stack of a greenlet's spawner, innermost frame first; frames() computes the lines."""
    cdef Place *places
    cdef int depth

    cdef object frames(self)

cdef CallerStack caller_stack(Py_ssize_t limit)

cpdef object new_greenlet(cls, tuple args, dict kwargs)


cdef class Failure:
    """The exception with which a greenlet failed, and its traceback at that time."""
    cdef object exception
    cdef object traceback
    cdef bint is_of_group            # a task group raises it

    cdef object restored(self)


cdef class Greenlet(Fiber):
    cdef object target               # the function to call, unless a subclass defines _run
    cdef readonly object args
    cdef object keywords             # the keyword arguments; None if there are none
    cdef object result               # the value; a Failure if it failed
    cdef WaitQueue joiners           # the waits for its end; None if there were never any
    cdef Collector collector         # the first that was linked: a group's members, mostly
    cdef Links links                 # other Collectors, and callbacks; None if there were never any
    cdef unsigned char life          # a Life, in one byte: it adds to the size of every greenlet
    cdef unsigned char notifying     # run_links() is queued
    cdef unsigned char urgent        # a killer waits for its end, and runs at once then
    cdef readonly bint observed      # the exception was read or raised: some code knows of it
    cdef treadle_timer *start_timer
    cdef object spawner              # a weak reference
    cdef object stack                # a CallerStack, or None if none is kept
    cdef object tree_locals
    cdef CallerStack spawned_at      # where a task group has spawned or adopted it, or None

    cdef int prepare(self, run, tuple args, dict keywords) except -1
    cdef int inherit(self) except -1
    cdef int begin(self) except -1
    cdef PyObject *call(self) noexcept
    cdef int finish_by_error(self) except -1
    cdef void cancel_start(self) noexcept
    cdef int finish(self, object result) except -1
    cdef int fail(self, object exc) except -1
    cdef int end(self, Life life, object result) except -1
    cdef object group(self)
    cdef bint is_awaited(self) noexcept
    cdef int observe(self) except -1
    cdef int settle_before_start(self, object exception) except -1
    cdef int add_link(self, object link) except -1
    cdef int notify(self) except -1
    cdef bint wait_for_end(self, object timeout, object purpose=*) except -1
