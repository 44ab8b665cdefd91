"""Start greenlets, wait for them (not for ever), and take what they returned."""

import weft


def square(number: int, seconds: float) -> int:
    weft.sleep(seconds)
    return number * number


one = weft.spawn(square, 3, 0.1)
one.join()
print("one:", one.value)

several = [weft.spawn(square, number, 0.1) for number in range(4)]
slow = weft.spawn(square, 9, 60)
ended = weft.joinall([*several, slow], timeout=2)
print("ended in time:", len(ended))
print("values:", [task.value for task in several], slow.value)
