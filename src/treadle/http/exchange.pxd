# Exchanges: the base class for the kinds of applications and the protocols.

from treadle.http.counters cimport Counters
from treadle.http.h1 cimport Request
from treadle.http.response cimport Framing, HeaderLines


cdef class Exchange:

    cdef public object client_address, server, application
    cdef readonly object limits, policy
    # The current request, or the last one.
    cdef readonly Request request
    cdef public bint close_connection
    cdef public object status, response_headers
    cdef public int code
    cdef public bint headers_sent
    cdef public long long response_length
    cdef public double time_start, time_finish
    cdef str remote_address, remote_port
    cdef object forwarded             # the treadle.http.forwarded.Forwarded to apply, or None
    cdef object context               # the contextvars.Context that requests run in
    cdef Counters counters            # the server's, or None
    cdef object most_body_time        # limit for body_time
    cdef object body_time             # seconds left to wait for the body, or None
    cdef HeaderLines lines
    cdef Framing framing
    cdef long long left               # bytes still to send, if framing is LENGTH
    cdef long long unsent             # bytes in response_length that are not sent yet
    cdef bint continued               # 100 was sent
    cdef object client_error          # exception caused by the client, not the application
    cdef object refusal               # the BadRequest to answer for client_error, or None
    cdef bint failed                  # the application failed
    cdef bint whole                   # all of the body was sent that the application has made
    cdef bint overrun                 # its body is longer than its Content-Length

    cdef prepare(self, address, server)
    cdef forget_response(self)
    cdef serve(self)
    cdef handle_counted(self)
    cdef count(self)
    cpdef handle_one_response(self)
    cpdef log_request(self)
    cdef send_part(self, bytes data)
    cdef send_whole(self, data)
    cdef report_length(self, long long length)
    cdef forget_unsent(self)
    cdef finish(self)
    cdef int check_forbidden(self, data) except -1
    cdef int delimit(self, long long known) except -1
    cdef answer_client_error(self)
    cdef refuse(self, error)
    cdef answer(self, status)
    cdef report(self, text)

    # Each kind of application implements these.
    cdef begin(self)
    cdef leave(self)
    cpdef run_application(self)

    # Each protocol implements these.
    cdef await_body(self, Request request)
    cdef bytes head(self, long long known)
    cdef send_both(self, bytes head, bytes data, bint last)
    cdef send_end(self)
    cdef send_interim(self, str status, HeaderLines lines)
    cdef bint is_forgiven(self, error) except -1
    cdef bint left_to_itself(self) except -1


cdef bytes as_bytes(data)
