# What a new greenlet of the current one starts with: see copy_context() in context.pyx. Returns None
# if the current greenlet has no context.
cdef object inherited_context()
# A copy of `context`, with decimal's settings copied as well.
cdef object copy_of(object context)
