# Requests and their reader, for the compiled handlers.

from libc.stdint cimport uint8_t

cdef extern from "llhttp/llhttp.h":
    ctypedef struct llhttp_t:
        uint8_t method, http_major, http_minor, upgrade
        void *data
    enum:
        HTTP_REQUEST, HPE_OK, HPE_PAUSED_UPGRADE
    ctypedef int (*llhttp_data_cb)(llhttp_t *parser, const char *at, size_t size) except -1
    ctypedef int (*llhttp_cb)(llhttp_t *parser) except -1
    ctypedef struct llhttp_settings_t:
        llhttp_cb on_message_begin, on_headers_complete, on_message_complete
        llhttp_cb on_header_value_complete, on_chunk_header
        llhttp_data_cb on_url, on_header_field, on_header_value, on_body
        llhttp_data_cb on_chunk_extension_name, on_chunk_extension_value
    void llhttp_settings_init(llhttp_settings_t *settings)
    void llhttp_init(llhttp_t *parser, int kind, const llhttp_settings_t *settings)
    int llhttp_execute(llhttp_t *parser, const char *data, size_t size) except *
    int llhttp_should_keep_alive(const llhttp_t *parser)
    void llhttp_resume_after_upgrade(llhttp_t *parser)
    const char *llhttp_get_error_reason(const llhttp_t *parser)
    const char *llhttp_get_error_pos(const llhttp_t *parser)
    const char *llhttp_method_name(int method)


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
cdef object fault_of(Request request, bint host_required)


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
    cdef Py_ssize_t extension        # the length of what a chunk's size is followed by
    cdef bint host_required
    cdef Py_ssize_t most_in_head
    cdef Py_ssize_t most_in_trailers
    cdef Py_ssize_t most_in_line
    cdef Py_ssize_t most_headers
    cdef long long most_in_body      # negative: no limit
    cdef llhttp_t parser
    cdef bytes name, value           # of the header that is being read
    cdef void begin(self) noexcept
    cpdef feed(self, bytes data)
    cdef int head_begins(self) except -1
    cdef int add_target(self, bytes part) except -1
    cdef int header_ends(self) except -1
    cdef int head_ends(self) except -1
    cdef int add_body(self, bytes data) except -1
    cdef int add_extension(self, size_t size) except -1
    cdef int check_size(self, size) except -1
