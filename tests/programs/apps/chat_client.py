"""Chat clients: ``python chat_client.py URL TRANSPORT``; prints as JSON what they received."""

import json
import queue
import sys
import time
from typing import Any

from socketio import Client

URL, TRANSPORT = sys.argv[1:]


class Member:
    """A client, and the messages it has received."""

    def __init__(self) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self.client = Client(reconnection=False)
        self.client.on("said", self.heard.put)
        self.client.connect(URL, transports=[TRANSPORT])
        assert self.client.transport() == TRANSPORT

    def hear(self) -> str:
        return self.heard.get(timeout=30)

    def leave(self) -> None:
        """Disconnect.

        A client that polls drops what is queued, its goodbye among it, if it disconnects while one
        of its requests is under way. So wait until its write loop waits for something to send.
        """
        deadline = time.monotonic() + 30
        while not self.client.eio.queue.not_empty._waiters:
            assert time.monotonic() < deadline, "the client's write loop never ends its request"
            time.sleep(0.001)
        self.client.disconnect()


def waits(members: list[Member]) -> tuple[float, list[Any]]:
    """Emit 50 waits of 0.2 s at once, 5 from each of 10 clients; return seconds and results."""
    answers: queue.Queue[int] = queue.Queue()
    began = time.perf_counter()
    for number in range(50):
        members[number % 10].client.emit("wait", (number, 0.2), callback=answers.put)
    results = sorted(answers.get(timeout=30) for _ in range(50))
    return time.perf_counter() - began, results


members = [Member() for _ in range(10)]
first, *others = members
report = {
    "joined": [member.client.call("join", f"room{at % 2}") for at, member in enumerate(members)],
    "blob": first.client.call("blob", bytes(range(256)) * 1000)[:3].hex(),
    "waits": waits(members),
}
first.client.emit("say", ("room0", "hello"))
report["heard"] = [member.hear() for member in members[::2]]
first.leave()
report["left"] = [member.hear() for member in others]
for member in others:
    member.leave()
print(json.dumps(report))
