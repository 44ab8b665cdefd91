from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Counters"]

class Counters:
    active: int
    left: int
    enough: Callable[[], object]
    def __init__(
        self,
        values: Any,
        codes: int,
        seconds: int,
        sent: int,
        buckets: int,
        bounds: Iterable[float],
    ) -> None: ...
