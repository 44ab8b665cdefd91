"""The pointer behind which tests, tracing and accounting hang: the base of what Hub.probe holds."""


cdef class Probe:

    cdef int steer(self, object hub, object wait) except -1:
        return 0

    cdef bint lets_fire(self, object hub) except -1:
        return True

    cdef bint awaits_others(self, object hub) except -1:
        return False


cdef Preemption *preemptions = NULL


cdef void add_preemption(Preemption *preemption) noexcept:
    global preemptions
    preemption.next = preemptions
    preemptions = preemption


cdef bint switch_preemption(bint on, give_way_function give_way) noexcept:
    cdef bint before = preemptions.on
    cdef Preemption *preemption = preemptions
    while preemption != NULL:
        preemption.give_way = give_way
        preemption.on = on
        preemption = preemption.next
    return before
