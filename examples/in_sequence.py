"""A greenlet that never waits is not interrupted: three tasks run one after the other."""

import weft


def task(name: str) -> None:
    for step in range(3):
        print(name, step)


weft.joinall([weft.spawn(task, name) for name in "ABC"], raise_error=True)
