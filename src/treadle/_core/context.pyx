"""Copies of contexts for greenlets.

A context refers to decimal's settings, which can be changed in place: a plain copy would share them.
"""

import contextvars
import sys

cdef extern from *:
    """
    #define treadle_has_context() (PyThreadState_Get()->context != NULL)
    """
    bint treadle_has_context()

# The variable that holds decimal's settings. None until decimal is loaded and a context is copied;
# also if decimal keeps them in no variable, which is a way to build the interpreter.
cdef object decimal_variable = None
cdef bint is_decimal_known = False


def first_variable_set_by(function):
    """Call *function*; return a variable of the current context, or None if there is none."""
    function()
    return next(iter(contextvars.copy_context()), None)


cdef int look_for_decimal() except -1:
    global decimal_variable, is_decimal_known
    getcontext = getattr(sys.modules.get("decimal"), "getcontext", None)
    if getcontext is not None:
        decimal_variable = contextvars.Context().run(first_variable_set_by, getcontext)
        is_decimal_known = True
    return 0


cdef int separate_decimal(object copied) except -1:
    """Give the fresh copy of a context its own copy of decimal's settings."""
    if not is_decimal_known:
        look_for_decimal()
    if decimal_variable is not None:
        settings = copied.get(decimal_variable)
        if settings is not None:
            copied.run(decimal_variable.set, settings.copy())
    return 0


cdef object inherited_context():
    return copy_context() if treadle_has_context() else None


cdef object copy_of(object context):
    copied = context.copy()
    if len(copied):
        separate_decimal(copied)
    return copied


def copy_context():
    """Return a copy of the current context: :func:`contextvars.copy_context`, for a new greenlet.

    Unlike there, decimal's settings (precision, rounding, traps) are copied too, so that neither of
    two greenlets changes the other's.
    """
    copied = contextvars.copy_context()
    separate_decimal(copied)
    return copied
