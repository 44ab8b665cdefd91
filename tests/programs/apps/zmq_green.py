"""zmq.green: clients of a dealing service in the same process, over TCP; URL is not asked."""

import crowd  # patches: before all else
import gevent
import zmq.green as zmq

context = zmq.Context()
front = context.socket(zmq.ROUTER)
PORT = front.bind_to_random_port("tcp://127.0.0.1")


def serve() -> None:
    """Answer each request, after the time it asks for, in a greenlet of its own."""
    while True:
        client, _, text = front.recv_multipart()
        delay, _, number = text.partition(b" ")
        gevent.spawn_later(float(delay), front.send_multipart, [client, b"", number])


idle: list[zmq.Socket] = []


def ask(number: int, delay: float = 0) -> int:
    if idle:
        socket = idle.pop()
    else:
        socket = context.socket(zmq.REQ)
        socket.connect(f"tcp://127.0.0.1:{PORT}")
    socket.send(b"%f %d" % (delay, number))
    answer = socket.recv()
    idle.append(socket)
    return int(answer)


gevent.spawn(serve)
crowd.main(lambda number: ask(number, 0.2), ask)
