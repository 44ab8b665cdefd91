"""Run nine seconds of time.sleep() in three. Run it with `treadle run`, which patches time."""

import time

import treadle


def task(name: str) -> None:
    for step in range(3):
        print(f"{name}{step}", end=" ", flush=True)
        time.sleep(1)


started = time.monotonic()
treadle.joinall([treadle.spawn(task, name) for name in "ABC"])
print(f"in {time.monotonic() - started:.1f} s")
