"""What the interpreter keeps per thread is put aside while other greenlets run.

That is asyncio's running loop and task, and what thread_state.h lists. A wait that finds nothing of it
in use costs one branch; else park() calls park_with_state().
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from treadle._core.hub cimport (
    Hub,
    StateFunctions,
    Wait,
    park,
    set_loops_run,
    set_state_functions,
)
from treadle._core.thread_state cimport (
    treadle_bring_back,
    treadle_copy_tracing,
    treadle_is_traced,
    treadle_is_traced_by_tool,
    treadle_kept,
    treadle_put_aside,
    treadle_set_tracing,
)

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF


@cython.final
cdef class Tracing:
    """Thread state of a greenlet, for another one: references of its own."""

    cdef treadle_kept kept

    def __dealloc__(self):
        Py_XDECREF(<PyObject *>self.kept.trace_arg)
        Py_XDECREF(<PyObject *>self.kept.profile_arg)
        Py_XDECREF(<PyObject *>self.kept.first_iter)
        Py_XDECREF(<PyObject *>self.kept.finalizer)


cdef object tracing_here():
    return copy_tracing(True) if treadle_is_traced() else None


cdef object tracing_for_thread():
    return copy_tracing(False) if treadle_is_traced_by_tool() else None


cdef object copy_tracing(bint both):
    cdef Tracing tracing = Tracing.__new__(Tracing)
    treadle_copy_tracing(&tracing.kept, both)
    return tracing


cdef int begin_tracing(object tracing) except -1:
    treadle_set_tracing(&(<Tracing>tracing).kept)
    return 0


# Set while an asyncio loop runs in some greenlet. suspend_loop() clears and returns the thread's
# record of the running loop (None if there is none) before a greenlet waits; resume_loop() restores
# it afterwards.
cdef object suspend_loop = None
cdef object resume_loop = None


def guard_loops(suspend, resume):
    """Call ``suspend()`` before each wait and ``resume(value)`` after it, or stop that with None.

    *value* is what ``suspend()`` returned; ``resume`` is not called if that is None.
    """
    global suspend_loop, resume_loop
    suspend_loop, resume_loop = suspend, resume
    set_loops_run(suspend is not None)


# A call and a return, of no file. From them coverage learns that it is in another greenlet: it asks
# only then, and a wait is compiled.
cdef object resumed = eval(compile("lambda: None", "<a greenlet resumed>", "eval"))


cdef int park_with_state(Wait wait, int64_t timeout) except -1:
    cdef treadle_kept kept
    cdef bint is_principal = wait.waiter is wait.hub.principal
    wait.state_aside = True
    if is_principal:
        wait.hub.tracing = tracing_here()  # so are callbacks and signal handlers traced
    treadle_put_aside(&kept)
    loop, resume = None, resume_loop
    try:
        if suspend_loop is not None:
            loop = suspend_loop()
        return park(wait, timeout)
    finally:
        if loop is not None:
            resume(loop)
        if is_principal:
            wait.hub.tracing = None
        treadle_bring_back(&kept)
        if treadle_is_traced_by_tool():
            resumed()


cdef int keep_for_principal(Hub hub) except -1:
    cdef Tracing kept = Tracing.__new__(Tracing)
    treadle_put_aside(&kept.kept)
    hub.left_by_handler = kept
    return 0


cdef void bring_to_principal(Hub hub) noexcept:
    cdef Tracing kept = hub.left_by_handler
    hub.left_by_handler = None
    treadle_bring_back(&kept.kept)
    memset(&kept.kept, 0, sizeof(treadle_kept))  # the thread has the references now


cdef StateFunctions functions
functions.park, functions.keep, functions.bring = park_with_state, keep_for_principal, bring_to_principal
set_state_functions(functions)
