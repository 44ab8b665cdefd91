"""The command ``treadle serve``."""

from __future__ import annotations

import argparse
import os
import sys

from treadle import monkey
from treadle.serve.process import open_standard
from treadle.serve.settings import SettingsError, read_settings
from treadle.serve.supervisor import Supervisor

__all__ = ["serve"]


def serve(options: argparse.Namespace) -> int:
    """Patch the standard library and serve; return the exit status."""
    open_standard()
    try:
        settings = read_settings(options)
        if settings.chdir:
            _change_folder(settings.chdir)
        sys.path.insert(0, os.getcwd())
        monkey.patch_all()
        return Supervisor(settings).run()
    except SettingsError as exc:
        print(f"treadle serve: {exc}", file=sys.stderr)
        return 2


def _change_folder(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as exc:
        raise SettingsError(f"chdir: {exc}") from exc
