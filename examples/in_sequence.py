"""A greenlet that never waits is not interrupted: three tasks run one after the other."""

import treadle


def task(name: str) -> None:
    for step in range(3):
        print(name, step)


treadle.joinall([treadle.spawn(task, name) for name in "ABC"], raise_error=True)
