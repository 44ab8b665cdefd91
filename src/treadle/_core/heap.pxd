# A binary heap in a list, as heapq's. Comparisons may run any code: both functions make all of them
# before they change the list, so one that raises changes nothing. They raise RuntimeError if the
# list changes meanwhile.
cdef int heap_push(list heap, item) except -1
cdef object heap_pop(list heap)  # raises IndexError if the heap is empty
