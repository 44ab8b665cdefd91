from typing import final

from treadle._core.hub import Hub

@final
class PrivateHub(Hub):
    def __init__(self, poller: str | None = None) -> None: ...
