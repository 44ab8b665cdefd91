# cython: binding=False
"""Counting requests: in C, because it is done for each."""

__all__ = ["Counters"]


cdef class Counters:
    """Counts requests in *values*, doubles that may be shared with another process.

    At *codes* begin those answered with 1xx to 5xx, at *seconds* is the sum of their times, at
    *sent* that of their bodies' bytes, and at *buckets* begins a histogram of their times with
    upper *bounds*.
    """

    def __init__(self, values, int codes, int seconds, int sent, int buckets, bounds):
        self.values = values
        self.codes, self.seconds, self.sent, self.buckets = codes, seconds, sent, buckets
        self.bounds = list(bounds)

    cdef count_request(self, int code, double seconds, long long sent):
        cdef int at
        if 100 <= code < 600:
            self.values[self.codes + code // 100 - 1] += 1
        self.values[self.seconds] += seconds
        self.values[self.sent] += sent
        for at in range(len(self.bounds)):
            if seconds <= <double>self.bounds[at]:
                self.values[self.buckets + at] += 1
                break
        if self.left:
            self.left -= 1
            if not self.left:
                self.enough()
