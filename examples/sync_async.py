"""Run ten tasks one by one, then all at once. Run it with `treadle run`."""

import time

import treadle


def task(number: int) -> None:
    time.sleep(0.1)
    print("done", number)


def timed(label: str, started: float) -> None:
    print(f"{label}: {time.monotonic() - started:.1f} s")


started = time.monotonic()
for number in range(10):
    task(number)
timed("one by one", started)

started = time.monotonic()
treadle.joinall([treadle.spawn(task, number) for number in range(10)])
timed("all at once", started)
