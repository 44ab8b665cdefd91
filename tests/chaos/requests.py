"""The requests, and the answer that is right for each."""

from dataclasses import dataclass
from random import Random

#: What the application sends as a file.
FILE = bytes(range(256)) * 256
#: How often each kind is asked for.
KINDS = {"hello": 8, "slow": 3, "streamed": 3, "file": 3, "echo": 3}


@dataclass(frozen=True)
class Request:
    """A request: its number, what it asks for, and its body."""

    number: int
    kind: str
    body: bytes = b""

    @property
    def method(self) -> str:
        return "POST" if self.kind == "echo" else "GET"

    @property
    def path(self) -> str:
        return f"/{self.kind}/{self.number}"

    def expected(self) -> bytes:
        """Return the body of the right answer."""
        if self.kind == "echo":
            return self.body
        if self.kind == "file":
            return FILE
        if self.kind == "streamed":
            return b"".join(f"{self.number}.{at} ".encode() * 200 for at in range(5))
        return f"{self.kind} {self.number}".encode()


@dataclass(frozen=True)
class Answer:
    """What came: the status, the headers by their names in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def worker(self) -> int:
        """The process id of the worker that answered; 0 if the answer is not the application's."""
        return int(self.headers.get("x-worker", 0))

    def fault(self, request: Request) -> str:
        """Return what is wrong with it as the answer to *request*; "" if nothing is."""
        if self.status == 503 and self.body == b"no descriptor is left":
            return ""
        if self.status != 200:
            return f"status {self.status}: {self.body[:200]!r}"
        if self.headers.get("x-request") != str(request.number):
            return f"the answer to request {self.headers.get('x-request')}"
        if self.body != request.expected():
            return f"{len(self.body)} bytes, not the {len(request.expected())} that are right"
        return ""


def draw(random: Random, number: int, kinds: dict[str, int] = KINDS) -> Request:
    """Return a random request."""
    (kind,) = random.choices(list(kinds), list(kinds.values()))
    size = random.choice((0, 10, 3000, 60_000)) if kind == "echo" else 0
    return Request(number, kind, random.randbytes(size))
