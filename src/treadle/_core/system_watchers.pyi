import os
from types import FrameType

from treadle._core.watchers import Loop, Timer, Watcher

class Signal(Watcher):
    def __init__(
        self, loop: Loop, signalnum: int, ref: bool = True, priority: int | None = None
    ) -> None: ...
    @property
    def signalnum(self) -> int: ...

class Child(Watcher):
    rpid: int
    rstatus: int
    def __init__(
        self,
        loop: Loop,
        pid: int,
        trace: int = 0,
        ref: bool = True,
        priority: int | None = None,
    ) -> None: ...
    @property
    def pid(self) -> int: ...
    @property
    def trace(self) -> bool: ...

class Fork(Watcher): ...

class Stat(Timer):
    def __init__(
        self,
        loop: Loop,
        path: str | bytes,
        interval: float = 0.0,
        ref: bool = True,
        priority: int | None = None,
    ) -> None: ...
    @property
    def path(self) -> str | bytes: ...
    @property
    def attr(self) -> os.stat_result | None: ...
    @property
    def prev(self) -> os.stat_result | None: ...
    @property
    def interval(self) -> float: ...

def on_signal(number: int, frame: FrameType | None) -> None: ...
def reap_signalled() -> None: ...
def reap(pid: int, flags: int) -> bool: ...
def look(self: Stat) -> None: ...
