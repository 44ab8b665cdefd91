"""WebSocket frames without I/O (RFC 6455, section 5): what a server reads and writes."""

from codecs import getincrementaldecoder

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

__all__ = [
    "BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT",
    "FrameReader", "ProtocolError", "frame", "is_close_code",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

cdef enum:
    OF_CONTINUATION = 0
    OF_TEXT = 1
    OF_BINARY = 2
    OF_CLOSE = 8
    OF_PONG = 10
    FIN = 0x80
    RSV1 = 0x40
    OTHER_RSV = 0x30
    MASKED = 0x80
    CONTROL = 0x08
    MOST_IN_CONTROL = 125

cdef object utf8_decoder = getincrementaldecoder("utf-8")


class ProtocolError(Exception):
    """What a client sent is no valid message; *code* is that of the close to answer with."""

    code = 1002
    reason = ""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


cdef class FrameReader:
    """FrameReader(most=None, deflate=None)\n--\n
    Reads a client's frames: :meth:`feed` what is received, then :meth:`read` until it returns None.

    *most* is the longest message in bytes, or None. *deflate* is the
    :class:`treadle.http.websocket.Deflate` that was agreed on, or None.
    """

    cdef long long most
    cdef object deflate
    cdef bytes data                  # what was received, and up to where it was read
    cdef Py_ssize_t at
    cdef bint over                   # nothing that follows is read
    # The frame of which the head was read, and the bytes of its payload that are to come.
    cdef bint in_frame
    cdef int opcode
    cdef bint fin
    cdef uint64_t left
    cdef unsigned char[4] key        # of the mask, from the next byte on
    cdef bytes control               # the payload of a control frame so far
    # The message that has begun: its opcode, or 0. Its data are kept here only if it does not come
    # in one piece; small pieces must cost no more than their bytes.
    cdef int message
    cdef bint compressed
    cdef bytearray parts
    cdef object checker              # decoder that checks text which comes in pieces
    cdef bytes packed                # data of the message that are to be inflated, or None
    cdef bint tail                   # they are what follows the last data of the message
    cdef Py_ssize_t inflated         # so many bytes since the last return

    def __cinit__(self):
        self.data = b""

    def __init__(self, most=None, deflate=None):
        self.most = -1 if most is None else most
        self.deflate = deflate

    def feed(self, bytes data not None):
        """Add received *data*."""
        cdef Py_ssize_t left = PyBytes_GET_SIZE(self.data) - self.at
        self.data = data if left <= 0 else self.data[self.at:] + data
        self.at = 0

    def read(self):
        """Return the next message, ping or close; None if more data is needed.

        It is an opcode and a payload: (TEXT, str), (BINARY, bytes), (PING, bytes) or
        (CLOSE, (code, reason)), with the code 1005 if the frame has none. (CONTINUATION, None)
        means that a message takes its time: let others run and call again. Raises
        :class:`ProtocolError`. Nothing is read after that, or after a close.
        """
        self.inflated = 0
        try:
            return None if self.over else self.next_event()
        except ProtocolError:
            self.over = True
            raise

    cdef object next_event(self):
        cdef bytes piece
        while self.packed is not None or self.in_frame or self.read_head():
            if self.packed is not None:
                event = self.inflate_some()
                if event is not None:
                    return event
                continue
            if self.left and self.at == PyBytes_GET_SIZE(self.data):
                return None
            piece = self.take_piece()
            self.in_frame = self.left > 0
            if self.opcode & CONTROL:
                self.control += piece
                event = None if self.in_frame else self.end_control()
            else:
                event = self.add_piece(piece)
            if event is not None:
                return event
        return None

    cdef bint read_head(self) except -1:
        """Read the head of a frame; return False if it has not come as a whole."""
        cdef Py_ssize_t available = PyBytes_GET_SIZE(self.data) - self.at
        cdef const unsigned char *head = <const unsigned char *>PyBytes_AS_STRING(self.data) + self.at
        cdef Py_ssize_t size = 2
        cdef Py_ssize_t i
        cdef uint64_t length
        if available < 2:
            return False
        self.check_head(head[0], head[1])
        length = head[1] & 0x7f
        if length == 126:
            size = 4
        elif length == 127:
            size = 10
        if available < size:
            return False
        if size > 2:
            length = 0
            for i in range(2, size):
                length = length << 8 | head[i]
            if length < 126 or (size == 10 and length < 65536) or length >> 63:
                raise ProtocolError(1002, "a length that is not as short as it can be")
        if available < size + 4:
            return False
        memcpy(self.key, head + size, 4)
        self.at += size + 4
        self.begin_frame(head[0], length)
        return True

    cdef int check_head(self, unsigned char first, unsigned char second) except -1:
        cdef int opcode = first & 0x0f
        if first & OTHER_RSV or (first & RSV1 and (
                self.deflate is None or opcode & CONTROL or opcode == OF_CONTINUATION)):
            raise ProtocolError(1002, "a reserved bit is set")
        if not second & MASKED:
            raise ProtocolError(1002, "a frame without a mask")
        if opcode & CONTROL:
            if opcode > OF_PONG:
                raise ProtocolError(1002, "an opcode that is none")
            if not first & FIN or (second & 0x7f) > MOST_IN_CONTROL:
                raise ProtocolError(1002, "a control frame that is too long or in parts")
        elif opcode > OF_BINARY:
            raise ProtocolError(1002, "an opcode that is none")
        elif opcode == OF_CONTINUATION and not self.message:
            raise ProtocolError(1002, "nothing to continue")
        elif opcode != OF_CONTINUATION and self.message:
            raise ProtocolError(1002, "a message within a message")
        return 0

    cdef int begin_frame(self, unsigned char first, uint64_t length) except -1:
        self.in_frame = True
        self.opcode, self.fin, self.left = first & 0x0f, first & FIN, length
        if self.opcode & CONTROL:
            self.control = b""
            return 0
        if self.opcode != OF_CONTINUATION:
            self.message, self.compressed = self.opcode, first & RSV1
        if not self.compressed:
            self.check_size(length)
        return 0

    cdef int check_size(self, uint64_t more) except -1:
        cdef uint64_t size = 0 if self.parts is None else len(self.parts)
        if self.most >= 0 and (more > <uint64_t>self.most or size + more > <uint64_t>self.most):
            raise ProtocolError(1009, f"longer than {self.most}")
        return 0

    cdef bytes take_piece(self):
        """Return the bytes of the payload that have come, without the mask."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.data) - self.at
        if <uint64_t>size > self.left:
            size = self.left
        piece = PyBytes_FromStringAndSize(NULL, size)
        unmask(
            <unsigned char *>PyBytes_AS_STRING(piece),
            <const unsigned char *>PyBytes_AS_STRING(self.data) + self.at, size, self.key)
        self.at += size
        self.left -= size
        return piece

    cdef object end_control(self):
        data, self.control = self.control, None
        if self.opcode == OF_PONG:
            return None
        if self.opcode != OF_CLOSE:
            return PING, data
        self.over = True
        if not data:
            return CLOSE, (1005, "")
        code = int.from_bytes(data[:2], "big")
        if len(data) == 1 or not is_close_code(code):
            raise ProtocolError(1002, "a code of a close that is none")
        try:
            return CLOSE, (code, data[2:].decode())
        except UnicodeDecodeError:
            raise ProtocolError(1007, "the reason of a close is not UTF-8") from None

    cdef object add_piece(self, bytes piece):
        """Add *piece* to the message, and return the message if that was the last one."""
        cdef bint last = self.fin and not self.in_frame
        if last and self.parts is None and not self.compressed:
            opcode, self.message = self.message, 0
            return (TEXT, self.text(piece)) if opcode == OF_TEXT else (BINARY, piece)
        if self.parts is None:
            self.parts = bytearray()
            self.checker = utf8_decoder() if self.message == OF_TEXT else None
        if self.compressed:
            self.packed, self.tail = piece, False
            return None
        self.keep(piece)
        return self.end_message() if last else None

    cdef object inflate_some(self):
        """Inflate a piece of the message, and return the message if that was the last one."""
        piece, self.packed = self.deflate.inflate(self.packed)
        self.inflated += len(piece)
        self.keep(piece)
        if self.packed is None and self.fin and not self.in_frame:
            if self.tail:
                self.deflate.end_inflating()
                return self.end_message()
            self.packed, self.tail = self.deflate.TAIL, True
        return None if self.inflated < self.deflate.PIECE else (CONTINUATION, None)

    cdef object end_message(self):
        opcode, self.message = self.message, 0
        parts, self.parts = self.parts, None
        if opcode == OF_BINARY:
            return BINARY, bytes(parts)
        self.check(b"", True)
        return TEXT, parts.decode()

    cdef int keep(self, bytes data) except -1:
        if data:
            self.check_size(PyBytes_GET_SIZE(data))
            if self.checker is not None:
                self.check(data, False)
            self.parts += data
        return 0

    cdef int check(self, bytes data, bint last) except -1:
        try:
            self.checker.decode(data, last)
        except UnicodeDecodeError:
            raise ProtocolError(1007, "text that is not UTF-8") from None
        return 0

    cdef object text(self, bytes data):
        try:
            return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL)
        except UnicodeDecodeError:
            raise ProtocolError(1007, "text that is not UTF-8") from None


def is_close_code(code):
    """Return whether *code* may be sent in a close (RFC 6455, 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


cdef void unmask(
        unsigned char *to, const unsigned char *data, Py_ssize_t size, unsigned char *key) noexcept:
    """Copy masked *data*; afterwards *key* begins with the byte for what follows."""
    cdef unsigned char[8] twice
    cdef uint64_t whole, word
    cdef Py_ssize_t at = 0
    cdef int i
    memcpy(twice, key, 4)
    memcpy(&twice[4], key, 4)
    memcpy(&whole, twice, 8)
    while at + 8 <= size:
        memcpy(&word, data + at, 8)
        word ^= whole
        memcpy(to + at, &word, 8)
        at += 8
    for i in range(<int>(size - at)):
        to[at + i] = data[at + i] ^ twice[i]
    for i in range(4):
        key[i] = twice[(size + i) & 3]


def frame(int opcode, payload, bint fin=True, bint rsv1=False):
    """Return a server's frame; *payload* is bytes, or a str that is encoded."""
    cdef bytes data = payload.encode() if isinstance(payload, str) else payload
    cdef Py_ssize_t size = len(data)
    cdef Py_ssize_t head = 2 if size < 126 else 4 if size < 65536 else 10
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, head + size)
    cdef unsigned char *to = <unsigned char *>PyBytes_AS_STRING(whole)
    cdef int i
    to[0] = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    if head == 2:
        to[1] = size
    else:
        to[1] = 126 if head == 4 else 127
        for i in range(2, head):
            to[i] = (size >> 8 * (head - 1 - i)) & 0xff
    memcpy(to + head, PyBytes_AS_STRING(data), size)
    return whole
