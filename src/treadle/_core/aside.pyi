from collections.abc import Callable
from typing import Any, final

@final
class Tracing: ...

def guard_loops(
    suspend: Callable[[], object] | None, resume: Callable[[Any], object] | None
) -> None: ...
