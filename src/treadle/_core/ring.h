/* The ready ring: a growable circular buffer of what runs next.
 *
 * Each entry owns one reference.  Nothing here runs Python, except that ring_reserve may raise
 * MemoryError.  Only the thread of the hub that owns a ring touches it. */
#ifndef TREADLE_RING_H
#define TREADLE_RING_H

#include <Python.h>
#include <stdint.h>

typedef struct {
    PyObject *obj;
    int kind;
} treadle_entry;

typedef struct {
    treadle_entry *entries;
    size_t mask;  /* capacity - 1; the capacity is a power of two */
    size_t head;
    size_t count;
    uint64_t popped;  /* how many entries were taken so far */
    uint64_t fronts;  /* how many were put before all others */
} treadle_ring;

/* Rings above this capacity are made smaller when a burst is over. */
#define TREADLE_RING_KEPT 1024

static inline int ring_resize(treadle_ring *ring, size_t capacity)
{
    treadle_entry *grown = PyMem_RawMalloc(capacity * sizeof(treadle_entry));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < ring->count; i++)
        grown[i] = ring->entries[(ring->head + i) & ring->mask];
    PyMem_RawFree(ring->entries);
    ring->entries = grown;
    ring->mask = capacity - 1;
    ring->head = 0;
    return 0;
}

static inline int ring_reserve(treadle_ring *ring)
{
    return ring_resize(ring, ring->entries ? (ring->mask + 1) * 2 : 64);
}

/* Make the ring smaller if less than an eighth of it is used. To be called now and then. */
static inline void ring_trim(treadle_ring *ring)
{
    if (ring->mask >= TREADLE_RING_KEPT && ring->count < (ring->mask + 1) / 8
        && ring_resize(ring, (ring->mask + 1) / 4) < 0)
        PyErr_Clear();  /* the ring stays as it is */
}

static inline int ring_push(treadle_ring *ring, PyObject *obj, int kind)
{
    if ((ring->entries == NULL || ring->count > ring->mask) && ring_reserve(ring) < 0)
        return -1;
    treadle_entry *entry = &ring->entries[(ring->head + ring->count++) & ring->mask];
    entry->obj = Py_NewRef(obj);
    entry->kind = kind;
    return 0;
}

static inline int ring_push_front(treadle_ring *ring, PyObject *obj, int kind)
{
    if ((ring->entries == NULL || ring->count > ring->mask) && ring_reserve(ring) < 0)
        return -1;
    ring->head = (ring->head - 1) & ring->mask;
    ring->count++;
    ring->fronts++;
    ring->entries[ring->head].obj = Py_NewRef(obj);
    ring->entries[ring->head].kind = kind;
    return 0;
}

static inline int ring_head_kind(treadle_ring *ring)
{
    return ring->entries[ring->head].kind;
}

static inline treadle_entry *ring_at(treadle_ring *ring, size_t index)
{
    return &ring->entries[(ring->head + index) & ring->mask];
}

/* Move an entry to the head of the ring; those before it keep their order. */
static inline void ring_promote(treadle_ring *ring, size_t index)
{
    treadle_entry promoted = *ring_at(ring, index);
    for (; index > 0; index--)
        *ring_at(ring, index) = *ring_at(ring, index - 1);
    *ring_at(ring, 0) = promoted;
}

/* The caller takes over the entry's reference. */
static inline PyObject *ring_pop(treadle_ring *ring)
{
    PyObject *obj = ring->entries[ring->head].obj;
    ring->head = (ring->head + 1) & ring->mask;
    ring->count--;
    ring->popped++;
    return obj;
}

static inline void ring_free(treadle_ring *ring)
{
    PyMem_RawFree(ring->entries);
    memset(ring, 0, sizeof *ring);
}

#endif
