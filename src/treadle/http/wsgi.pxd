from treadle.http.exchange cimport Exchange


cdef class WSGIExchange(Exchange):

    cdef public object environ, result, wsgi_input
    # start_response, write, _receive_body and _early_hints as bound() makes them once, not for
    # each request; None before the first request and after the last, since they refer to this.
    cdef tuple methods
    cdef object base_environ          # of every request of this connection
    cdef bint input_is_body           # the policy's

    cdef tuple bound(self)
    cpdef get_environ(self)
    cdef connection_environ(self)
    cpdef process_result(self)

    # What a protocol may do.
    cdef offer_upgrade(self, environ)
    cdef bint send_file(self, wrapper) except -1
