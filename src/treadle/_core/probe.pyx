"""The pointer behind which tests, tracing and accounting hang: the base of what Hub.probe holds."""


cdef class Probe:

    cdef int steer(self, object hub, object wait) except -1:
        return 0

    cdef bint lets_fire(self, object hub) except -1:
        return True

    cdef bint awaits_others(self, object hub) except -1:
        return False


cdef Preemption preemption


cdef Preemption *the_preemption() noexcept:
    return &preemption
