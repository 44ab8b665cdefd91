# A server's counters of its requests.


cdef class Counters:

    cdef public long long active      # requests in the application
    cdef public long long left        # requests until `enough` is called; 0: never
    cdef public object enough
    cdef double[::1] values
    cdef int codes, seconds, sent, buckets
    cdef list bounds

    cdef count_request(self, int code, double seconds, long long sent)
