from types import TracebackType
from typing import Literal, TypeVar

import greenlet

_T = TypeVar("_T", bound=Timeout)

public_class: type[Timeout]

class Timeout(BaseException):
    seconds: float | None
    exception: BaseException | type[BaseException] | str | Literal[False] | None
    def __init__(
        self,
        seconds: float | None = None,
        exception: BaseException | type[BaseException] | str | Literal[False] | None = None,
        ref: bool = True,
        priority: int = -1,
    ) -> None: ...
    @property
    def pending(self) -> bool: ...
    def start(self) -> None: ...
    @classmethod
    def start_new(
        cls: type[_T],
        timeout: float | Timeout | None = None,
        exception: BaseException | type[BaseException] | str | Literal[False] | None = None,
        ref: bool = True,
        _one_shot: bool = False,
    ) -> _T: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def _on_expiration(self, prev_greenlet: greenlet.greenlet, ex: BaseException) -> None: ...
    def __enter__(self: _T) -> _T: ...
    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> bool: ...
