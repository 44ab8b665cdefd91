"""Nine seconds of time.sleep in three. It knows nothing of weft but spawn: run by `weft run`."""

import time

import weft


def task(name: str) -> None:
    for step in range(3):
        print(f"{name}{step}", end=" ", flush=True)
        time.sleep(1)


started = time.monotonic()
weft.joinall([weft.spawn(task, name) for name in "ABC"])
print(f"in {time.monotonic() - started:.1f} s")
