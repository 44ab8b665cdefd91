# The exception that the arguments of a throw() mean.
cdef object exception_from(tuple args)
