"""What servers write about requests."""

from __future__ import annotations

__all__ = ["SILENCE"]


class _Silence:
    """A log that keeps nothing."""

    def write(self, text: str) -> None:
        """Forget *text*."""

    def writelines(self, lines: list[str]) -> None:
        """Forget them."""

    def flush(self) -> None:
        """There is nothing to flush."""


SILENCE = _Silence()
