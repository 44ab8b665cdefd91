"""Greenlets that people spawn: what gevent.greenlet offers."""

from __future__ import annotations


from typing import Any

from greenlet import GreenletExit

from weft._core.greenlet import Greenlet as CoreGreenlet
from weft._core.greenlet import getcurrent, kill_raw, spawn_raw
from weft._core.hub import get_current_hub

__all__ = ["Greenlet", "GreenletExit", "getcurrent", "kill", "spawn", "spawn_later", "spawn_raw"]


class Greenlet(CoreGreenlet):
    """A function that runs beside others; the core class's methods say the rest."""

    __slots__ = ()

    def __repr__(self) -> str:
        call = self._formatinfo()
        return f"<{type(self).__name__} at {id(self):#x}{': ' if call else ''}{call}>"

    def _formatinfo(self) -> str:
        function = self._run
        if function is None:
            return ""
        arguments = [repr(arg)[:50] for arg in self.args]
        arguments += [f"{key}={value!r}"[:50] for key, value in self.kwargs.items()]
        name = getattr(function, "__name__", None) or repr(function)
        return f"{name}({', '.join(arguments)})" if arguments else name


spawn = Greenlet.spawn
spawn_later = Greenlet.spawn_later


def kill(greenlet: Any, exception: BaseException | type[BaseException] = GreenletExit) -> None:
    """Raise *exception* in *greenlet* soon, without waiting; raw greenlets are taken too."""
    if isinstance(greenlet, CoreGreenlet):
        greenlet.kill(exception, block=False)
    else:
        kill_raw(greenlet, exception)
