"""Three tasks take turns: whenever one waits, the next one continues."""

import treadle


def task(name: str) -> None:
    for step in range(3):
        print(name, step)
        treadle.sleep(0.1)


treadle.joinall([treadle.spawn(task, name) for name in "ABC"], raise_error=True)
