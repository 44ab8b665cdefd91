"""Who may import whom: the layer table of ARCHITECTURE.md, held against the sources."""

import ast
import importlib
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest
from adapters import is_adapter

SOURCE = Path(__file__).resolve().parents[1] / "src"

# A module or package directly below `treadle`, and the layer it belongs to. `treadle` itself ("")
# is the public face of all of them.
LAYERS = {
    **dict.fromkeys(["_core", "exceptions"], 0),
    **dict.fromkeys(
        [
            "core",
            "event",
            "greenlet",
            "hub",
            "local",
            "lock",
            "pool",
            "queue",
            "threading",
            "timeout",
        ],
        1,
    ),
    **dict.fromkeys(["_config", "_crew", "_event_interfaces", "_monitor", "_tracer"], 1),
    **dict.fromkeys(["_builtins", "_importlock", "_waiting", "contextvars"], 1),
    **dict.fromkeys(["builtins", "events", "thread", "time", "util", "win32util"], 1),
    **dict.fromkeys(
        [
            "_loops",
            "_multiprocessing",
            "_pipes",
            "_stdin",
            "ares",
            "fcntl",
            "fileobject",
            "futures",
            "os",
            "resolver",
            "resolver_ares",
            "resolver_thread",
            "select",
            "selectors",
            "signal",
            "socket",
            "ssl",
            "subprocess",
            "threadpool",
        ],
        2,
    ),
    **dict.fromkeys(["backdoor", "baseserver", "http", "monkey", "native", "pywsgi", "server"], 3),
    **dict.fromkeys(["websocket"], 3),
    **dict.fromkeys(["", "__main__", "cli", "compat", "demo", "serve"], 4),
    **dict.fromkeys(["celery", "gunicorn", "psycopg2"], 4),
}

# The imports that stand inside functions, and why each must.
INSIDE_FUNCTIONS = {
    ("treadle._core.hub", "gc"): "only the report of a LoopExit looks for greenlets",
    ("treadle._core.hub", "greenlet"): "the same",
    ("treadle._core.poller", "_socket"): "only the portable poller pays for it",
    ("treadle._core.poller", "selectors"): "the same; it must be imported before patching or never",
    ("treadle._core.poller", "socket"): "the same, and only on Windows",
    ("treadle.http.connection", "treadle.http.http2"): "only who serves HTTP/2 needs h2",
    ("treadle.http.wsgi", "treadle.websocket"): "only who is asked for WebSockets needs wsproto",
    ("treadle.events", "treadle._event_interfaces"): "only for who has zope.interface, and asks",
    ("treadle.compat._finder", "treadle.compat._metadata"): "loads what patching must come before",
    ("treadle.events", "importlib.metadata"): "imports much, for whoever patches only",
    ("treadle.cli", "treadle.compat"): "only a program that is run needs it",
    ("treadle.cli", "treadle.demo"): "it imports what a program that is run must find patched",
    ("treadle.cli", "treadle.monkey"): "only a program that is run needs it",
    ("treadle.cli", "treadle.serve.command"): "it needs what treadle[serve] installs",
    ("treadle.serve.worker", "ssl"): "only who serves TLS pays for it",
}


class Import(NamedTuple):
    importer: str
    imported: str
    inside_function: bool
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(
    path for suffix in ("py", "pyx", "pxd") for path in SOURCE.glob(f"treadle/**/*.{suffix}")
)
MODULES = {module_name(path) for path in SOURCES}


def targets(package: str, level: int, base: str, names: list[str]) -> Iterator[str]:
    """The modules that `from base import names` loads, seen from inside `package`."""
    if level:
        parents = package.split(".")
        base = ".".join(parents[: len(parents) - level + 1] + ([base] if base else []))
    for name in names:
        yield f"{base}.{name}" if f"{base}.{name}" in MODULES else base


def python_imports(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, inside, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            for imported in targets(package, node.level, node.module or "", names):
                yield Import(importer, imported, inside, node.lineno)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(path.read_text()), False)


CYTHON_IMPORT = re.compile(
    r"^(?P<indent>[ ]*)"
    r"(?:from[ ]+(?P<dots>\.*)(?P<base>[\w.]*)[ ]+c?import[ ]+"
    r"(?:\((?P<many>[^)]*)\)|(?P<some>[^#\n(]*))"
    r"|c?import[ ]+(?P<plain>[^#\n]*))",
    re.MULTILINE,
)
FUNCTION_HEAD = re.compile(r"[ ]*(?:(?:async[ ]+)?def|cp?def(?![ ]+(?:extern|class))|\))")


def stands_inside_function(lines: list[str], indent: int) -> bool:
    """Whether a statement that follows `lines`, indented by `indent`, belongs to a function."""
    for line in reversed(lines):
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth < indent:
            if FUNCTION_HEAD.match(line):
                return True
            indent = depth
    return False


def cython_imports(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    package = importer.rpartition(".")[0]
    text = path.read_text()
    for match in CYTHON_IMPORT.finditer(text):
        lines = text[: match.start()].splitlines()
        inside = stands_inside_function(lines, len(match["indent"]))
        if match["plain"]:
            imported = [part.split()[0] for part in match["plain"].split(",")]
        else:
            listed = re.sub(r"#.*", "", match["many"] or match["some"])
            names = [part.split()[0] for part in listed.split(",") if part.strip()]
            imported = list(targets(package, len(match["dots"]), match["base"], names))
        for name in imported:
            yield Import(importer, name, inside, len(lines) + 1)


IMPORTS = [
    found
    for path in SOURCES
    for found in (python_imports(path) if path.suffix == ".py" else cython_imports(path))
]
OURS = [
    found for found in IMPORTS if found.imported in MODULES and found.importer != found.imported
]


def layer(module: str) -> int:
    return LAYERS[".".join(module.split(".")[1:2])]


def test_the_sources_are_found() -> None:
    assert {"treadle", "treadle._core"} <= MODULES
    assert OURS


def test_every_module_has_a_layer() -> None:
    assert {".".join(module.split(".")[1:2]) for module in MODULES} <= set(LAYERS)


def test_imports_only_look_down() -> None:
    upward = [found for found in OURS if layer(found.imported) > layer(found.importer)]
    assert upward == []


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        graph[found.importer].add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_imports_inside_functions_are_the_listed_ones() -> None:
    found = {(each.importer, each.imported) for each in IMPORTS if each.inside_function}
    assert found == set(INSIDE_FUNCTIONS)


def public_modules() -> list[str]:
    return sorted(
        module
        for module in MODULES
        if not any(part.startswith("_") for part in module.split(".")) and not is_adapter(module)
    )


@pytest.mark.parametrize("module", public_modules())
def test_every_public_name_has_one_home_that_it_names(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", ()):
        value = getattr(loaded, name)
        home = getattr(value, "__module__", None)
        if not callable(value) or not isinstance(home, str) or home.split(".")[0] != "treadle":
            continue  # the standard library's, or a plain value that cannot say where it lives
        if any(part.startswith("_") for part in home.split(".")):
            # A function may stay where it is compiled, or in a package's private part.
            assert not isinstance(value, type), f"{value} needs a public subclass or home"
        else:
            exported = importlib.import_module(home).__all__
            assert value.__name__ in exported, f"{home}.{value.__name__} is not in its __all__"


def test_the_checks_see_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    monkeypatch.setattr(
        f"{__name__}.MODULES", {"treadle._core.hub", "treadle._core.poller", "treadle.event"}
    )
    core = tmp_path / "treadle" / "_core"
    core.mkdir(parents=True)
    compiled = core / "hub.pyx"
    compiled.write_text(
        "from treadle._core.poller cimport (\n    READ,  # a comment\n    Poller,\n)\n"
        "from treadle._core import poller\n"
        "try:\n    import selectors\nexcept ImportError:\n    pass\n"
        "cdef class Hub:\n    cdef int wait(\n        self, int n\n    ) except -1:\n"
        "        import socket\n"
        "cdef extern from 'x.h':\n    int f()\n"
        "def g():\n    if True:\n        from . import poller\n"
    )
    assert [(found.imported, found.inside_function) for found in cython_imports(compiled)] == [
        ("treadle._core.poller", False),
        ("treadle._core.poller", False),
        ("treadle._core.poller", False),
        ("selectors", False),
        ("socket", True),
        ("treadle._core.poller", True),
    ]
    plain = tmp_path / "treadle" / "event.py"
    plain.write_text("from ._core import hub as h\ndef f():\n    from treadle import event\n")
    assert [(found.imported, found.inside_function) for found in python_imports(plain)] == [
        ("treadle._core.hub", False),
        ("treadle.event", True),
    ]
