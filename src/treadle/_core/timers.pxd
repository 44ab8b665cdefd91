# timers.h: a heap of deadlines, in nanoseconds of the loop's clock.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

cdef extern from "timers.h":
    ctypedef void (*treadle_fire)(PyObject *obj)
    ctypedef struct treadle_timer:
        PyObject *obj
        treadle_fire fire
    ctypedef struct treadle_timers:
        size_t count
    treadle_timer *timers_add(
        treadle_timers *timers, int64_t deadline, object obj, treadle_fire fire
    ) except NULL
    PyObject *timers_cancel(treadle_timers *timers, treadle_timer *timer)
    int64_t timers_next(treadle_timers *timers)
    PyObject *timers_pop_due(treadle_timers *timers, int64_t now, treadle_fire *fire)
    treadle_timer *timers_node(treadle_timers *timers, size_t index)
    PyObject *timers_drop(treadle_timers *timers, treadle_timer *timer)
    void timers_sweep(treadle_timers *timers)
    size_t timers_ties(treadle_timers *timers)
    int timers_promote(treadle_timers *timers, size_t index) except -1
    PyObject *timers_at(const treadle_timers *timers, size_t index, uint64_t *order)
    void timers_shift(treadle_timers *timers, int64_t by)
    size_t timers_live(const treadle_timers *timers)
    void timers_free(treadle_timers *timers)
