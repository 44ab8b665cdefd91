from treadle._core.locks import RLock

class Turn(RLock):
    was_left: bool
    def reclaim(self) -> bool: ...

def reclaim_all() -> None: ...
