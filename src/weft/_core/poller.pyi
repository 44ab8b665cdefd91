from typing import Any

class Pollable:
    @property
    def fd(self) -> int: ...

class Poller:
    @property
    def edge_triggered(self) -> bool: ...

class SelectorsPoller(Poller):
    def __init__(self) -> None: ...
    def fileno(self) -> int: ...

selector_class: Any

def pin_selector() -> Any: ...
