/* Deadlines: a 4-ary heap ordered by (deadline, order of setting).
 *
 * Almost every timer is cancelled before it is due, so cancelling must be cheap with a million
 * outstanding: it only drops the node's payload, and the entry is swept when it surfaces or when
 * dead entries outnumber live ones.  A node belongs to the heap until its timer fires or is
 * cancelled; the code that set the timer must forget the pointer to the node then.
 *
 * Nothing here runs Python; only the thread of the owning hub (with the GIL) touches a heap. */
#ifndef TREADLE_TIMERS_H
#define TREADLE_TIMERS_H

#include <Python.h>
#include <stdint.h>

/* Called when a timer is due, after its node was recycled.  C only: it may push to the ring, never
 * switch. */
typedef void (*treadle_fire)(PyObject *obj);

typedef struct treadle_timer {
    PyObject *obj;  /* owned; NULL once cancelled */
    union {
        treadle_fire fire;
        struct treadle_timer *next_free;
    };
} treadle_timer;

typedef struct {
    int64_t deadline;
    uint64_t order;
    treadle_timer *timer;
} treadle_deadline;

typedef struct {
    treadle_deadline *heap;
    size_t count, capacity, dead;
    uint64_t order;
    treadle_timer *free;
} treadle_timers;

/* Below this many dead entries a sweep is not worth its pass over the heap. */
#define TREADLE_SWEEP_MIN 64

static inline int timers_before(const treadle_deadline *a, const treadle_deadline *b)
{
    return a->deadline < b->deadline || (a->deadline == b->deadline && a->order < b->order);
}

static inline void timers_sift_up(treadle_timers *timers, size_t i)
{
    treadle_deadline moved = timers->heap[i];
    while (i > 0) {
        size_t parent = (i - 1) / 4;
        if (!timers_before(&moved, &timers->heap[parent]))
            break;
        timers->heap[i] = timers->heap[parent];
        i = parent;
    }
    timers->heap[i] = moved;
}

static inline void timers_sift_down(treadle_timers *timers, size_t i)
{
    treadle_deadline moved = timers->heap[i];
    for (;;) {
        size_t child = 4 * i + 1, best = child;
        if (child >= timers->count)
            break;
        size_t end = child + 4 < timers->count ? child + 4 : timers->count;
        for (size_t c = child + 1; c < end; c++)
            if (timers_before(&timers->heap[c], &timers->heap[best]))
                best = c;
        if (!timers_before(&timers->heap[best], &moved))
            break;
        timers->heap[i] = timers->heap[best];
        i = best;
    }
    timers->heap[i] = moved;
}

static inline void timers_recycle(treadle_timers *timers, treadle_timer *timer)
{
    timer->next_free = timers->free;
    timers->free = timer;
}

/* Return the node, or NULL with MemoryError set. */
static inline treadle_timer *timers_add(treadle_timers *timers, int64_t deadline, PyObject *obj,
                                     treadle_fire fire)
{
    if (timers->count == timers->capacity) {
        size_t capacity = timers->capacity ? timers->capacity * 2 : 64;
        treadle_deadline *heap = PyMem_RawRealloc(timers->heap, capacity * sizeof *heap);
        if (heap == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        timers->heap = heap;
        timers->capacity = capacity;
    }
    treadle_timer *timer = timers->free;
    if (timer != NULL)
        timers->free = timer->next_free;
    else if ((timer = PyMem_RawMalloc(sizeof *timer)) == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    timer->obj = Py_NewRef(obj);
    timer->fire = fire;
    if (timers->order == 0)
        timers->order = 1ULL << 32;  /* timers_promote() goes below */
    timers->heap[timers->count] = (treadle_deadline){deadline, timers->order++, timer};
    timers_sift_up(timers, timers->count++);
    return timer;
}

static inline void timers_sweep(treadle_timers *timers)
{
    size_t kept = 0;
    for (size_t i = 0; i < timers->count; i++) {
        if (timers->heap[i].timer->obj != NULL)
            timers->heap[kept++] = timers->heap[i];
        else
            timers_recycle(timers, timers->heap[i].timer);
    }
    timers->count = kept;
    timers->dead = 0;
    for (size_t i = kept / 4 + 1; i-- > 0;)
        if (i < kept)
            timers_sift_down(timers, i);
}

/* Cancel a timer and return its payload, whose reference passes to the caller. The caller drops it
 * where finalizers may run. */
static inline PyObject *timers_cancel(treadle_timers *timers, treadle_timer *timer)
{
    PyObject *obj = timer->obj;
    if (timers->heap[timers->count - 1].timer == timer) {
        timers->count--;
        timers_recycle(timers, timer);
        return obj;
    }
    timer->obj = NULL;
    timers->dead++;
    if (timers->dead >= TREADLE_SWEEP_MIN && timers->dead > timers->count / 2)
        timers_sweep(timers);
    return obj;
}

static inline treadle_timer *timers_remove_first(treadle_timers *timers)
{
    treadle_timer *timer = timers->heap[0].timer;
    timers->heap[0] = timers->heap[--timers->count];
    if (timers->count > 0)
        timers_sift_down(timers, 0);
    return timer;
}

/* Return the earliest deadline, or -1 if no timer is set. */
static inline int64_t timers_next(treadle_timers *timers)
{
    while (timers->count > 0 && timers->heap[0].timer->obj == NULL) {
        timers->dead--;
        timers_recycle(timers, timers_remove_first(timers));
    }
    return timers->count > 0 ? timers->heap[0].deadline : -1;
}

/* Remove a timer that is due and return its payload, whose reference passes to the caller; NULL if
 * no timer is due. */
static inline PyObject *timers_pop_due(treadle_timers *timers, int64_t now, treadle_fire *fire)
{
    int64_t next = timers_next(timers);
    if (next < 0 || next > now)
        return NULL;
    treadle_timer *timer = timers_remove_first(timers);
    PyObject *obj = timer->obj;
    *fire = timer->fire;
    timers_recycle(timers, timer);
    return obj;
}

/* Return how many live timers have the earliest deadline. */
static inline size_t timers_ties(treadle_timers *timers)
{
    int64_t first = timers_next(timers);
    size_t ties = 0;
    for (size_t i = 0; i < timers->count; i++)
        ties += timers->heap[i].deadline == first && timers->heap[i].timer->obj != NULL;
    return ties;
}

/* Return the index-th smallest of some numbers, which this reorders. */
static inline uint64_t timers_select(uint64_t *numbers, size_t count, size_t index)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        uint64_t pivot = numbers[low + (high - low) / 2];
        size_t i = low, j = high;
        for (;;) {
            while (numbers[i] < pivot)
                i++;
            while (numbers[j] > pivot)
                j--;
            if (i >= j)
                break;
            uint64_t swapped = numbers[i];
            numbers[i++] = numbers[j];
            numbers[j--] = swapped;
        }
        if (index <= j)
            high = j;
        else
            low = j + 1;
    }
    return numbers[index];
}

/* Let the one of those ties that was set `index`-th be the next to fire. Return -1 with MemoryError
 * set if that fails. */
static inline int timers_promote(treadle_timers *timers, size_t index)
{
    int64_t first = timers_next(timers);
    uint64_t first_order = timers->heap[0].order, chosen;
    size_t ties = 0;
    if (index == 0)
        return 0;
    uint64_t *orders = PyMem_RawMalloc(timers->count * sizeof *orders);
    if (orders == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < timers->count; i++)
        if (timers->heap[i].deadline == first && timers->heap[i].timer->obj != NULL)
            orders[ties++] = timers->heap[i].order;
    chosen = timers_select(orders, ties, index);
    PyMem_RawFree(orders);
    for (size_t i = 0; i < timers->count; i++)
        if (timers->heap[i].order == chosen && timers->heap[i].deadline == first) {
            timers->heap[i].order = first_order - 1;
            timers_sift_up(timers, i);
            break;
        }
    return 0;
}

/* Return the payload of an entry of the heap, and the number of its setting, which no other timer of
 * the heap has; NULL if it was cancelled. */
static inline PyObject *timers_at(const treadle_timers *timers, size_t index, uint64_t *order)
{
    *order = timers->heap[index].order;
    return timers->heap[index].timer->obj;
}

/* Move all deadlines by `by` nanoseconds, because the clock was set. Their order stays. */
static inline void timers_shift(treadle_timers *timers, int64_t by)
{
    for (size_t i = 0; i < timers->count; i++) {
        int64_t moved = timers->heap[i].deadline + by;
        timers->heap[i].deadline = moved > 0 ? moved : 0;
    }
}

/* Pass over all timers in any order. Return the one at `index`, or NULL at the end; `obj` is NULL if
 * it was cancelled. Meanwhile timers may be set, dropped here, but not be cancelled. */
static inline treadle_timer *timers_node(treadle_timers *timers, size_t index)
{
    return index < timers->count ? timers->heap[index].timer : NULL;
}

/* Cancel a timer during such a pass and return its payload, whose reference passes to the caller.
 * Call timers_sweep() after the pass. */
static inline PyObject *timers_drop(treadle_timers *timers, treadle_timer *timer)
{
    PyObject *obj = timer->obj;
    timer->obj = NULL;
    timers->dead++;
    return obj;
}

/* Drop all timers and free the heap. */
static inline void timers_free(treadle_timers *timers)
{
    for (size_t i = 0; i < timers->count; i++) {
        Py_XDECREF(timers->heap[i].timer->obj);
        PyMem_RawFree(timers->heap[i].timer);
    }
    for (treadle_timer *node = timers->free, *next; node != NULL; node = next) {
        next = node->next_free;
        PyMem_RawFree(node);
    }
    PyMem_RawFree(timers->heap);
    memset(timers, 0, sizeof *timers);
}

static inline size_t timers_live(const treadle_timers *timers)
{
    return timers->count - timers->dead;
}

#endif
