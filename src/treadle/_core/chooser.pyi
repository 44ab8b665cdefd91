from collections.abc import Callable, Iterable
from typing import Any

import greenlet

from treadle._core.probe import Probe

FIFO: int
RANDOM: int
PRIORITIES: int
ASK: int

class Chooser(Probe):
    watched: greenlet.greenlet | None
    at_park: dict[int, Any] | None
    limit: Callable[[int], BaseException]
    on_choice: Callable[[int, int, Any, Any], object] | None
    awaits: Callable[[], object] | None
    log: list[str] | None
    @property
    def options(self) -> list[int]: ...
    @property
    def taken(self) -> list[int]: ...
    @property
    def steps(self) -> int: ...
    @property
    def parks(self) -> int: ...
    def __init__(
        self,
        mode: int = 0,
        departures: dict[int, int] | None = None,
        seed: int = 0,
        changes: Iterable[int] = (),
        ask: Callable[[int], int] | None = None,
        most: int = 1000000,
    ) -> None: ...
    def forget(self) -> None: ...

def preempt(on: bool) -> bool: ...
