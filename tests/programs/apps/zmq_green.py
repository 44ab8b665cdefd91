"""zmq.green: clients of a ROUTER socket in the same process, over TCP; URL is not used."""

import crowd  # first, because it patches
import gevent
import zmq.green as zmq

context = zmq.Context()
front = context.socket(zmq.ROUTER)
PORT = front.bind_to_random_port("tcp://127.0.0.1")


def serve() -> None:
    """Answer each request in its own greenlet, after the delay that the request asks for."""
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
