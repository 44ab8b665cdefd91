"""Counters of requests; compiled, because every request updates them."""

__all__ = ["Counters"]


cdef class Counters:
    """Counters(values, codes, seconds, sent, buckets, bounds)\n--\n
    Counts requests in *values*, an array of doubles that may be shared with another process.

    The other arguments are indexes in it. *codes* is the first of five counts of requests, those
    answered with 1xx to 5xx; the last one has those with 6xx to 9xx too. *seconds* is the sum of
    the requests' times, and *sent* the sum of the bytes of their responses' bodies. *buckets* is
    the first bucket of a histogram of the times, whose upper bounds are *bounds*.
    """

    def __init__(self, values, int codes, int seconds, int sent, int buckets, bounds):
        self.values = values
        self.codes, self.seconds, self.sent, self.buckets = codes, seconds, sent, buckets
        self.bounds = list(bounds)

    cdef count_request(self, int code, double seconds, long long sent):
        cdef int at
        self.values[self.sent] += sent
        if code >= 100:  # else it has no answer
            self.values[self.codes + min(code // 100, 5) - 1] += 1
            self.values[self.seconds] += seconds
            for at in range(len(self.bounds)):
                if seconds <= <double>self.bounds[at]:
                    self.values[self.buckets + at] += 1
                    break
        if self.left:
            self.left -= 1
            if not self.left:
                self.enough()
