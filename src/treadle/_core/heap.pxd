from libc.stdint cimport uint64_t

# Both compare items, which may run any code, before they change the heap. `changes` counts its
# changes: if others have made one meanwhile, they compare again. Nothing else may change the heap
# without counting that.
cdef int heap_push(list heap, item, uint64_t *changes) except -1
cdef object heap_pop(list heap, uint64_t *changes)  # raises IndexError if the heap is empty
