from treadle._core.hub cimport Hub


# What the current greenlet hands on to one that it makes: its trace and profile functions, or None.
cdef object tracing_here()
# What it hands on to a thread that it starts: the trace function of a tool written in C, or None.
cdef object tracing_for_thread()
# Trace and profile the current greenlet by what one of these returned. May run any code.
cdef int begin_tracing(object tracing) except -1
# Take from the thread what a signal handler has set there, for the greenlet it ran for.
cdef int keep_for_principal(Hub hub) except -1
