"""Wherever a task waits, the next one goes on: three tasks take turns."""

import weft


def task(name: str) -> None:
    for step in range(3):
        print(name, step)
        weft.sleep(0.1)


weft.joinall([weft.spawn(task, name) for name in "ABC"], raise_error=True)
