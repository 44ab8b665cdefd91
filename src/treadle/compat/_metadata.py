"""What ``importlib.metadata`` is told of gevent."""

from __future__ import annotations

from importlib.metadata import Distribution
from os import PathLike
from pathlib import Path


class AliasDistribution(Distribution):
    """A distribution of which nothing is known but its name and the version stood for."""

    def __init__(self, name: str, version: str) -> None:
        self._metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        """The metadata; there are no other files."""
        return self._metadata if filename == "METADATA" else None

    def locate_file(self, path: str | PathLike[str]) -> Path:
        """Where a file of the distribution is: beside treadle."""
        return Path(__file__).parents[2] / path
