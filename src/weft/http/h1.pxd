# Requests and their reader, for the compiled handlers.


cdef class Request:

    cdef readonly str method
    cdef readonly bytes target
    cdef readonly str version
    # As they came, in order.
    cdef readonly list headers
    # The same as RFC 3875 names them ("HTTP_HOST"); what comes several times is joined, and
    # a name with an underscore, which could pass for another's, is left out.
    cdef readonly dict fields
    # The same of what follows the body; None where there is nothing.
    cdef readonly list trailers
    # Whether the body has come to its end.
    cdef readonly bint complete
    cdef readonly bint keep_alive
    cdef readonly bint chunked
    # The body's length, where the head says it; None where it does not.
    cdef readonly object length
    cdef readonly bint expects_continue
    # The protocol that the client would like to change to, in lower case.
    cdef readonly str upgrade
    # What has come of the body and was not taken; None where there was nothing.
    cdef readonly object body
    # How much of the body has come.
    cdef readonly long long body_size


# Add a header to the fields.
cdef int add_field(Request request, bytes name, bytes value) except -1
# The BadRequest that a request is by its head, or None.
cdef object fault_of(Request request)


cdef class RequestReader:

    cdef readonly object limits
    # Those whose head is complete; of the last one perhaps not all of the body has come.
    cdef readonly list ready
    # What is wrong with what came after the last of `ready`, or in its body; nothing more is
    # read then. Whoever waits for the client in vain sets it too.
    cdef public object error
    # Whether a request has begun whose head is not complete.
    cdef readonly bint in_head
    # What follows a request that asks for another protocol; None where none does.
    cdef readonly bytes rest
    cdef Request request             # the one that is being read, or was last
    cdef bint resuming
    cdef Py_ssize_t head_size        # as far as the parser has told of it
    cdef Py_ssize_t fed              # bytes since the head began that is not complete
    cdef Py_ssize_t most_in_head
    cdef Py_ssize_t most_in_line
    cdef Py_ssize_t most_headers
    cdef long long most_in_body      # negative: no limit
    cdef object parser
    cpdef feed(self, bytes data)
    cdef int check_size(self, size) except -1
