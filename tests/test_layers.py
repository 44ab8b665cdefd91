"""Check that modules import each other only as the layer table of ARCHITECTURE.md allows."""

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

# The layer of each module or package directly below `treadle`. `treadle` itself ("") exports names
# of all of them.
LAYERS = {
    **dict.fromkeys(["_core", "exceptions"], 0),
    **dict.fromkeys(
        [
            *("_config", "core", "event", "events", "greenlet", "hub", "local", "lock"),
            *("observe", "pool", "queue", "scopes", "taskgroup", "thread", "threading", "time"),
            *("timeout", "util"),
        ],
        1,
    ),
    **dict.fromkeys(
        [
            *("aio", "fcntl", "fileobject", "futures", "os", "resolver", "select", "selectors"),
            *("signal", "socket", "sqlite3", "ssl", "subprocess", "threadpool"),
        ],
        2,
    ),
    **dict.fromkeys(
        ["backdoor", "baseserver", "http", "monkey", "pywsgi", "server", "testing", "websocket"], 3
    ),
    **dict.fromkeys(["", "__main__", "cli", "compat", "demo", "serve"], 4),
    **dict.fromkeys(["celery", "gunicorn", "psycopg2"], 4),
}

# The late imports, with their reasons: imports inside functions, and modules that strings name.
WHEN_CHOSEN = "a setting: the one that is chosen is imported"
WHEN_PATCHED = "only what is patched may be imported, and with it the standard module"
WHEN_ASKED_FOR = "what a program that says import gevent asks for"
LATE = {
    ("treadle", "treadle.core"): WHEN_CHOSEN,
    ("treadle", "treadle.fileobject"): WHEN_CHOSEN,
    ("treadle", "treadle.resolver.ares"): WHEN_CHOSEN,
    ("treadle", "treadle.resolver.blocking"): WHEN_CHOSEN,
    ("treadle", "treadle.resolver.dnspython"): WHEN_CHOSEN,
    ("treadle", "treadle.resolver.thread"): WHEN_CHOSEN,
    ("treadle", "treadle.threadpool"): WHEN_CHOSEN,
    ("treadle._core.poller", "_socket"): "only the portable poller pays for it",
    ("treadle._core.poller", "selectors"): "only the portable poller pays for it",
    ("treadle._core.poller", "socket"): "only the portable poller pays for it, on Windows",
    ("treadle.cli", "treadle.celery"): "only Celery is told of it",
    ("treadle.cli", "treadle.compat"): "only a program that is run needs it",
    ("treadle.cli", "treadle.demo"): "it imports what a program that is run must find patched",
    ("treadle.cli", "treadle.gunicorn"): "only gunicorn is told of it",
    ("treadle.cli", "treadle.monkey"): "only a program that is run needs it",
    ("treadle.cli", "treadle.serve.command"): "it needs what treadle[serve] installs",
    ("treadle.compat", "gevent.monkey"): "the alias must be installed first",
    ("treadle.compat._finder", "treadle.compat._metadata"): "loads what patching must come before",
    ("treadle.compat.gevent._compat", "psutil"): "optional",
    ("treadle.compat.gevent.events", "treadle.compat.gevent._event_interfaces"): (
        "needs zope.interface: only for who asks for one"
    ),
    **{
        ("treadle.compat._finder", f"treadle.{name}"): WHEN_ASKED_FOR
        for name in ("event", "greenlet", "hub", "local", "lock", "monkey", "observe.tracer")
    },
    **{
        ("treadle.compat._finder", f"treadle.{name}"): WHEN_ASKED_FOR
        for name in ("pool", "queue", "socket")
    },
    ("treadle.events", "importlib.metadata"): "imports much, for whoever patches only",
    ("treadle.http.connection", "treadle.http.http2"): "only who serves HTTP/2 needs h2",
    ("treadle.http.wsgi", "treadle.websocket"): "it is loaded when a client asks for a WebSocket",
    ("treadle.hub", "treadle.observe.monitor"): "only who monitors pays for it",
    **{
        ("treadle.monkey._modules", f"treadle.{name}"): WHEN_PATCHED
        for name in ("fcntl", "os", "queue", "select", "selectors", "signal", "socket", "ssl")
    },
    **{
        ("treadle.monkey._modules", f"treadle.{name}"): WHEN_PATCHED
        for name in ("subprocess", "thread", "threading", "time")
    },
    ("treadle.monkey._patches", "_multiprocessing"): WHEN_PATCHED,
    ("treadle.monkey._patches", "_threading_local"): WHEN_PATCHED,
    ("treadle.monkey._patches", "multiprocessing"): WHEN_PATCHED,
    ("treadle.monkey._patches", "treadle.monkey._multiprocessing"): WHEN_PATCHED,
    ("treadle.observe.monitor", "psutil"): "optional",
    ("treadle.server", "treadle.ssl"): "only who serves TLS pays for it",
    ("treadle.testing._hypothesis", "hypothesis"): "optional",
    ("treadle.serve.worker", "ssl"): "only who serves TLS pays for it",
}

# The modules that import a module by a name made at run time, and the source of the name.
BY_NAME = {
    "treadle": "its list of modules",
    "treadle._config": "a setting's value, which a user may choose",
    "treadle.cli": "its table of programs",
    "treadle.compat._finder": "the name of gevent's that was imported",
    "treadle.compat.gevent": "the attribute that was asked for",
    "treadle.monkey._modules": "its table SOURCES",
    "treadle.monkey._saved": "the standard module that was asked for",
    "treadle.serve.worker": "the application to serve",
}


class Import(NamedTuple):
    importer: str
    imported: str
    late: bool
    line: int


#: Stands for the imported module if its name is not a literal.
ANY = "*"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(
    path for suffix in ("py", "pyx", "pxd") for path in SOURCE.glob(f"treadle/**/*.{suffix}")
)
MODULES = {module_name(path) for path in SOURCES}


def targets(package: str, level: int, base: str, names: list[str]) -> Iterator[str]:
    """Yield the modules that `from base import names` loads, seen from inside `package`."""
    if level:
        parents = package.split(".")
        base = ".".join(parents[: len(parents) - level + 1] + ([base] if base else []))
    for name in names:
        yield f"{base}.{name}" if f"{base}.{name}" in MODULES else base


def named(text: str) -> str | None:
    """Return the module of treadle that `text` names, perhaps with an attribute, or None."""
    found = text.replace(":", ".")
    if not re.fullmatch(r"treadle(\.\w+)+", found):
        return None
    if found not in MODULES:
        found = found.rpartition(".")[0]
    return found if found in MODULES and found != "treadle" else None


def docstrings(tree: ast.Module) -> set[ast.AST]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def imports_by_name(node: ast.Call) -> bool:
    """Return whether a call is one of `import_module()` or `__import__()`, under any name."""
    called = (
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    )
    return called.endswith(("import_module", "__import__"))


def python_imports(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    prose = docstrings(tree)

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, inside, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            for imported in targets(package, node.level, node.module or "", names):
                yield Import(importer, imported, inside, node.lineno)
        elif isinstance(node, ast.Call) and imports_by_name(node):
            name = node.args[0]
            known = isinstance(name, ast.Constant) and isinstance(name.value, str)
            if not (known and named(name.value)):  # names of treadle's modules are found below
                yield Import(importer, name.value if known else ANY, True, node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            found = named(node.value)
            if found is not None:
                yield Import(importer, found, True, node.lineno)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(tree, False)


CYTHON_IMPORT = re.compile(
    r"^(?P<indent>[ ]*)"
    r"(?:from[ ]+(?P<dots>\.*)(?P<base>[\w.]*)[ ]+c?import[ ]+"
    r"(?:\((?P<many>[^)]*)\)|(?P<some>[^#\n(]*))"
    r"|c?import[ ]+(?P<plain>[^#\n]*))",
    re.MULTILINE,
)
CYTHON_STRING = re.compile(
    r"(?P<by_name>(?:import_module|__import__)\((?:[\"'](?P<module>[\w.]+)[\"'])?)"
    r"|[\"'](?P<string>treadle[\w.:]+)[\"']"
)
FUNCTION_HEAD = re.compile(r"[ ]*(?:(?:async[ ]+)?def|cp?def(?![ ]+(?:extern|class))|\))")


def stands_inside_function(lines: list[str], indent: int) -> bool:
    """Return whether a statement after `lines`, indented by `indent`, is inside a function."""
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
    for match in CYTHON_STRING.finditer(text):
        line = text[: match.start()].count("\n") + 1
        if match["by_name"]:
            yield Import(importer, match["module"] or ANY, True, line)
        elif named(match["string"]):
            yield Import(importer, named(match["string"]), True, line)


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


def test_late_imports_are_the_listed_ones() -> None:
    found = {(each.importer, each.imported) for each in IMPORTS if each.late}
    by_name = {importer for importer, imported in found if imported == ANY}
    assert by_name == set(BY_NAME)
    assert {pair for pair in found if pair[1] != ANY} == set(LATE)


def test_no_source_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert {path.name: length for path, length in lengths.items() if length >= 900} == {}


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
            continue  # from the standard library, or a plain value without a home
        if any(part.startswith("_") for part in home.split(".")):
            # A function may name a compiled module or a private part of a package as its home.
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
    assert [(found.imported, found.late) for found in cython_imports(compiled)] == [
        ("treadle._core.poller", False),
        ("treadle._core.poller", False),
        ("treadle._core.poller", False),
        ("selectors", False),
        ("socket", True),
        ("treadle._core.poller", True),
    ]
    plain = tmp_path / "treadle" / "event.py"
    plain.write_text("from ._core import hub as h\ndef f():\n    from treadle import event\n")
    assert [(found.imported, found.late) for found in python_imports(plain)] == [
        ("treadle._core.hub", False),
        ("treadle.event", True),
    ]


# The variables of compiled modules that live as long as the process, with the reason why none of
# them can be changed by other code between its uses: each operation that may switch to another
# greenlet, run a signal handler or release the GIL lets such code run.
SET_ONCE = "set while its module is imported, never changed"
ONE_STEP = "each use is one step: read or written, never both around anything that may switch"
CHANGED_IN_PLACE = "one item at a time; loops over it take a copy, or let no other code run"
A_CACHE = "what is found in it depends on the key alone"
STATICS = {
    "_core/aside.pyx": {
        "functions": SET_ONCE,
        "resume_loop": "read in one step with suspend_loop, before the wait",
        "resumed": SET_ONCE,
        "suspend_loop": ONE_STEP,
    },
    "_core/audit.h": {"auditor": ONE_STEP, "audited": ONE_STEP, "is_audited": ONE_STEP},
    "_core/builtins.pyx": {"NUMBER": SET_ONCE},
    "_core/chunks.h": {"chunks": "changed under its lock, by code that runs no Python"},
    "_core/clock.h": {"frequency": A_CACHE},
    "_core/clock.pyx": {"source": ONE_STEP},
    "_core/context.pyx": {"decimal_variable": ONE_STEP, "is_decimal_known": ONE_STEP},
    "_core/delivery.pyx": {"functions": SET_ONCE},
    "_core/descriptor.pyx": {
        "ASKS_AGAIN": SET_ONCE,
        "asked": ONE_STEP,
        "asked_in": ONE_STEP,
        "asker": "compared with the current greenlet, never followed",
        "budget": ONE_STEP,
    },
    "_core/epoll.h": {"no_pwait2": ONE_STEP, "treadle_forks": "only a fork changes it"},
    "_core/event.pyx": {"PREEMPTION": ONE_STEP},
    "_core/greenlet.pxd": {"adopting_groups": ONE_STEP},
    "_core/greenlet.pyx": {
        "GETS": SET_ONCE,
        "exceptions_in": SET_ONCE,
        "adopting_groups": ONE_STEP,
        "report_awaited": ONE_STEP,
        "on_spawn": CHANGED_IN_PLACE,
        "left_to_others": CHANGED_IN_PLACE,
        "stack_limit": ONE_STEP,
        "track_tree": ONE_STEP,
    },
    "_core/hub.pyx": {
        "REASONS": SET_ONCE,
        "delivery": SET_ONCE,
        "ending": ONE_STEP,
        "first_main": SET_ONCE,
        "loops_run": ONE_STEP,
        "with_state": SET_ONCE,
        "sleeping_threads": ONE_STEP,
        "treadle_thread_hub": "one for each thread, which alone changes it",
    },
    "_core/local.pyx": {"last_key": ONE_STEP},
    "_core/locks.pyx": {
        "CHECKS_BLOCKING": SET_ONCE,
        "PREEMPTION": ONE_STEP,
    },
    "_core/poller.pyx": {"last_serial": ONE_STEP},
    "_core/probe.pyx": {"preemptions": SET_ONCE},
    "_core/queues.pyx": {
        "PREEMPTION": ONE_STEP,
        **dict.fromkeys(["NOTHING", "PEEK", "ZERO"], SET_ONCE),
        **dict.fromkeys(["deque_append", "deque_popleft", "creators"], SET_ONCE),
        **dict.fromkeys(["simple_init", "simple_qsize", "simple_put", "simple_get"], SET_ONCE),
        "simple_peek": SET_ONCE,
    },
    "_core/scopes.pyx": {"NO_SHIELD": SET_ONCE},
    "_core/sleep.pyx": {"ZERO": SET_ONCE},
    "_core/sockets.pyx": {
        "UNSET": SET_ONCE,
        "blocked": ONE_STEP,
        "scratch": "receive_some() waits before the system call and runs nothing after it",
    },
    "_core/system_watchers.pyx": {
        "CHILD_SIGNAL": SET_ONCE,
        "child_signal": ONE_STEP,
        "children": CHANGED_IN_PLACE,
        "handlers_before": CHANGED_IN_PLACE,
        "watchers_of_signals": CHANGED_IN_PLACE,
    },
    "_core/thread_hub.pyx": {
        "all_hubs": CHANGED_IN_PLACE,
        "kind_count": SET_ONCE,
        "kinds": SET_ONCE,
        "last_pid": ONE_STEP,
        "left_by_forks": CHANGED_IN_PLACE,
        "left_by_threads": ONE_STEP,
        "pass_turns_on": SET_ONCE,
    },
    "_core/threads.h": {"main_ident": A_CACHE},
    "_core/turns.pyx": {"awaited": CHANGED_IN_PLACE, "forks": ONE_STEP},
    "_core/wait_queue.pyx": {"forgo_functions": SET_ONCE},
    "_core/waiter.pyx": {"UNSET": SET_ONCE},
    "_core/watchers.pyx": {"left_by_forks": CHANGED_IN_PLACE},
    "http/frames.pyx": {"utf8_decoder": SET_ONCE},
    "http/h1.pyx": {
        "IN_HOST": SET_ONCE,
        "IN_METHOD": SET_ONCE,
        "METHODS": SET_ONCE,
        "SETTINGS": SET_ONCE,
        "VARIABLES": A_CACHE,
    },
    "http/http1.pyx": {"NO_REQUEST": SET_ONCE},
    "http/response.pyx": {
        "NAMES": A_CACHE,
        "SPECIAL": SET_ONCE,
        "STATUSES": A_CACHE,
        "dated": "set after dated_line, which is made anew if it is of another second",
        "dated_line": "set before dated",
    },
    "http/stream.pyx": {"NO_BODY": SET_ONCE},
    "http/wsgi.pyx": {"PROTOCOLS": SET_ONCE},
}

CYTHON_STATIC = re.compile(
    r"^c(?:p)?def[ ]+(?!class\b|extern\b|enum\b|packed\b|struct\b|union\b|inline\b)"
    r"(?P<declared>[^(=#\n]+)(?:=.*|\#.*)?$",
    re.MULTILINE,
)
C_STATIC = re.compile(
    r"^[ \t]*static[ ]+(?!inline\b|const\b)(?:__declspec\(thread\)[ ]*)?"
    r"(?:struct[ ]*\{[^}]*\}[ ]*(?P<struct>\w+)|(?P<declared>[^(;={]+?))[ ]*(?:=[^;]*)?;",
    re.MULTILINE,
)
#: Types whose values cannot change: a name in capitals stands for a constant of such a type.
OF_CONSTANTS = {"double", "frozenset", "int64_t", "Py_ssize_t", "str", "bytes", "tuple", "uint64_t"}


def statics(text: str) -> set[str]:
    """Return the names of the variables in a compiled source that live as long as the process."""
    found = {match["struct"] for match in C_STATIC.finditer(text) if match["struct"]}
    declared = [*CYTHON_STATIC.finditer(text), *C_STATIC.finditer(text)]
    for words in [match["declared"].split() for match in declared if match["declared"]]:
        names = re.findall(r"\w+(?=,|$)", re.sub(r"\[[^]]*\]", "", " ".join(words)))
        found |= {name for name in names if not (name.isupper() and words[0] in OF_CONSTANTS)}
    return found


def test_variables_of_compiled_modules_are_the_listed_ones() -> None:
    ours = [
        path
        for suffix in ("pyx", "pxd", "h")
        for path in SOURCE.glob(f"treadle/**/*.{suffix}")
        if "llhttp" not in path.parts
    ]
    found = {str(path.relative_to(SOURCE / "treadle")): statics(path.read_text()) for path in ours}
    assert {name: each for name, each in found.items() if each} == {
        name: set(reasons) for name, reasons in STATICS.items()
    }


def test_variables_of_compiled_modules_are_seen() -> None:
    source = """
cdef char[64] buffer  # a comment
cdef int first, second
cdef dict CACHE = {}
cdef str GREETING = "hello"
cdef class Local:
    cdef int not_this
cdef int function(int a):
    cdef char[64] local
cdef extern from *:
    static char hidden[16];
    static __thread PyObject *each;
    static const int fixed = 1;
    static inline int get(void) { return 1; }
static struct {
    int field;
} record;
"""
    assert statics(source) == {"buffer", "first", "second", "CACHE", "hidden", "each", "record"}


HIDDEN = """
import importlib
from importlib import import_module as _import_module
'''treadle.event'''
HOMES = {"hub": "treadle.event.Event", "other": "treadle.no_such_module"}
def f(name):
    "treadle.event"
    _import_module("treadle.event")
    __import__("socket")
    importlib.import_module(f"treadle.{name}")
"""


@pytest.mark.parametrize("suffix", ["py", "pyx"])
def test_modules_that_strings_name_are_seen(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    monkeypatch.setattr(f"{__name__}.MODULES", {"treadle", "treadle.event"})
    source = tmp_path / "treadle" / f"hidden.{suffix}"
    source.parent.mkdir()
    source.write_text(HIDDEN)
    found = (python_imports if suffix == "py" else cython_imports)(source)
    late = {each.imported for each in found if each.late}
    assert late == {"treadle.event", "socket", ANY}
