"""Hold the list of places complete: compare it with the calls in the sources that wait."""

import re
from collections.abc import Iterator
from pathlib import Path

from parks.places import PLACES
from parks.tables import ABOVE, NO_PLACES

SOURCE = Path(__file__).resolve().parents[2] / "src" / "treadle"

#: The names under which code waits: park() itself, and what is built on it.
WAITS = re.compile(
    r"(?<!def )(?<!cdef )\b_?"
    r"(?:park\w*|wait(?!er|ers|s|ing|ed)\w*|await_\w+|sleep|acquire|retake|join|joinall|let_others_run|spend|ask"
    r"|block_thread|get_from_thread|_ask_thread|_until_\w+|apply|(?<=\.)take|_acquire_restore)"
    r"\((?!False)(?!blocking=False)"
)
#: Results and queues wait in get(); dictionaries do not.
GETS = re.compile(r"(?:result|tasks|waiter|_ended|self|inbox|queue)\.get\((?:timeout=.*|True.*)?\)")
FUNCTION = re.compile(r"^( *)(?:async )?(?:def|cdef|cpdef)\b[^=]*?(\w+)\(")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def waits_in(path: Path, lines: list[str]) -> Iterator[str]:
    """Yield "file:function" for each call that waits; the function is the innermost one."""
    name = path.relative_to(SOURCE).as_posix()
    around: list[tuple[int, str]] = []
    in_text = False
    for line in lines:
        quotes = line.count('"""')
        was_in_text, in_text = in_text, in_text ^ (quotes % 2 == 1)
        code = STRING.sub('""', line.split(" #")[0])
        if was_in_text or quotes or not code.strip() or code.strip().startswith("#"):
            continue
        indent = len(code) - len(code.lstrip())
        begun = FUNCTION.match(code)
        if begun or not code.lstrip().startswith((")", "]")):
            while around and around[-1][0] >= indent:
                around.pop()
        if begun:
            around.append((indent, begun.group(2)))
        elif WAITS.search(code) or GETS.search(code):
            yield f"{name}:{around[-1][1] if around else '<module>'}"


def all_that_wait() -> set[str]:
    files = [*SOURCE.rglob("*.pyx"), *SOURCE.rglob("*.py")]
    return {each for path in files for each in waits_in(path, path.read_text().splitlines())}


def is_above(each: str) -> bool:
    return any(each.startswith(room) for room in ABOVE)


def test_each_function_that_waits_is_a_place_or_has_a_reason() -> None:
    places = {name for kind in PLACES.values() for name in kind.covers}
    unknown = {each for each in all_that_wait() - places if not is_above(each)}
    assert unknown == set(NO_PLACES), "each belongs to a place or into NO_PLACES, and no other"


def test_places_name_functions_that_wait() -> None:
    places = {name for kind in PLACES.values() for name in kind.covers}
    assert places <= all_that_wait()
    assert not places & set(NO_PLACES)


def test_rooms_above_are_there() -> None:
    assert all((SOURCE / room).exists() for room in ABOVE)


def test_a_call_that_waits_is_found() -> None:
    lines = [
        "def call():",
        '    """Wait (not really)."""',
        "    return wait_for(3)",
        "",
        "cdef int other() except -1:",
        "    park(wait, -1)",
    ]
    file = SOURCE / "example.py"
    assert list(waits_in(file, lines)) == ["example.py:call", "example.py:other"]
