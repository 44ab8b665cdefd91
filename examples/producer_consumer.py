"""A producer and a consumer in one thread, with generators only."""

from collections.abc import Generator


def consumer() -> Generator[str, int, None]:
    """Receive items by send() and yield a status for each."""
    answer = ""
    while True:
        item = yield answer
        print(f"consumer: got {item}")
        answer = "200 OK"


def produce(sink: Generator[str, int, None], count: int) -> None:
    """Send *count* items to *sink*, and print the status of each before sending the next."""
    next(sink)
    for item in range(1, count + 1):
        print(f"producer: made {item}")
        print(f"producer: consumer says {sink.send(item)}")
    sink.close()


if __name__ == "__main__":
    produce(consumer(), 5)
