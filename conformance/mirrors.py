"""Writes stubs for the names that treadle copies from standard modules.

    python -m conformance.mirrors

``treadle.socket`` has all names of ``socket``. It defines some of them itself and copies the rest
at run time. Type checkers do not see the copies, so they read ``treadle/_stdlib/socket.pyi``, which
imports the copied names one by one. (With a star import, some checkers would not see treadle's own
definitions.) The names are those of typeshed for Linux, in the copy that mypy contains.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "treadle"
FOLDER = SOURCE / "_stdlib"
#: The modules of treadle that have all names of the standard module with the same name.
MIRRORS = ("os", "select", "selectors", "signal", "socket", "ssl", "subprocess", "time")
#: The versions of CPython that treadle supports.
VERSIONS = [(3, minor) for minor in range(11, 16)]

HEAD = '''\
"""What treadle.{name} takes over from {name}. Written by `python -m conformance.mirrors`."""

import sys

from {name} import (
'''


def typeshed(name: str) -> ast.Module:
    """Return the parsed stub of the standard module *name*. Raises SystemExit without mypy."""
    mypy = find_spec("mypy")
    if mypy is None or mypy.origin is None:
        raise SystemExit("mypy, which brings the stubs, is not installed: pip install '.[dev]'")
    folder = Path(mypy.origin).parent / "typeshed" / "stdlib"
    module = folder / f"{name}.pyi"
    return ast.parse((module if module.exists() else folder / name / "__init__.pyi").read_text())


def holds(test: ast.expr, version: tuple[int, int]) -> bool:
    """Return whether a condition of a stub is true on Linux for *version* of CPython."""
    names = {"sys": _Sys(version), "TYPE_CHECKING": True}
    return bool(eval(compile(ast.Expression(test), "stub", "eval"), names))


class _Sys:
    platform = "linux"

    def __init__(self, version: tuple[int, int]) -> None:
        self.version_info = version


def declared(body: list[ast.stmt], version: tuple[int, int]) -> Iterator[str]:
    """Yield the names that the statements of a stub declare, for *version* of CPython."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                yield from (each.name for each in names if each.name == each.asname)
            case ast.If(test=test):
                yield from declared(node.body if holds(test, version) else node.orelse, version)


def made_here(name: str) -> set[str]:
    """Return the names that ``treadle.<name>`` defines itself or imports from treadle."""
    return set(bound(ast.parse((SOURCE / f"{name}.py").read_text()).body))


def bound(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that the statements of a module define, or import from treadle."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (each.id for each in targets if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.ImportFrom(names=names, module=str(module)) if module.startswith("treadle."):
                yield from (each.asname or each.name for each in names)
            case ast.If(test=test) if ast.unparse(test) == "not _typing.TYPE_CHECKING":
                pass  # these have the types of the standard module's names
            case ast.If() | ast.Try():
                yield from bound([*node.body, *node.orelse])


def names_of(name: str, version: tuple[int, int]) -> set[str]:
    """Return the names of the standard module that treadle copies, for *version* of CPython."""
    stub = set(declared(typeshed(name).body, version))
    return {each for each in stub - made_here(name) if not each.startswith("_")}


def stub_of(name: str) -> str:
    """Return the text of the stub that imports the names that ``treadle.<name>`` copies."""
    by_version = {version: names_of(name, version) for version in VERSIONS}
    always = set.intersection(*by_version.values())
    text = HEAD.format(name=name) + _lines(always, "    ") + ")\n"
    seen = set(always)
    for version, names in by_version.items():
        gone = {each for later in VERSIONS if later > version for each in names - by_version[later]}
        for group, operator, other in (
            (names - seen - gone, ">=", version),
            (gone - seen, "<", min(v for v in VERSIONS if v > version) if gone else version),
        ):
            if group:
                text += f"\nif sys.version_info {operator} {other}:\n    from {name} import (\n"
                text += _lines(group, "        ") + "    )\n"
            seen |= group
    return text if "version_info" in text else text.replace("import sys\n\n", "")


def _lines(names: set[str], indent: str) -> str:
    return "".join(f"{indent}{each} as {each},\n" for each in sorted(names))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in MIRRORS:
        (FOLDER / f"{name}.pyi").write_text(stub_of(name))
    print(f"written: {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
