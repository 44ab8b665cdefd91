"""The command line: ``treadle run``, ``serve``, ``doctor``, ``demo``, ``version``."""

from __future__ import annotations

import argparse
import importlib
import io
import linecache
import os
import pkgutil
import platform
import runpy
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.metadata import version
from types import CodeType, TracebackType
from typing import Any

import treadle
from treadle.serve.settings import add_flags

USAGE = """\
treadle run [--gevent] SCRIPT [ARG ...]
       treadle run [--gevent] -m MODULE [ARG ...]
       treadle run [--gevent] -c CODE [ARG ...]
       treadle run [--gevent] - [ARG ...]
       treadle serve [--bind ADDRESS] [--workers N] [...] MODULE:APPLICATION
       treadle doctor [--gevent] [--late] SCRIPT [ARG ...]
       treadle doctor [--gevent] [--late] -m MODULE [ARG ...]
       treadle demo [--pages N] [--delay SECONDS]
       treadle version"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that *argv* (by default ``sys.argv[1:]``) names; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="treadle",
        usage=USAGE,
        description="Run ordinary blocking Python programs concurrently on one thread.",
    )
    parser.add_argument("--version", action="version", version=f"treadle {version('treadle')}")
    commands = parser.add_subparsers(
        prog="treadle", dest="command", metavar="COMMAND", required=True
    )
    run = commands.add_parser(
        "run", usage=USAGE, help="run a program, patched before its first import"
    )
    doctor = commands.add_parser(
        "doctor", usage=USAGE, help="run a program, and list what stayed unpatched, and where"
    )
    doctor.add_argument(
        "--late", action="store_true", help="leave it to the program when to call patch_all()"
    )
    for command in (run, doctor):
        command.add_argument(
            "--gevent", action="store_true", help="let 'import gevent' mean treadle"
        )
        kind = command.add_mutually_exclusive_group()
        kind.add_argument("-m", dest="module", action="store_true", help="run a module by name")
        kind.add_argument("-c", dest="code", action="store_true", help="run code that is given")
        command.add_argument(
            "target",
            help="the script (-: standard input), the module's name after -m, the code after -c",
        )
        command.add_argument("args", nargs=argparse.REMAINDER, help="the program's own arguments")
    server = commands.add_parser("serve", help="serve a WSGI application, in worker processes")
    add_flags(server)
    demo = commands.add_parser("demo", help="fetch a slow web site one by one, then all at once")
    demo.add_argument("--pages", type=int, default=200, help="how many pages (default: 200)")
    demo.add_argument(
        "--delay", type=float, default=0.5, help="seconds each page takes (default: 0.5)"
    )
    commands.add_parser("version", help="print versions, poller, clock and platform")
    options = parser.parse_args(split_joined(arguments))
    if options.command in ("run", "doctor"):
        is_file = not options.module and not options.code and options.target != "-"
        if is_file and not os.path.exists(options.target):
            print(f"treadle: can't open file {options.target!r}: no such file", file=sys.stderr)
            return 2
        if options.command == "doctor":
            return examine_program(options)
        prepare(options.gevent)
        return run_program(options)
    if options.command == "serve":
        # Imported only here: it needs the packages of treadle[serve].
        from treadle.serve.command import serve

        return serve(options)
    if options.command == "demo":
        # Imported only here, because the demo patches this process.
        from treadle.demo import run_demo

        return run_demo(options.pages, options.delay)
    print(version_text())
    return 0


def split_joined(arguments: list[str]) -> list[str]:
    """Return *arguments* with "-cCODE" and "-mMODULE", which python takes, in two parts."""
    if not arguments or arguments[0] not in ("run", "doctor"):
        return arguments
    for place, argument in enumerate(arguments):
        if argument[:2] in ("-c", "-m"):
            before, after = [*arguments[:place], argument[:2]], arguments[place + 1 :]
            if len(argument) > 2:
                after = [argument[2:], *after]
            # Code such as "-x" is no flag.
            return [*before, *(["--"] if after and after[0][:1] == "-" else []), *after]
        if place > 0 and not argument.startswith("--"):
            break  # what follows belongs to the program
    return arguments


def prepare(as_gevent: bool, patch: bool = True) -> None:
    """Patch the standard library, and, if *as_gevent*, make ``import gevent`` import treadle."""
    if as_gevent:
        from treadle import compat

        compat.install()
    if patch:
        from treadle import monkey

        monkey.patch_all()


def examine_program(options: argparse.Namespace) -> int:
    """Run a program as ``treadle run`` does, and print its references to unpatched originals.

    With ``--late``, the program patches by itself. Return the exit status: 1 if anything is listed.
    """
    from treadle import monkey

    prepare(options.gevent, patch=not options.late)
    found = ["nothing is patched: the program has not called patch_all()"]
    try:
        with suppress(SystemExit, KeyboardInterrupt):  # how servers end
            run_program(options)
    finally:
        if monkey.is_anything_patched():
            found = monkey.unpatched_references()
        print("\n".join(found or ["nothing stayed unpatched"]))
    return 1 if found else 0


#: Program -> (the module and the table of its short names, treadle's entry for that table).
_NAMES = {
    "celery": ("celery.concurrency", "ALIASES", "treadle.celery:TaskPool"),
    "gunicorn": ("gunicorn.workers", "SUPPORTED_WORKERS", "treadle.gunicorn.Worker"),
}


def introduce(target: str) -> None:
    """Add the short name "treadle" to the program *target*, if it has a table of such names."""
    name = os.path.basename(target)
    if name in _NAMES:
        module, table, ours = _NAMES[name]
        with suppress(ImportError):  # another program of that name
            getattr(importlib.import_module(module), table)["treadle"] = ours


def run_program(options: argparse.Namespace) -> int:
    """Run the program that *options* name as ``python`` would, and return 0."""
    try:
        if options.code:
            run_text(options.target, "<string>", ["-c", *options.args], __loader__=BuiltinImporter)
        elif options.target == "-" and not options.module:
            loader = SourceFileLoader("__main__", "<stdin>")
            names = {"__file__": "<stdin>", "__cached__": None, "__loader__": loader}
            run_text(sys.stdin.buffer.read(), "<stdin>", ["-", *options.args], **names)
        else:
            run_target(options.target, options.args, options.module)
    except BaseException as exc:
        show_program_only(exc)
        raise
    return 0


def show_program_only(exc: BaseException) -> None:
    """Have the interpreter, when it reports *exc*, show the program's frames and not treadle's."""
    shown = exc.__traceback__
    while shown is not None and shown.tb_frame.f_code.co_filename == __file__:
        shown = shown.tb_next
    hook = sys.excepthook

    def report(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
        if value is exc:
            tb = sys.last_traceback = value.__traceback__ = shown
        hook(kind, value, tb)

    sys.excepthook = report


def run_target(target: str, args: Sequence[str], is_module: bool) -> None:
    """Run a script, a directory, an archive or a module."""
    introduce(target)
    sys.argv = [target, *args]
    if is_module:
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(target)  # type: ignore[attr-defined]
        return
    path = os.path.join(os.getcwd(), target)  # not abspath(): "link/.." is not "."
    if pkgutil.get_importer(path) is None:
        run_script(path)
    else:  # a directory or an archive
        sys.path.insert(0, path)
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]


def run_text(source: str | bytes, filename: str, argv: list[str], **names: Any) -> None:
    """Execute *source*, which tracebacks call *filename*."""
    sys.argv = argv
    sys.path.insert(0, "")
    # Without this module's __future__ statements.
    code = compile(source, filename, "exec", dont_inherit=True)
    if isinstance(source, str) and sys.version_info >= (3, 13):
        # From this version on, tracebacks show lines of -c.
        linecache.cache[filename] = len(source), None, source.splitlines(True), filename
    run_code(code, **names)


def run_script(path: str) -> None:
    """Execute a file."""
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    with io.open_code(path) as file:
        code = pkgutil.read_code(file)
    loader: type = SourcelessFileLoader
    if code is None:  # it is not compiled
        loader = SourceFileLoader
        with io.open_code(path) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
    run_code(code, __file__=path, __loader__=loader("__main__", path), __cached__=None)


def run_code(code: CodeType, **names: Any) -> None:
    """Execute *code* in ``__main__``, so that its definitions can be pickled and inspected."""
    namespace = vars(sys.modules["__main__"])
    for name in [name for name in namespace if not name.startswith("__")]:
        del namespace[name]
    for name in ("__annotations__", "__file__", "__cached__"):
        namespace.pop(name, None)
    namespace.update(__spec__=None, __package__=None, __doc__=None, **names)
    exec(code, namespace)


def version_text() -> str:
    """Return the output of ``treadle version``."""
    hub = treadle.get_hub()
    clock = "CLOCK_MONOTONIC" if os.name == "posix" else "the performance counter"
    rows = {
        "treadle": treadle.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "greenlet": version("greenlet"),
        "poller": f"{type(hub.poller).__name__} ({'edge' if hub.poller.edge_triggered else 'level'}"
        "-triggered)",
        "clock": f"{clock}, nanoseconds",
        "platform": platform.platform(),
    }
    return "\n".join(f"{name:<10}{value}" for name, value in rows.items())
