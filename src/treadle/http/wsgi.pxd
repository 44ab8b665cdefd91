from treadle.http.exchange cimport Exchange


cdef class WSGIExchange(Exchange):

    cdef public object environ, result, wsgi_input
    # The methods of a Steps that the application gets, which bound() makes once and not for each
    # request. None before the first request and after the last: they refer to this object, which is
    # a reference cycle.
    cdef tuple methods
    cdef object steps
    cdef object base_environ          # what the environments of all requests contain
    cdef bint input_is_body           # the policy's
    cdef object websocket             # the WebSocket that the request asks for, or None
    cdef bint switched                # another protocol follows the response's head

    cdef tuple bound(self)
    cdef offer_websocket(self, environ)
    cpdef get_environ(self)
    cdef connection_environ(self)
    cpdef process_result(self)

    # A protocol may override these.
    cdef offer_upgrade(self, environ)
    cdef bint send_file(self, wrapper) except -1
