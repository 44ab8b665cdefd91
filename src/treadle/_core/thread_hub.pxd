from treadle._core.hub cimport Hub, treadle_fire


cdef class ThreadHub(Hub):
    pass

# Hubs that belong to no thread are on the list, and end, as those that do.
cdef int list_hub(Hub hub) except -1
cdef int shut(Hub hub) except -1
# Timers that call `fire` belong to greenlets or watchers: when a fork or the end of a thread leaves
# those behind, the timers go, and forget(obj) clears the pointer to each. For module start only.
cdef void abandon_timers(treadle_fire fire, treadle_fire forget) noexcept
