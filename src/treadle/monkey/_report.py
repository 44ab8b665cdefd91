"""Describe references to originals by module, line and name."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType

from treadle.monkey._objects import is_a, namespace, qualname_of
from treadle.monkey._references import Reference


def report(references: Iterable[Reference]) -> list[str]:
    """Return a line ``module:line: name ...`` for each reference, sorted by module and line.

    The line number is missing if there is no source.
    """
    found = [(each.module, _line_of(each) or 0, each) for each in references]
    return [
        f"{module}:{line or ''}: {reference.qualname} {_state_of(reference)}".replace("::", ":")
        for module, line, reference in sorted(found, key=lambda entry: entry[:2])
    ]


def _state_of(reference: Reference) -> str:
    title, chain = reference.original.title, reference.chain
    if not reference.attribute:
        return f"derives from the unpatched {title}"
    made = len(chain) > 1 and type(chain[-2].obj) is chain[-1].obj
    verb = "is" if len(chain) == 1 + made else "holds"
    return f"{verb} a {title} made before patching" if made else f"{verb} the unpatched {title}"


def _line_of(reference: Reference) -> int | None:
    if is_a(reference.scope, FunctionType):
        code: CodeType = reference.scope.__code__
        return code.co_firstlineno
    file = namespace(sys.modules.get(reference.module)).get("__file__")
    try:
        tree = ast.parse("".join(linecache.getlines(file if type(file) is str else "")))
    except (SyntaxError, ValueError):
        return None
    if is_a(reference.scope, ModuleType):
        return next(_bindings(tree.body, reference.attribute), None)
    definition = _class_called(tree, qualname_of(reference.scope))
    if definition is None:
        return None
    if reference.owner is reference.scope:
        return next(_bindings(definition.body, reference.attribute), definition.lineno)
    return next(_assignments(definition, reference.attribute), definition.lineno)


def _class_called(tree: ast.AST, qualname: str) -> ast.ClassDef | None:
    for part in qualname.replace(".<locals>", "").split("."):
        inner = [node for node in ast.walk(tree) if getattr(node, "name", None) == part]
        if not inner:
            return None
        tree = inner[0]
    return tree if isinstance(tree, ast.ClassDef) else None


def _bindings(body: Iterable[ast.AST], name: str) -> Iterator[int]:
    """Yield the line numbers that bind *name* in the scope of *body*, not in nested scopes."""
    for node in body:
        if isinstance(node, ast.alias):
            bound = (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.Name):
            bound = node.id if isinstance(node.ctx, ast.Store) else ""
        else:
            bound = getattr(node, "name", "")
        if bound == name:
            yield node.lineno  # type: ignore[attr-defined]
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _bindings(ast.iter_child_nodes(node), name)


def _assignments(definition: ast.ClassDef, attribute: str) -> Iterator[int]:
    attributes = [node for node in ast.walk(definition) if isinstance(node, ast.Attribute)]
    for node in attributes:
        if node.attr == attribute and isinstance(node.ctx, ast.Store):
            yield node.lineno
