"""weft.resolver: the same answers and errors as the standard library's."""

import os
import socket as stdlib
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import weft
from weft import socket as weft_socket
from weft.hub import get_hub
from weft.resolver import NATIVE, AbstractResolver
from weft.resolver.blocking import Resolver as BlockingResolver
from weft.resolver.thread import Resolver as ThreadResolver

RESOLVERS = [ThreadResolver, BlockingResolver]

LONG = "a" * 64
#: function, arguments: all are answered, or refused, without a name server.
ODD = [
    ("getaddrinfo", (None, None)),
    ("getaddrinfo", (None, 80)),
    ("getaddrinfo", (None, "http")),
    ("getaddrinfo", (None, "no-such-service")),
    ("getaddrinfo", ("", 80)),
    ("getaddrinfo", ("127.0.0.1", "http")),
    ("getaddrinfo", ("127.0.0.1", "80")),
    ("getaddrinfo", ("127.0.0.1", b"80")),
    ("getaddrinfo", ("127.0.0.1", 80.0)),
    ("getaddrinfo", ("127.0.0.1", -1)),
    ("getaddrinfo", ("127.0.0.1", 70000)),
    ("getaddrinfo", ("127.0.0.1", 1 << 80)),
    ("getaddrinfo", ("127.0.0.1", "-1")),
    ("getaddrinfo", ("127.0.0.1", "²")),
    ("getaddrinfo", (b"127.0.0.1", 80)),
    ("getaddrinfo", ("::1", 80)),
    ("getaddrinfo", ("::1", 80, stdlib.AF_INET)),
    ("getaddrinfo", ("127.0.0.1", 80, stdlib.AF_INET6)),
    ("getaddrinfo", ("127.0.0.1", 80, 9999)),
    ("getaddrinfo", ("127.0.0.1", 80, 0, 9999)),
    ("getaddrinfo", ("127.0.0.1", 80, 0, 0, 9999)),
    ("getaddrinfo", ("fe80::1%lo", 80)),
    ("getaddrinfo", ("fe80::1%nothing", 80)),
    ("getaddrinfo", ("127.1", 80)),
    ("getaddrinfo", ("0x7f.1", 80)),
    ("getaddrinfo", ("localhost", 80, 0, stdlib.SOCK_STREAM)),
    ("getaddrinfo", (b"localhost", 80)),
    ("getaddrinfo", ("localhost", 80, 0, 0, 0, stdlib.AI_NUMERICHOST)),
    ("getaddrinfo", ("a\0b", 80)),
    ("getaddrinfo", ("..", 80)),
    ("getaddrinfo", (LONG + ".", 80)),
    ("getaddrinfo", ("ü" * 70, 80)),
    ("getaddrinfo", ("\udcff", 80)),
    ("getaddrinfo", (7, 80)),
    ("getaddrinfo", ([], 80)),
    ("gethostbyname", ("127.0.0.1",)),
    ("gethostbyname", ("",)),
    ("gethostbyname", ("<broadcast>",)),
    ("gethostbyname", ("::1",)),
    ("gethostbyname", (b"127.0.0.1",)),
    ("gethostbyname", (None,)),
    ("gethostbyname", (7,)),
    ("gethostbyname", ("a\0b",)),
    ("gethostbyname_ex", ("127.0.0.1",)),
    ("gethostbyname_ex", ("::1",)),
    ("gethostbyname_ex", (None,)),
    ("gethostbyaddr", ("",)),
    ("gethostbyaddr", ("127.0.0.1",)),
    ("gethostbyaddr", (None,)),
    ("gethostbyaddr", (7,)),
    ("getnameinfo", (("127.0.0.1", 80), stdlib.NI_NUMERICHOST | stdlib.NI_NUMERICSERV)),
    ("getnameinfo", (("127.0.0.1", 80), stdlib.NI_NUMERICHOST)),
    ("getnameinfo", (("localhost", 80), 0)),
    ("getnameinfo", (("127.0.0.1",), 0)),
    ("getnameinfo", (("127.0.0.1", "80"), 0)),
    ("getnameinfo", (("127.0.0.1", 80, 0, 0), 0)),
    ("getnameinfo", (["127.0.0.1", 80], 0)),
    ("getnameinfo", (("127.0.0.1", 80), "0")),
    ("getnameinfo", (None, 0)),
]


@pytest.fixture(params=RESOLVERS, ids=lambda cls: str(cls.__module__).rpartition(".")[2])
def resolver(request: pytest.FixtureRequest) -> Iterator[AbstractResolver]:
    hub = get_hub()
    before = hub._resolver
    hub.resolver = request.param(hub)
    yield hub.resolver
    hub._resolver = before


def outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return function(*args)
    except Exception as exc:
        return type(exc), getattr(exc, "errno", None), str(exc)


@pytest.mark.parametrize(("name", "args"), ODD, ids=repr)
def test_odd_input_has_the_outcome_of_the_standard_function(
    resolver: AbstractResolver, name: str, args: tuple[Any, ...]
) -> None:
    expected = outcome(NATIVE[name], args)
    assert outcome(getattr(weft_socket, name), args) == expected


def slow(calls: list[Any], seconds: float) -> Callable[..., Any]:
    def answer(host: Any, *rest: Any) -> list[Any]:
        calls.append(host)
        time.sleep(seconds)
        return [[host]]

    return answer


def test_500_names_at_300_ms_take_under_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(NATIVE, "getaddrinfo", slow(calls, 0.3))
    resolver = ThreadResolver()
    names = [f"name{number}.test" for number in range(500)]
    began = time.monotonic()
    greenlets = [weft.spawn(resolver.getaddrinfo, name, 80) for name in names]
    weft.joinall(greenlets, raise_error=True)
    assert time.monotonic() - began < 1
    assert [greenlet.value for greenlet in greenlets] == [[[name]] for name in names]
    assert sorted(calls) == sorted(names)


def test_one_name_in_flight_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(NATIVE, "getaddrinfo", slow(calls, 0.2))
    resolver = ThreadResolver()
    greenlets = [weft.spawn(resolver.getaddrinfo, "one.test", 80) for _ in range(100)]
    other_type = weft.spawn(resolver.getaddrinfo, "one.test", 80.0)
    weft.sleep(0.05)
    greenlets[0].kill()
    weft.joinall([*greenlets, other_type], raise_error=False)
    assert calls == ["one.test"] * 2
    first, second = greenlets[1].value, greenlets[2].value
    first[0].append("mine")
    assert second == [["one.test"]]


def test_each_waiter_gets_an_exception_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        time.sleep(0.05)
        raise stdlib.gaierror(stdlib.EAI_NONAME, "no such name")

    monkeypatch.setitem(NATIVE, "getaddrinfo", fail)
    resolver = ThreadResolver()
    failures: list[stdlib.gaierror] = []

    def look_up() -> None:
        with pytest.raises(stdlib.gaierror) as caught:
            resolver.getaddrinfo("none.test", 80)
        failures.append(caught.value)

    weft.joinall([weft.spawn(look_up) for _ in range(3)], raise_error=True)
    assert len({id(each) for each in failures}) == 3
    assert {(each.errno, each.strerror) for each in failures} == {
        (stdlib.EAI_NONAME, "no such name")
    }


def test_dead_servers_hold_up_neither_other_names_nor_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = False

    def answer(host: str, *rest: Any) -> str:
        while host.startswith("dead") and not released:
            time.sleep(0.01)
        return host

    monkeypatch.setitem(NATIVE, "getaddrinfo", answer)
    resolver = ThreadResolver()
    dead = [weft.spawn(resolver.getaddrinfo, f"dead{number}", 80) for number in range(40)]
    try:
        weft.sleep(0.05)
        began = time.monotonic()
        assert weft.spawn(resolver.getaddrinfo, "alive", 80).get(timeout=5) == "alive"
        assert get_hub().threadpool.apply(os.getpid) == os.getpid()
        assert time.monotonic() - began < 0.1
    finally:
        released = True
        weft.joinall(dead)


def test_an_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("a look-up")

    monkeypatch.setattr(ThreadResolver, "look_up", fail)
    monkeypatch.setattr(get_hub(), "_resolver", ThreadResolver())
    assert weft_socket.getaddrinfo("127.0.0.1", 80) == stdlib.getaddrinfo("127.0.0.1", 80)
    assert weft_socket.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert weft_socket.gethostbyname_ex("127.0.0.1") == ("127.0.0.1", [], ["127.0.0.1"])


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
@pytest.mark.parametrize("host", ["slow.test", b"slow.test"])
def test_a_non_blocking_connect_resolves_while_others_run(
    monkeypatch: pytest.MonkeyPatch, call: str, host: Any
) -> None:
    def answer(*args: Any) -> Any:
        time.sleep(0.1)
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setitem(NATIVE, "getaddrinfo", answer)
    ticks: list[float] = []

    def tick() -> None:
        for _ in range(5):
            weft.sleep(0.01)
            ticks.append(time.monotonic())

    ticker = weft.spawn(tick)
    with stdlib.create_server(("127.0.0.1", 0)) as listener, weft_socket.socket() as sock:
        sock.setblocking(False)
        outcome(getattr(sock, call), ((host, listener.getsockname()[1]),))
        assert len(ticks) == 5
        weft_socket.wait_write(sock.fileno(), 5)
        assert sock.getpeername() == listener.getsockname()
    ticker.join()


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("block", "weft.resolver.blocking"),
        ("thread", "weft.resolver.thread"),
        ("weft.resolver.blocking.Resolver", "weft.resolver.blocking"),
        ("nothing.Here,block", "weft.resolver.blocking"),
    ],
)
def test_the_environment_chooses(value: str, kind: str) -> None:
    script = "import weft; print(type(weft.get_hub().resolver).__module__)"
    assert run(script, WEFT_RESOLVER=value).stdout.strip() == kind


@pytest.mark.parametrize("value", ["block", "gevent.resolver.blocking.Resolver"])
def test_under_the_alias_gevents_variable_chooses(value: str) -> None:
    script = """
        import weft.compat; weft.compat.install()
        import gevent
        print(type(gevent.get_hub().resolver).__module__)
    """
    assert run(script, GEVENT_RESOLVER=value).stdout.strip() == "weft.resolver.blocking"
    assert run(script, GEVENT_RESOLVER=value, WEFT_RESOLVER="thread").stdout.strip() == (
        "weft.resolver.thread"
    )


def test_at_exit_look_ups_go_on_without_threads() -> None:
    done = run(
        """
        import atexit
        from weft import monkey; monkey.patch_all()
        import socket, threading
        class Late:
            def __del__(self, look_up=socket.getaddrinfo):
                print("late", bool(look_up("localhost", 80)))
        late = Late()
        atexit.register(lambda: print("atexit", bool(socket.getaddrinfo("localhost", 80))))
        """
    )
    assert (done.stdout.split(), done.stderr) == (["atexit", "True", "late", "True"], "")


def test_a_forked_child_looks_up_by_threads_of_its_own() -> None:
    weft_socket.getaddrinfo("localhost", 80)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if weft_socket.getaddrinfo("localhost", 80) else 1)
    assert os.waitpid(pid, 0)[1] == 0
