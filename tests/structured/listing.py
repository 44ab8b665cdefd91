"""A program as a script that uses treadle, for people who look into a failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import programs
from .programs import COMPOUND, Block

SCOPES = {
    "timeout": "CancelScope({})",
    "deadline": "CancelScope(deadline=time.monotonic() + {})",
    "move_on_after": "move_on_after({})",
    "fail_after": "fail_after({})",
    "shield": "shield({})",
    "shielded": "CancelScope({}shield=True)",
}
FAILURES = {"error": "ValueError", "interrupt": "KeyboardInterrupt", "exit": "SystemExit"}


def script(program: Block) -> str:
    """The program in Python. Greenlets are called t1, groups g2, scopes s3, by their numbers."""
    lines = [*function("f0", program, ""), "", "t0 = spawn(f0)", "print(repr(t0.get()))", ""]
    body = "\n".join(lines)
    # A scope that is cancelled or moved may be that of a group.
    for each in walk(program):
        if isinstance(each, programs.Group):
            body = body.replace(f"s{each.id}.cancel(", f"g{each.id}.cancel(")
            body = body.replace(f"s{each.id}.deadline", f"g{each.id}.cancel_scope.deadline")
    head = ["from treadle import *"]
    head += [f"import {name}" for name in ("math", "time") if f"{name}." in body]
    if "with lock" in body:
        head += ["from treadle.lock import BoundedSemaphore", ""]
        head += [f"lock{each} = BoundedSemaphore(1)" for each in range(2)]
    return "\n".join(head) + "\n\n" + body


def walk(body: Block) -> Iterator[Any]:
    for node in body:
        yield node
        for name in COMPOUND:
            yield from walk(getattr(node, name, ()))


def function(name: str, body: Block, indent: str) -> list[str]:
    names = sorted(set(assigned(body)))
    head = [f"{indent}def {name}():"]
    if names:
        head.append(f"{indent}    global {', '.join(names)}")
    return head + block(body, indent + "    ")


def assigned(body: Block) -> list[str]:
    found = []
    for node in body:
        letter = {programs.Scope: "s", programs.Group: "g", programs.Spawn: "t"}.get(type(node))
        if letter:
            found.append(f"{letter}{node.id}")
        if not isinstance(node, programs.Spawn | programs.Gather):
            for name in COMPOUND:
                found += assigned(getattr(node, name, ()))
    return found


def block(body: Block, indent: str) -> list[str]:
    lines = [line for node in body for line in statement(node, indent)]
    return lines or [f"{indent}pass"]


def statement(node: Any, indent: str) -> list[str]:
    inner = indent + "    "

    def seconds(time: int | None) -> str:
        return "" if time is None else f"{time / 1e6:g}"

    match node:
        case programs.Sleep(_, time):
            return [f"{indent}sleep({seconds(time)})" if time else f"{indent}checkpoint()"]
        case programs.Fail(number, what):
            return [f"{indent}raise {FAILURES[what]}({number})"]
        case programs.Scope(number, kind, time, body, early):
            given = seconds(time) + ", " * (kind == "shielded" and time is not None)
            lines = [f"{indent}s{number} = {SCOPES[kind].format(given)}"]
            if early:
                lines.append(f"{indent}s{number}.cancel('by {number}')")
            return [*lines, f"{indent}with s{number}:", *block(body, inner)]
        case programs.Limit(number, time, what, body):
            exception = {"itself": "", "nothing": ", False", "class": ", OSError"}.get(
                what, f", OSError({number})"
            )
            return [f"{indent}with Timeout({seconds(time)}{exception}):", *block(body, inner)]
        case programs.Locked(_, lock, body):
            return [f"{indent}with lock{lock}:", *block(body, inner)]
        case programs.Group(number, limit, adopt, body):
            kwargs = f"limit={limit}" if limit else "adopt=True" if adopt else ""
            return [f"{indent}with TaskGroup({kwargs}) as g{number}:", *block(body, inner)]
        case programs.Spawn(number, group, how, body):
            lines = function(f"f{number}", body, indent)
            call = f"g{group}.{how}" if group else "spawn"
            return [*lines, f"{indent}t{number} = {call}(f{number})"]
        case programs.Gather(_, how, limit, functions):
            lines = []
            for each in functions:
                lines += function(f"f{each.id}", each.body, indent)
            names = [f"f{each.id}" for each in functions] + [f"limit={limit}"] * bool(limit)
            return [*lines, f"{indent}{how}({', '.join(names)})"]
        case programs.Started(number):
            return [f"{indent}started({number})"]
        case programs.Get(_, target):
            return [f"{indent}t{target}.get()"]
        case programs.Kill(number, target, what, wait):
            exception = f"ValueError({number}), " if what == "error" else ""
            return [f"{indent}t{target}.kill({exception}block={wait})"]
        case programs.Cancel(number, target):
            return [f"{indent}s{target}.cancel('by {number}')"]
        case programs.Move(_, target, time):
            deadline = "math.inf" if time is None else f"time.monotonic() + {seconds(time)}"
            return [f"{indent}s{target}.deadline = {deadline}"]
        case programs.Turn(_, target, shield):
            return [f"{indent}s{target}.shield = {shield}"]
        case programs.Try(_, catch, body, handler, again):
            lines = [f"{indent}try:", *block(body, inner), f"{indent}except {catch}:"]
            return lines + block(handler, inner) + [f"{inner}raise"] * again
        case programs.Wrap(_, body):
            lines = [f"{indent}try:", *block(body, inner), f"{indent}except BaseException as exc:"]
            return [*lines, f"{inner}raise BaseExceptionGroup('', [exc])"]
        case programs.Finally(_, body, cleanup):
            lines = [f"{indent}try:", *block(body, inner), f"{indent}finally:"]
            return lines + block(cleanup, inner)
    raise TypeError(node)
