from libc.stdint cimport INT64_MAX, int64_t

# The time of the loop's clock in nanoseconds: the system's monotonic time, or the replacement's. A
# replacement may run Python.
cdef int64_t now() except? -1

cdef inline int64_t time_in(int64_t length) except? -1:
    """Return the time in *length* nanoseconds, which is not negative; the last one for any later."""
    cdef int64_t at = now()
    return at + length if at <= INT64_MAX - length else INT64_MAX


# Whether another source replaces the system's clock.
cdef bint is_replaced() noexcept

# Tell the replacement that nothing happens before `deadline` (-1: ever). Returns whether the time
# has advanced.
cdef bint idle_until(int64_t deadline) except? -1

# Raise OverflowError for more seconds than the standard library's timeouts hold.
cdef int check_range(double seconds) except -1

# Convert a wait's length from seconds to nanoseconds; -1 for None, which is no limit.
cdef int64_t nanoseconds(object seconds) except? -2
