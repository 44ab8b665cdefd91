"""What MongoDB's driver needs of a server: ``python fake_mongodb.py PORT`` answers every command.

The answer has the ``comment`` of the command, so that a client knows its own answer.
"""

import struct
import sys
import time
from socketserver import StreamRequestHandler, ThreadingTCPServer

import bson

HELLO = {
    "ok": 1,
    "isWritablePrimary": True,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "readOnly": False,
}
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013


class Answer(StreamRequestHandler):
    """Serves one connection."""

    def handle(self) -> None:
        while len(head := self.rfile.read(16)) == 16:
            length, request, _, operation = struct.unpack("<iiii", head)
            body = self.rfile.read(length - 16)
            time.sleep(0.002)  # so that clients have to wait
            if operation == OP_QUERY:
                answer = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(HELLO)
                operation = OP_REPLY
            else:
                # Four bytes of flags and one for the kind of the section are before the command.
                (size,) = struct.unpack_from("<i", body, 5)
                command = bson.decode(body[5 : 5 + size])
                document = HELLO | {"comment": command.get("comment")}
                answer = struct.pack("<IB", 0, 0) + bson.encode(document)
            self.wfile.write(struct.pack("<iiii", 16 + len(answer), 0, request, operation) + answer)


class Server(ThreadingTCPServer):
    """Serves each connection in a thread."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


Server(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
