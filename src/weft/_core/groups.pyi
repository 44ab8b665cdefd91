from typing import Any

from typing_extensions import disjoint_base

from weft._core.event import Event
from weft._core.locks import Semaphore
from weft._core.waiter import Collector

@disjoint_base
class Members(Collector):
    @property
    def alive(self) -> set[Any]: ...
    @property
    def dying(self) -> set[Any]: ...
    @property
    def empty(self) -> Event: ...
    def __init__(self, empty: Event, places: Semaphore | None) -> None: ...
    def enter(
        self, member: object, blocking: bool = True, timeout: float | None = None
    ) -> bool: ...
    def leave(self, member: object) -> None: ...
