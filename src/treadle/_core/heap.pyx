"""A heap whose operations happen whole or not at all, whatever comparing two items does."""

from libc.stdint cimport uint64_t

cdef enum:
    DEPTH = 64    # of the largest heap that memory can hold
    CHANGED = 2   # an answer of less()


cdef int less(list heap, left, right, uint64_t *changes) except -1:
    """Return whether left < right, or CHANGED if the heap was changed meanwhile."""
    cdef uint64_t before = changes[0]
    cdef Py_ssize_t size = len(heap)
    cdef bint result = left < right
    return CHANGED if changes[0] != before or len(heap) != size else result


cdef int heap_push(list heap, item, uint64_t *changes) except -1:
    cdef Py_ssize_t place, i, parent
    cdef int answer = CHANGED
    while answer == CHANGED:
        place = len(heap)
        answer = True
        while place > 0 and answer == True:
            parent = (place - 1) // 2
            answer = less(heap, item, heap[parent], changes)
            if answer == True:
                place = parent
    i = len(heap)
    heap.append(item)
    while i > place:
        parent = (i - 1) // 2
        heap[i] = heap[parent]
        i = parent
    heap[place] = item
    changes[0] += 1
    return 0


cdef object heap_pop(list heap, uint64_t *changes):
    cdef Py_ssize_t[DEPTH] path
    cdef int i, depth = -1
    while depth < 0:
        if not heap:
            raise IndexError("pop from an empty heap")
        depth = find_path(heap, path, changes)
    first, last = heap[0], heap[len(heap) - 1]
    for i in range(depth):
        heap[path[i]] = heap[path[i + 1]]
    heap[path[depth]] = last
    heap.pop()
    changes[0] += 1
    return first


cdef int find_path(list heap, Py_ssize_t *path, uint64_t *changes) except -2:
    """Find the items that move up by one when the first is taken, down to the place of the last.

    Return the number of them, or -1 if the heap was changed meanwhile.
    """
    cdef Py_ssize_t size = len(heap), child = 1
    cdef int answer, depth = 0
    last = heap[size - 1]
    path[0] = 0
    while child < size - 1:
        if child + 1 < size - 1:
            answer = less(heap, heap[child], heap[child + 1], changes)
            if answer == CHANGED:
                return -1
            child += not answer
        depth += 1
        path[depth] = child
        child = 2 * child + 1
    while depth > 0:
        answer = less(heap, last, heap[path[depth]], changes)
        if answer == CHANGED:
            return -1
        if not answer:
            break
        depth -= 1
    return depth
