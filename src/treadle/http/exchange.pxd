# Exchanges, for the kinds of applications and the protocols.

from treadle.http.counters cimport Counters
from treadle.http.h1 cimport Request
from treadle.http.response cimport Framing, HeaderLines


cdef class Exchange:

    cdef public object client_address, server, application
    cdef readonly object limits, policy
    # The request that is answered, or was last.
    cdef readonly Request request
    cdef public bint close_connection
    cdef public object status, response_headers
    cdef public int code
    cdef public bint headers_sent
    cdef public long long response_length
    cdef public double time_start, time_finish
    cdef str remote_address, remote_port
    cdef object context               # what each request of this connection runs in
    cdef Counters counters            # the server's, or None
    cdef object most_body_time        # a limit
    cdef object body_time             # seconds left to wait for the body, or None
    cdef HeaderLines lines
    cdef Framing framing
    cdef long long left               # of a body whose length was told
    cdef bint continued               # 100 was sent
    cdef object client_error          # what the client did; nothing that the application raises
    cdef object refusal               # a BadRequest: what it is answered for that, or None
    cdef bint failed                  # the application has

    cdef prepare(self, address, server)
    cdef forget_response(self)
    cdef serve(self)
    cdef handle_counted(self)
    cpdef handle_one_response(self)
    cpdef log_request(self)
    cdef send_part(self, bytes data)
    cdef send_whole(self, data)
    cdef report_length(self, long long length)
    cdef finish(self)
    cdef int check_forbidden(self, data) except -1
    cdef int delimit(self, long long known) except -1
    cdef answer_client_error(self)
    cdef refuse(self, error)
    cdef answer(self, status)
    cdef report(self, text)

    # Each kind of application's.
    cdef begin(self)
    cpdef run_application(self)

    # Each protocol's.
    cdef await_body(self, Request request)
    cdef bytes head(self, long long known)
    cdef send_both(self, bytes head, bytes data, bint last)
    cdef send_end(self)
    cdef send_interim(self, str status, HeaderLines lines)
    cdef bint is_forgiven(self, error) except -1
    cdef bint left_to_itself(self) except -1


cdef bytes as_bytes(data)
