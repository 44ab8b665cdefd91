"""The two environments of a run: one with gevent, one with the same packages except gevent."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "{}.{}".format(*sys.version_info)
HOME = ROOT / "build" / "conformance" / VERSION
SITE = Path("lib", f"python{VERSION}", "site-packages")

GEVENT = "gevent==26.9.0"
#: Packages that gevent's tests use if they are installed, and those of the resolvers of both.
ALSO = ["psutil", "requests", "objgraph", "zope.interface", "zope.event", "dnspython<3", "pycares"]
#: Packages that parts of treadle need.
ALSO += ["h2"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment under ``build/``."""

    name: str

    @property
    def folder(self) -> Path:
        return HOME / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        return self.folder / SITE

    def make(self, requirements: list[str]) -> bool:
        """Create the environment and install *requirements* in it.

        Returns False if that was done before with the same requirements.
        """
        stamp = self.folder / "requirements"
        wanted = "\n".join(requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return False
        venv.EnvBuilder(clear=True, with_pip=True).create(self.folder)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "install", *requirements], check=True)
        stamp.write_text(wanted)
        return True

    def installed(self) -> list[str]:
        """Return the installed packages as requirements."""
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "freeze"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()


def treadle_package() -> Path:
    """Return the folder of the treadle that this interpreter imports, or of the source tree's.

    Raises SystemExit if it is not built for this interpreter.
    """
    found = importlib.util.find_spec("treadle")
    package = ROOT / "src" / "treadle" if found is None else Path(str(found.origin)).parent
    if not (package / "_core" / f"hub{sysconfig.get_config_var('EXT_SUFFIX')}").exists():
        raise SystemExit(
            f"{package} is not built for CPython {VERSION}: install treadle with this interpreter, "
            "or run `python setup.py build_ext --inplace` with it"
        )
    return package


def prepare(package: Path) -> dict[str, Environment]:
    """Make both environments and return them by name; *package* is the folder of treadle."""
    gevent, treadle = Environment("gevent"), Environment("treadle")
    if gevent.make([GEVENT, *ALSO]) or not (treadle.folder / "requirements").exists():
        # The versions that gevent runs with. gevent itself must not be importable.
        treadle.make([line for line in gevent.installed() if not line.startswith("gevent==")])
    # A link, since nothing else in the folder that contains treadle may be importable.
    link = treadle.site / "treadle"
    link.unlink(missing_ok=True)
    link.symlink_to(package, target_is_directory=True)
    overlay = Path(__file__).with_name("overlay")
    (treadle.site / "gevent_is_treadle.pth").write_text(f"{overlay}\nimport gevent_is_treadle\n")
    return {"gevent": gevent, "treadle": treadle}
