"""A heap whose operations happen whole or not at all, even if comparing two items raises."""

cdef enum:
    DEPTH = 64  # of the largest heap that memory can hold


cdef bint less(list heap, Py_ssize_t size, left, right) except -1:
    cdef bint result = left < right
    if len(heap) != size:
        raise RuntimeError("the heap changed while two of its items were compared")
    return result


cdef int heap_push(list heap, item) except -1:
    cdef Py_ssize_t size = len(heap), place = size, i, parent
    while place > 0:
        parent = (place - 1) // 2
        if not less(heap, size, item, heap[parent]):
            break
        place = parent
    heap.append(item)
    i = size
    while i > place:
        parent = (i - 1) // 2
        heap[i] = heap[parent]
        i = parent
    heap[place] = item
    return 0


cdef object heap_pop(list heap):
    cdef Py_ssize_t size = len(heap), child = 1, i
    cdef Py_ssize_t[DEPTH] path
    cdef int depth = 0
    if size == 0:
        raise IndexError("pop from an empty heap")
    first, last = heap[0], heap[size - 1]
    # The smaller children move up by one, down to the place of the last item.
    path[0] = 0
    while child < size - 1:
        if child + 1 < size - 1 and not less(heap, size, heap[child], heap[child + 1]):
            child += 1
        depth += 1
        path[depth] = child
        child = 2 * child + 1
    while depth > 0 and less(heap, size, last, heap[path[depth]]):
        depth -= 1
    for i in range(depth):
        heap[path[i]] = heap[path[i + 1]]
    heap[path[depth]] = last
    heap.pop()
    return first
