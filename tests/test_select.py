"""Errors of weft.select, which are those of the standard library's, and counting of threads."""

import _thread
import select as native
import sys
from typing import Any

import pytest

import weft
from weft import select, thread


class WithoutNumber:
    pass


@pytest.mark.parametrize("module", [native, select], ids=["stdlib", "weft"])
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (([WithoutNumber()], [], [], 0), TypeError),
        (([], [], [], "1"), TypeError),
        (([], [], [], -1), ValueError),
    ],
)
def test_select_refuses(module: Any, arguments: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        module.select(*arguments)


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="CPython 3.15 waits as long as that")
@pytest.mark.parametrize("module", [native, select], ids=["stdlib", "weft"])
def test_poll_refuses_more_than_a_c_int(module: Any) -> None:
    with pytest.raises(OverflowError):
        module.poll().poll(1 << 31)


def test_poll_refuses_a_second_greenlet() -> None:
    poll = select.poll()
    with pytest.raises(TypeError, match="cannot create"):
        type(poll)()
    waiter = weft.spawn(poll.poll, 10)
    weft.sleep(0)
    with pytest.raises(RuntimeError):
        poll.poll(0)
    assert waiter.get() == []
    assert poll.poll(0) == []


def test_greenlets_count_as_threads_while_they_run() -> None:
    gate = thread.LockType()
    gate.acquire()
    before = thread._count()
    thread.start_new_thread(gate.acquire, ())
    weft.sleep(0)
    during = thread._count()
    gate.release()
    weft.sleep(0)
    assert (before, during - before, thread._count()) == (_thread._count(), 1, before)
