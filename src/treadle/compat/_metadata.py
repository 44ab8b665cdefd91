"""The distribution of gevent that ``importlib.metadata`` finds."""

from __future__ import annotations

from importlib.metadata import Distribution
from os import PathLike
from pathlib import Path


class AliasDistribution(Distribution):
    """A distribution that has only a name and a version."""

    def __init__(self, name: str, version: str) -> None:
        self._metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        """Return the text of METADATA, which is the only file, and None for any other name."""
        return self._metadata if filename == "METADATA" else None

    def locate_file(self, path: str | PathLike[str]) -> Path:
        """Return the path of a file of the distribution, in the folder that contains treadle."""
        return Path(__file__).parents[2] / path
