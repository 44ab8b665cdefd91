"""Functions that stand where the interpreter has built-in ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Builtin(staticmethod):  # type: ignore[type-arg]
    """Unlike a plain function, it does not become a method where a class keeps it.

    ``class Clock: sleep = time.sleep`` is common, and works with the built-in one.
    """

    def __reduce__(self) -> str:  # pickled by name, as functions are
        return self.__name__

    def __repr__(self) -> str:
        return f"<function {self.__module__}.{self.__name__}>"


if TYPE_CHECKING:

    def builtin(function: Callable[_P, _T]) -> Callable[_P, _T]:
        """*function* as one that classes do not bind."""
        return function

else:
    builtin = _Builtin
