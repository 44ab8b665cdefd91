# The exception that the arguments of a throw() describe.
cdef object exception_from(tuple args)
