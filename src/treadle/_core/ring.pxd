# ring.h: a queue of entries in memory of its own.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cdef extern from "ring.h":
    ctypedef struct treadle_entry:
        PyObject *obj
        int kind
    ctypedef struct treadle_ring:
        size_t count
        uint64_t popped
        uint64_t fronts
    int ring_push(treadle_ring *ring, object obj, int kind) except -1
    int ring_push_front(treadle_ring *ring, object obj, int kind) except -1
    int ring_head_kind(treadle_ring *ring)
    PyObject *ring_pop(treadle_ring *ring)
    treadle_entry *ring_at(treadle_ring *ring, size_t index)
    void ring_promote(treadle_ring *ring, size_t index)
    void ring_trim(treadle_ring *ring)
    void ring_free(treadle_ring *ring)
