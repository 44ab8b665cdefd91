from libc.stdint cimport int64_t

# Park until unparked; raise Timeout(seconds) if that takes longer. None: for ever.
from treadle._core.hub cimport Wait
cdef int park_or_raise(Wait wait, object seconds) except -1

# What to raise after so many seconds; for a Timeout that stands for them, what that raises.
cdef object timeout_error(object timeout)
