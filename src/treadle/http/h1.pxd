# Requests and their reader, for the compiled handlers.

from libc.stdint cimport uint8_t, uint16_t

cdef extern from "llhttp/llhttp.h":
    ctypedef struct llhttp_t:
        uint8_t method, http_major, http_minor, upgrade
        uint16_t flags
        void *data
    enum:
        HTTP_REQUEST, HPE_OK, HPE_PAUSED, HPE_PAUSED_UPGRADE, F_CONNECTION_CLOSE
    ctypedef int (*llhttp_data_cb)(llhttp_t *parser, const char *at, size_t size) except -1
    ctypedef int (*llhttp_cb)(llhttp_t *parser) except -1
    ctypedef struct llhttp_settings_t:
        llhttp_cb on_headers_complete, on_message_complete
        llhttp_cb on_header_value_complete, on_chunk_header
        llhttp_data_cb on_url, on_header_field, on_header_value, on_body
        llhttp_data_cb on_chunk_extension_name, on_chunk_extension_value
    void llhttp_settings_init(llhttp_settings_t *settings)
    void llhttp_init(llhttp_t *parser, int kind, const llhttp_settings_t *settings)
    int llhttp_execute(llhttp_t *parser, const char *data, size_t size) except *
    int llhttp_should_keep_alive(const llhttp_t *parser)
    void llhttp_resume(llhttp_t *parser)
    void llhttp_resume_after_upgrade(llhttp_t *parser)
    const char *llhttp_get_error_reason(const llhttp_t *parser)
    const char *llhttp_get_error_pos(const llhttp_t *parser)
    const char *llhttp_method_name(int method)

# What strings from clients and applications are kept in tables of the process, to be looked up
# again: so many, and none that is longer. Names that are in use are shorter.
cdef enum:
    MANY_NAMES = 4096
    LONG_NAME = 64


cdef class Request:

    cdef readonly str method
    cdef readonly bytes target
    cdef readonly str version
    # Pairs of a name and a value, as received and in order.
    cdef readonly list headers
    # The headers by their RFC 3875 names ("HTTP_HOST"). The values of a repeated header are
    # joined. A header with an underscore in its name is left out: it could pass for another.
    cdef readonly dict fields
    # The headers that follow the body, as pairs; None if there are none.
    cdef readonly list trailers
    # Whether all of the body has arrived.
    cdef readonly bint complete
    cdef readonly bint keep_alive
    cdef readonly bint chunked
    # The body's length in bytes, if the head has it, or None.
    cdef readonly object length
    cdef readonly bint expects_continue
    # The protocol that the client asks to change to, in lower case.
    cdef readonly str upgrade
    # A deque of chunks of the body that have arrived and were not read; None if none arrived.
    cdef readonly object body
    # How many bytes of the body have arrived.
    cdef readonly long long body_size

    # Add data to the body that was not read.
    cdef int keep(self, bytes data) except -1


# Add a header to the fields.
cdef int add_field(Request request, bytes name, bytes value) except -1
# Return the host, with the port, of an absolute target; "" for another one.
cdef str host_of_target(bytes target)
# Return whether the text is one of the methods that HTTP allows.
cdef bint is_method(str method) except -1
# Return a BadRequest if the request's head is invalid, or None.
cdef object fault_of(Request request, bint host_required)


cdef class RequestReader:

    cdef readonly object limits
    # Requests whose head is complete. The body of the last one may be incomplete.
    cdef readonly list ready
    # A BadRequest for what came after the last of `ready`, or in its body; nothing more is
    # parsed after it. The handler sets it too, when the client does not send a whole head in time.
    cdef public object error
    # Whether a request has begun and its head is incomplete.
    cdef readonly bint in_head
    # The bytes after a request that asks for another protocol; None if no request does.
    cdef readonly bytes rest
    # The request that is being read, or the last one. Of one that is refused, it has what was read.
    cdef readonly Request request
    cdef bint between                # no request has begun, or its method is incomplete
    cdef bytes method                # what there is of that
    cdef bint resuming
    cdef Py_ssize_t head_size        # bytes of names and values of the head, or trailers
    cdef Py_ssize_t fed              # bytes of the incomplete head before `start`
    cdef const char *start           # what follows the method; or the data that parse() got
    cdef Py_ssize_t extension        # length of the extensions of the current chunk
    cdef bint host_required
    cdef Py_ssize_t most_in_head
    cdef Py_ssize_t most_in_trailers
    cdef Py_ssize_t most_in_line
    cdef Py_ssize_t most_headers
    cdef long long most_in_body      # negative: no limit
    cdef uint16_t flags              # llhttp's, as the head set them
    cdef llhttp_t parser
    cdef bytes name, value           # of the header that is being parsed
    cdef void begin(self) noexcept
    cpdef feed(self, bytes data)
    cdef const char *read_method(self, const char *at, const char *end) except NULL
    cdef int parse(self, bytes data) except -1
    cdef int check(self, int result) except -1
    cdef int head_begins(self) except -1
    cdef int add_target(self, bytes part, const char *at) except -1
    cdef int check_head(self, const char *end) except -1
    cdef int header_ends(self) except -1
    cdef int head_ends(self) except -1
    cdef int add_body(self, bytes data) except -1
    cdef int add_extension(self, size_t size) except -1
    cdef int check_size(self, size) except -1
