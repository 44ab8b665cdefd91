# The exception to raise after `timeout` seconds; if `timeout` is a Timeout, what that raises.
cdef object timeout_error(object timeout)
