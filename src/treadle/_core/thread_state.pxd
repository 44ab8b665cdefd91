# thread_state.h: what CPython keeps in the thread and treadle in the greenlet.

from cpython.object cimport PyObject

cdef extern from "thread_state.h" nogil:
    ctypedef struct treadle_kept:
        PyObject *trace_arg
        PyObject *profile_arg
        PyObject *first_iter
        PyObject *finalizer
    bint treadle_is_in_use(void *state) noexcept

cdef extern from "thread_state.h":
    bint treadle_is_traced() noexcept
    void treadle_put_aside(treadle_kept *kept) noexcept
    void treadle_bring_back(treadle_kept *kept) noexcept
    void treadle_clear_state() noexcept
    bint treadle_is_traced_by_tool() noexcept
    void treadle_copy_tracing(treadle_kept *kept, bint both) noexcept
    void treadle_set_tracing(treadle_kept *kept) noexcept
