from libc.stdint cimport int64_t

# Nanoseconds of the loop's clock: monotonic, or what the replaced source says.
cdef int64_t now() except? -1

# Whether a source stands in for the real clock.
cdef bint is_replaced() noexcept

# Tell the replaced source that nothing happens before `deadline` (-1: ever). True if it moved on.
cdef bint idle_until(int64_t deadline) except? -1

# A wait's length in nanoseconds from seconds; -1 for None, which waits for ever.
cdef int64_t nanoseconds(object seconds) except? -2
