"""Start greenlets, wait for them with and without a timeout, and read their return values."""

import treadle


def square(number: int, seconds: float) -> int:
    treadle.sleep(seconds)
    return number * number


one = treadle.spawn(square, 3, 0.1)
one.join()
print("one:", one.value)

several = [treadle.spawn(square, number, 0.1) for number in range(4)]
slow = treadle.spawn(square, 9, 60)
ended = treadle.joinall([*several, slow], timeout=2)
print("ended in time:", len(ended))
print("values:", [task.value for task in several], slow.value)
