"""zmq.green: publish and subscribe, push and pull between threads, a poller, timeouts."""

from gevent import monkey

monkey.patch_all()

import json
import threading
import time

import gevent
import gevent.threadpool
import zmq.green as zmq

context = zmq.Context()


def subscribers() -> list[list[bytes]]:
    """Return what three subscribers to two topics receive of ten messages."""
    with context.socket(zmq.XPUB) as publisher:
        port = publisher.bind_to_random_port("tcp://127.0.0.1")

        def subscribe(topic: bytes) -> list[bytes]:
            with context.socket(zmq.SUB) as subscriber:
                subscriber.connect(f"tcp://127.0.0.1:{port}")
                subscriber.subscribe(topic)
                return [subscriber.recv() for _ in range(5)]

        waiting = [gevent.spawn(subscribe, topic) for topic in (b"a", b"b", b"a")]
        for _ in range(2):  # one message for each topic that has a subscriber
            publisher.recv()
        gevent.sleep(0.2)
        for number in range(5):
            publisher.send(b"a%d" % number)
            publisher.send(b"b%d" % number)
        gevent.joinall(waiting, raise_error=True)
        return [greenlet.value for greenlet in waiting]


def polled() -> list[int]:
    """Return the numbers that two native threads push, received with one poller."""
    pullers = [context.socket(zmq.PULL) for _ in range(2)]
    poller = zmq.Poller()
    for at, puller in enumerate(pullers):
        puller.bind(f"inproc://numbers{at}")
        poller.register(puller, zmq.POLLIN)
    assert poller.poll(50) == []

    def push(at: int) -> None:
        with context.socket(zmq.PUSH) as pusher:
            pusher.connect(f"inproc://numbers{at}")
            for number in range(100):
                pusher.send(b"%d" % (at * 100 + number))

    pool = gevent.threadpool.ThreadPool(2)
    pushing = [pool.spawn(push, at) for at in range(2)]
    got: list[int] = []
    while len(got) < 200:
        for puller, _ in poller.poll(5000):
            got.append(int(puller.recv(zmq.NOBLOCK)))
    gevent.joinall(pushing, raise_error=True)
    for puller in pullers:
        puller.close()
    return sorted(got)


def gave_up() -> list[str]:
    """Return how waits without an answer end: by poll's own timeout, and by gevent's."""
    ends = []
    with context.socket(zmq.PULL) as puller:
        puller.bind("inproc://silent")
        if puller.poll(50) == 0:
            ends.append("poll")
        with gevent.Timeout(0.05, False):
            puller.recv()
            ends.append("received")
        ends.append("Timeout")
    return ends


def threaded() -> int:
    """Return the answer of a patched thread to the main greenlet."""

    def answer() -> None:
        with context.socket(zmq.REP) as server:
            server.bind("inproc://answers")
            ready.set()
            server.send(b"%d" % (int(server.recv()) * 2))

    ready = threading.Event()
    thread = threading.Thread(target=answer)
    thread.start()
    ready.wait()
    with context.socket(zmq.REQ) as client:
        client.connect("inproc://answers")
        client.send(b"21")
        number = int(client.recv())
    thread.join()
    return number


started = time.monotonic()
report = {
    "subscribers": [[text.decode() for text in texts] for texts in subscribers()],
    "polled": polled(),
    "gave up": gave_up(),
    "threaded": threaded(),
    "seconds": time.monotonic() - started,
}
context.term()
print(json.dumps(report))
