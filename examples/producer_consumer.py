"""A producer and a consumer in one thread, by generators alone."""

from collections.abc import Generator


def consumer() -> Generator[str, int, None]:
    """Take what is sent; answer each with a status."""
    answer = ""
    while True:
        item = yield answer
        print(f"consumer: got {item}")
        answer = "200 OK"


def produce(sink: Generator[str, int, None], count: int) -> None:
    """Send *count* items, looking at each answer before the next."""
    next(sink)
    for item in range(1, count + 1):
        print(f"producer: made {item}")
        print(f"producer: consumer says {sink.send(item)}")
    sink.close()


if __name__ == "__main__":
    produce(consumer(), 5)
