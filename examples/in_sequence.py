"""Three tasks that never wait run one after the other: no other greenlet interrupts them."""

import treadle


def task(name: str) -> None:
    for step in range(3):
        print(name, step)


treadle.joinall([treadle.spawn(task, name) for name in "ABC"], raise_error=True)
