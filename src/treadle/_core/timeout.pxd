from libc.stdint cimport int64_t

# Park until unparked; raise Timeout(seconds) if that takes more than `seconds` (None: no limit).
from treadle._core.hub cimport Wait
cdef int park_or_raise(Wait wait, object seconds) except -1

# The exception to raise after `timeout` seconds; if `timeout` is a Timeout, what that raises.
cdef object timeout_error(object timeout)
