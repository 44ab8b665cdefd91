"""treadle.resolver returns the standard library's answers and raises its errors."""

import os
import socket as stdlib
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

import treadle
import treadle.lock
from treadle import socket as treadle_socket
from treadle.event import AsyncResult
from treadle.hub import get_hub
from treadle.resolver import NATIVE, AbstractResolver, cares
from treadle.resolver.ares import Resolver as AresResolver
from treadle.resolver.blocking import Resolver as BlockingResolver
from treadle.resolver.dnspython import Resolver as DnspythonResolver
from treadle.resolver.dnspython import _matching, _outcome
from treadle.resolver.thread import Resolver as ThreadResolver

RESOLVERS = [ThreadResolver, BlockingResolver, AresResolver, DnspythonResolver]
ASKING = [AresResolver, DnspythonResolver]
HERE = Path(__file__).parent

LONG = "a" * 64
#: (function, arguments): calls that are answered or refused without a name server.
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


def name_of(cls: type) -> str:
    return cls.__module__.rpartition(".")[2]


@pytest.fixture(scope="module")
def server_process() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, HERE / "name_server.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.communicate()


@pytest.fixture(scope="module")
def server(server_process: subprocess.Popen[bytes]) -> str:
    """The address of a name server."""
    assert server_process.stdout
    return f"127.0.0.1:{int(server_process.stdout.readline())}"


@pytest.fixture(params=RESOLVERS, ids=name_of)
def resolver(request: pytest.FixtureRequest, server: str) -> Iterator[AbstractResolver]:
    hub = get_hub()
    before = hub._resolver
    options = {"nameservers": [server]} if request.param in ASKING else {}
    hub.resolver = request.param(hub, **options)
    yield hub.resolver
    hub.resolver.close()
    hub._resolver = before


@pytest.fixture(params=ASKING, ids=name_of)
def asking(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[Any]:
    """Return a function that makes resolvers, by default for `server` and a file in `tmp_path`."""
    made: list[AbstractResolver] = []

    def make(**options: Any) -> AbstractResolver:
        defaults = {"nameservers": [server], "hosts": str(tmp_path / "hosts")}
        made.append(request.param(**{**defaults, **options}))
        return made[-1]

    yield make
    for resolver in made:
        resolver.close()


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
    assert outcome(getattr(treadle_socket, name), args) == expected


def slow(calls: list[Any], seconds: float) -> Callable[..., Any]:
    def answer(host: Any, *rest: Any) -> list[Any]:
        calls.append(host)
        time.sleep(seconds)
        return [[host]]

    return answer


def test_500_names_at_300_ms_take_no_150_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(NATIVE, "getaddrinfo", slow(calls, 0.3))
    resolver = ThreadResolver()
    names = [f"name{number}.test" for number in range(500)]
    began = time.monotonic()
    greenlets = [treadle.spawn(resolver.getaddrinfo, name, 80) for name in names]
    treadle.joinall(greenlets, raise_error=True)
    assert time.monotonic() - began < 15
    assert [greenlet.value for greenlet in greenlets] == [[[name]] for name in names]
    assert sorted(calls) == sorted(names)


def test_one_name_in_flight_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(NATIVE, "getaddrinfo", slow(calls, 0.2))
    resolver = ThreadResolver()
    greenlets = [treadle.spawn(resolver.getaddrinfo, "one.test", 80) for _ in range(100)]
    other_type = treadle.spawn(resolver.getaddrinfo, "one.test", 80.0)
    treadle.sleep(0.05)
    greenlets[0].kill()
    treadle.joinall([*greenlets, other_type], raise_error=False)
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

    treadle.joinall([treadle.spawn(look_up) for _ in range(3)], raise_error=True)
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
    dead = [treadle.spawn(resolver.getaddrinfo, f"dead{number}", 80) for number in range(40)]
    try:
        treadle.sleep(0.05)
        with treadle.Timeout(30):  # the dead ones wait until the end
            assert treadle.spawn(resolver.getaddrinfo, "alive", 80).get() == "alive"
            assert get_hub().threadpool.apply(os.getpid) == os.getpid()
    finally:
        released = True
        treadle.joinall(dead)


def test_an_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("a look-up")

    monkeypatch.setattr(ThreadResolver, "look_up", fail)
    monkeypatch.setattr(get_hub(), "_resolver", ThreadResolver())
    assert treadle_socket.getaddrinfo("127.0.0.1", 80) == stdlib.getaddrinfo("127.0.0.1", 80)
    assert treadle_socket.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert treadle_socket.gethostbyname_ex("127.0.0.1") == ("127.0.0.1", [], ["127.0.0.1"])


@pytest.mark.parametrize("text", ["127.0.0.1%x", "127.0.0.1%", "127.0.0.1%1"])
def test_an_ipv4_address_has_no_scope(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The standard functions take it for a name, so a thread must look it up."""
    asked: list[Any] = []

    def note(self: Any, name: str, *args: Any) -> Any:
        asked.append(args[0])
        raise stdlib.gaierror(stdlib.EAI_NONAME, "no such name")

    monkeypatch.setattr(ThreadResolver, "look_up", note)
    monkeypatch.setattr(get_hub(), "_resolver", ThreadResolver())
    with treadle_socket.socket() as sock:
        for call in (
            lambda: treadle_socket.getaddrinfo(text, 80),
            lambda: treadle_socket.gethostbyname(text),
            lambda: treadle_socket.gethostbyname_ex(text),
            lambda: sock.connect((text, 80)),
        ):
            with pytest.raises(stdlib.gaierror):
                call()
    assert asked == [text] * 4


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
@pytest.mark.parametrize("host", ["slow.test", b"slow.test"])
def test_a_non_blocking_connect_resolves_while_others_run(
    monkeypatch: pytest.MonkeyPatch, call: str, host: Any
) -> None:
    ticked = threading.Event()

    def answer(*args: Any) -> Any:
        assert ticked.wait(30)
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setitem(NATIVE, "getaddrinfo", answer)

    def tick() -> None:
        for _ in range(5):
            treadle.sleep(0.01)
        ticked.set()

    ticker = treadle.spawn(tick)
    with stdlib.create_server(("127.0.0.1", 0)) as listener, treadle_socket.socket() as sock:
        sock.setblocking(False)
        outcome(getattr(sock, call), ((host, listener.getsockname()[1]),))
        treadle_socket.wait_write(sock.fileno(), 30)
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
        ("ares", "treadle.resolver.ares"),
        ("dnspython", "treadle.resolver.dnspython"),
        ("block", "treadle.resolver.blocking"),
        ("thread", "treadle.resolver.thread"),
        ("treadle.resolver.blocking.Resolver", "treadle.resolver.blocking"),
        ("nothing.Here,block", "treadle.resolver.blocking"),
    ],
)
def test_the_environment_chooses(value: str, kind: str) -> None:
    script = "import treadle; print(type(treadle.get_hub().resolver).__module__)"
    assert run(script, TREADLE_RESOLVER=value).stdout.strip() == kind


@pytest.mark.parametrize("value", ["block", "gevent.resolver.blocking.Resolver"])
def test_under_the_alias_gevents_variable_chooses(value: str) -> None:
    script = """
        import treadle.compat; treadle.compat.install()
        import gevent
        print(type(gevent.get_hub().resolver).__module__)
    """
    assert run(script, GEVENT_RESOLVER=value).stdout.strip() == "treadle.resolver.blocking"
    assert run(script, GEVENT_RESOLVER=value, TREADLE_RESOLVER="thread").stdout.strip() == (
        "treadle.resolver.thread"
    )


def test_at_exit_look_ups_go_on_without_threads() -> None:
    done = run(
        """
        import atexit
        from treadle import monkey; monkey.patch_all()
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
    treadle_socket.getaddrinfo("localhost", 80)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if treadle_socket.getaddrinfo("localhost", 80) else 1)
    assert os.waitpid(pid, 0)[1] == 0


# -- resolvers that ask name servers


def found(resolver: AbstractResolver, name: str, family: int = 0) -> Any:
    return outcome(
        lambda: [each[4][0] for each in resolver.getaddrinfo(name, 80, family, stdlib.SOCK_STREAM)],
        (),
    )


def failed(code: int) -> tuple[Any, ...]:
    texts = {
        stdlib.EAI_NONAME: "Name or service not known",
        stdlib.EAI_NODATA: "No address associated with hostname",
        stdlib.EAI_AGAIN: "Temporary failure in name resolution",
    }
    return stdlib.gaierror, code, f"[Errno {code}] {texts[code]}"


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("four.test", 0, ["192.0.2.4", "192.0.2.5"]),
        ("six.test", stdlib.AF_INET6, ["2001:db8::6", "2001:db8::7"]),
        ("alias.test", stdlib.AF_INET, ["192.0.2.1"]),
        ("gr\u00fcn.test", 0, ["192.0.2.11"]),
        ("under_score.test", 0, ["192.0.2.12"]),
        ("noise.test", stdlib.AF_INET, ["192.0.2.13"]),
        ("big.test", 0, [f"10.0.0.{number}" for number in range(100)]),
        ("BOTH.Test.", stdlib.AF_INET, ["192.0.2.1"]),
        ("nothing.test", 0, failed(stdlib.EAI_NONAME)),
        ("empty.test", 0, failed(stdlib.EAI_NODATA)),
        ("six.test", stdlib.AF_INET, failed(stdlib.EAI_NODATA)),
        ("loop.test", stdlib.AF_INET, failed(stdlib.EAI_NODATA)),
        ("servfail.test", 0, failed(stdlib.EAI_AGAIN)),
        ("refused.test", 0, failed(stdlib.EAI_AGAIN)),
        ("notimp.test", 0, failed(stdlib.EAI_AGAIN)),
        ("formerr.test", 0, failed(stdlib.EAI_NONAME)),
        ("a b.test", 0, failed(stdlib.EAI_NONAME)),
    ],
)
def test_what_name_servers_say(asking: Any, name: str, family: int, expected: Any) -> None:
    assert found(asking(), name, family) == expected


@pytest.mark.parametrize("size", [*range(185, 206), *range(250, 258)])
def test_names_that_are_too_long_do_not_exist(asking: Any, size: int) -> None:
    resolver = asking()
    if isinstance(resolver, DnspythonResolver):
        resolver.resolver.search = [dns.name.from_text("b" * 50 + ".test")]
    for name in (".".join(["a" * 50] * 6)[:size].rstrip("."), "a" * size):
        for dot in ("", "."):
            with pytest.raises((stdlib.gaierror, UnicodeError)):
                resolver.getaddrinfo(name + dot, 80)


def _truncating(sock: Any) -> None:
    """Answer each query by a datagram that asks to come back over TCP."""
    while True:
        query, address = sock.recvfrom(4096)
        response = dns.message.make_response(dns.message.from_wire(query))
        response.flags |= dns.flags.TC
        sock.sendto(response.to_wire(), address)


def _dripping(listener: Any) -> None:
    """Announce a long answer on each connection, and send it byte by byte."""
    while True:
        connection, _ = listener.accept()
        treadle.spawn(_drip, connection, b"\xea\x60" + b"x" * 1000)


def _drip(connection: Any, data: bytes) -> None:
    with connection, suppress(OSError):
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            treadle.sleep(0.02)


def _babbling(sock: Any) -> None:
    """Send what is no answer, again and again."""
    _, address = sock.recvfrom(4096)
    while True:
        sock.sendto(b"no answer", address)
        treadle.sleep(0.01)


@pytest.mark.parametrize("how", [_truncating, _babbling])
def test_a_look_up_ends_with_its_lifetime(how: Callable[[Any], None]) -> None:
    with (
        treadle_socket.socket(type=stdlib.SOCK_DGRAM) as datagrams,
        treadle_socket.socket() as listener,
    ):
        # Another program may have the TCP port of a free UDP port.
        listener.bind(("127.0.0.1", 0))
        datagrams.bind(listener.getsockname())
        listener.listen()
        running = [treadle.spawn(how, datagrams), treadle.spawn(_dripping, listener)]
        resolver = DnspythonResolver(nameservers=[f"127.0.0.1:{datagrams.getsockname()[1]}"])
        resolver.resolver.timeout, resolver.resolver.lifetime = 0.1, 0.15
        resolver.resolver.search = [dns.name.from_text("test")]
        began = time.monotonic()
        with pytest.raises(stdlib.gaierror, match="Temporary failure"):
            resolver.getaddrinfo("slow", 80)
        assert time.monotonic() - began < 10  # the answer takes 20 s, or never comes
        treadle.killall(running)


def test_a_place_among_the_look_ups_is_waited_for_no_longer_than_the_lifetime() -> None:
    resolver = DnspythonResolver(nameservers=["127.0.0.1:9"])
    resolver.resolver.lifetime = 0.05
    resolver._places = treadle.lock.Semaphore(0)
    with pytest.raises(stdlib.gaierror, match="Temporary failure"):
        resolver.getaddrinfo("name.test", 80)


def test_records_of_another_class_are_no_answer() -> None:
    question = dns.message.make_query("name.test", "A")
    response = dns.message.make_response(question)
    record = dns.rrset.from_text("name.test.", 1, "HS", "A", r"\# 4 01020304")
    response.answer.append(record)
    kind, parsed = _matching(response.to_wire(), {"A": question})
    assert getattr(_outcome(kind, parsed), "errno", None) == stdlib.EAI_NODATA


ORACLE = """
import socket, sys
from pathlib import Path
import test_resolver as tests

def compare(cases):
    for kind in tests.ASKING:
        resolver = kind()
        for name, args in cases:
            expected = tests.outcome(tests.NATIVE[name], args)
            got = tests.outcome(getattr(resolver, name), args)
            assert got == expected, (kind, name, args, got, expected)
        print(kind.__module__, len(cases))

config = Path(sys.argv[1], "resolv.conf")
config.write_text("nameserver 127.0.0.1\\nsearch domain.test\\n")
compare(tests.KNOWN)
config.write_text("nameserver 127.0.0.1\\nsearch .\\n")
compare(tests.UNKNOWN)
"""


def _cases(names: list[str]) -> list[tuple[str, tuple[Any, ...]]]:
    cases: list[tuple[str, tuple[Any, ...]]] = []
    for name in names:
        for args in [(80,), ("http", stdlib.AF_INET, stdlib.SOCK_STREAM), (80, stdlib.AF_INET6)]:
            cases.append(("getaddrinfo", (name, *args)))
        for function in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
            cases.append((function, (name,)))
    return cases


KNOWN = _cases(
    [
        *["both.test", "four.test", "six.test", "near.test", "alias.test", "short", "big.test"],
        *["short.domain.test", "gr\u00fcn.test", "under_score.test", "nothing.test", "noise.test"],
        *["localhost", "LOCALHOST", "localhost.", "multi.test", "m1", "one.test", "ONE"],
        *["six-hosts", "both.test.", "127.1", "both.test:80", "-x.test"],
    ]
)
UNKNOWN = _cases(
    ["empty.test", "formerr.test", "servfail.test", "notimp.test", "refused.test", "nothing.test"]
)
for _flags in ["CANONNAME", "ADDRCONFIG", "V4MAPPED", "PASSIVE", "NUMERICSERV", "ALL"]:
    _flag = getattr(stdlib, f"AI_{_flags}") | (stdlib.AI_V4MAPPED if _flags == "ALL" else 0)
    for _name in ["both.test", "alias.test", "four.test", "one", "localhost", "six.test", "short"]:
        KNOWN += [
            ("getaddrinfo", (_name, 80, _family, stdlib.SOCK_STREAM, 0, _flag))
            for _family in (stdlib.AF_UNSPEC, stdlib.AF_INET, stdlib.AF_INET6)
        ]
for _address in [
    *["192.0.2.1", "192.0.2.4", "192.0.2.5", "2001:db8::1", "192.0.2.77"],
    *["127.0.0.5", "127.0.0.1", "::1", "9.9.9.9"],
]:
    KNOWN.append(("gethostbyaddr", (_address,)))
    _sockaddr = (_address, 80, 0, 0) if ":" in _address else (_address, 80)
    for _flags in ["NAMEREQD", "NUMERICSERV", "NUMERICHOST", "DGRAM"]:
        KNOWN.append(("getnameinfo", (_sockaddr, getattr(stdlib, f"NI_{_flags}"))))


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rnm", "true"], capture_output=True).returncode != 0,
    reason="the system lets nobody replace its name server in a namespace",
)
def test_answers_are_those_of_the_c_library(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost\n2001:db8::77 six-hosts\n127.0.0.5 Multi.test m1 m2\n"
        "127.0.0.6 Multi.test  # two addresses\nnonsense line\n192.0.2.77 one.test one\n"
    )
    (tmp_path / "resolv.conf").write_text("")
    (tmp_path / "oracle.py").write_text(ORACLE)
    script = """
        ip link set lo up
        mount --bind "$1/resolv.conf" /etc/resolv.conf
        mount --bind "$1/hosts" /etc/hosts
        coproc "$2" "$3/name_server.py" 53
        read -r <&"${COPROC[0]}"
        PYTHONPATH=$3:$PYTHONPATH "$2" "$1/oracle.py" "$1"
    """
    done = subprocess.run(
        ["unshare", "-rnm", "bash", "-ec", script, "-", tmp_path, sys.executable, HERE],
        env={"PYTHONPATH": "", **os.environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 4


def test_the_table_of_hosts_comes_first_and_is_read_anew(asking: Any, tmp_path: Path) -> None:
    resolver = asking()
    assert found(resolver, "both.test", stdlib.AF_INET) == ["192.0.2.1"]
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.5 both.test Other # 127.0.0.6 no\n::5 both.test\nnonsense\n")
    assert sorted(found(resolver, "both.test")) == ["127.0.0.5", "::5"]
    assert resolver.gethostbyname_ex("OTHER") == ("both.test", ["Other"], ["127.0.0.5"])
    assert resolver.gethostbyaddr("::5") == ("both.test", [], ["::5"])
    assert resolver.getnameinfo(("127.0.0.5", 80), 0) == ("both.test", "http")
    hosts.unlink()
    assert found(resolver, "both.test", stdlib.AF_INET) == ["192.0.2.1"]


def test_500_names_of_a_server_that_takes_300_ms(asking: Any) -> None:
    """500 lookups take no 150 s, though each waits for 0.3 s."""
    resolver = asking()
    began = time.monotonic()
    greenlets = [
        treadle.spawn(resolver.gethostbyname, f"slow{number}.test") for number in range(500)
    ]
    treadle.joinall(greenlets, raise_error=True)
    seconds = time.monotonic() - began
    assert {greenlet.value for greenlet in greenlets} == {"192.0.2.20"}
    assert seconds < 15


def test_a_name_in_flight_is_asked_for_once(asking: Any, server: str) -> None:
    resolver = asking()
    name = f"slow-{time.monotonic()}.test"
    greenlets = [treadle.spawn(resolver.gethostbyname_ex, name) for _ in range(100)]
    treadle.sleep(0.05)
    greenlets[0].kill()
    treadle.joinall(greenlets)
    answers = [greenlet.value for greenlet in greenlets[1:]]
    answers[0][2].append("mine")
    assert answers[1:] == [(name, [], ["192.0.2.20"])] * 98
    assert found(resolver, f"times.{name}", stdlib.AF_INET) == ["10.0.0.1"]


def test_each_failed_look_up_raises_an_exception_of_its_own(asking: Any) -> None:
    resolver = asking()
    greenlets = [treadle.spawn(outcome_itself, resolver, "nothing.test") for _ in range(3)]
    treadle.joinall(greenlets)
    assert len({id(greenlet.value) for greenlet in greenlets}) == 3
    assert {greenlet.value.errno for greenlet in greenlets} == {stdlib.EAI_NONAME}


def outcome_itself(resolver: AbstractResolver, name: str) -> Any:
    with pytest.raises(stdlib.gaierror) as caught:
        resolver.gethostbyname(name)
    return caught.value


def test_names_that_nobody_answers_for_delay_no_others(asking: Any) -> None:
    resolver = asking(timeout=0.7)
    dead = [treadle.spawn(found, resolver, f"dead{number}.test") for number in range(40)]
    treadle.sleep(0.05)
    assert found(resolver, "quick.test") == ["192.0.2.20"]
    assert not any(greenlet.ready() for greenlet in dead)
    treadle.joinall(dead)
    assert {greenlet.value for greenlet in dead} == {failed(stdlib.EAI_AGAIN)}


def test_two_dead_servers_are_asked_after_the_living_one(asking: Any, server: str) -> None:
    with (
        stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as first,
        stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as second,
    ):
        for dead in (first, second):
            dead.bind(("127.0.0.1", 0))
        servers = [f"127.0.0.1:{dead.getsockname()[1]}" for dead in (first, second)]
        resolver = asking(nameservers=[*servers, server], timeout=0.3)
        assert found(resolver, "quick.test") == ["192.0.2.20"]
        began = time.monotonic()
        for number in range(20):
            assert found(resolver, f"quick{number}.test") == ["192.0.2.20"]
        assert time.monotonic() - began < 3  # 6 s if one of them is asked first each time


def test_closing_fails_what_is_asked_and_it_may_be_used_again(asking: Any) -> None:
    resolver = asking()
    if isinstance(resolver, DnspythonResolver):
        resolver.close()  # each of its lookups has a socket of its own
    else:
        greenlet = treadle.spawn(found, resolver, "slow-close.test")
        treadle.sleep(0.05)
        resolver.close()
        assert greenlet.get(timeout=30) == failed(stdlib.EAI_AGAIN)
    assert found(resolver, "quick.test") == ["192.0.2.20"]


@pytest.mark.parametrize("keep", [False, True])
def test_a_fork_amid_look_ups_harms_neither_process(asking: Any, keep: bool) -> None:
    resolver = asking()
    name = f"slow-fork-{time.monotonic()}.test"
    going_on = treadle.spawn(found, resolver, name)
    treadle.sleep(0.05)
    pid = treadle.os.fork(keep)
    if pid == 0:
        right = found(resolver, name) == ["192.0.2.20"]
        if keep:
            right = right and going_on.get(timeout=30) == ["192.0.2.20"]
        os._exit(0 if right else 1)
    assert going_on.get(timeout=30) == ["192.0.2.20"]
    assert treadle.os.waitpid(pid, 0)[1] == 0


def test_each_thread_has_a_resolver_of_its_own(server: str) -> None:
    done = run(
        """
        import treadle, threading
        from treadle import socket
        found = []
        def look_up():
            found.append((socket.gethostbyname("four.test"), treadle.get_hub().resolver))
        threads = [threading.Thread(target=look_up) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        look_up()
        print([address for address, _ in found], len({resolver for _, resolver in found}))
        """,
        TREADLE_RESOLVER="ares",
        TREADLE_RESOLVER_NAMESERVERS=server,
    )
    assert (done.stdout, done.stderr) == (f"{['192.0.2.4'] * 6} 6\n", "")


@pytest.mark.parametrize("kind", ["ares", "dnspython", "thread"])
def test_failed_look_ups_print_nothing(server: str, kind: str) -> None:
    done = run(
        """
        from treadle import monkey; monkey.patch_all()
        import os, socket, treadle
        def look_up(name):
            try:
                socket.create_connection((name, 80))
            except OSError as exc:
                return exc
        names = ["a..b", "no such\\nname"]
        if os.environ["TREADLE_RESOLVER"] != "thread":
            names += ["nothing.test", "empty.test", "servfail.test"]
        greenlets = [treadle.spawn(look_up, name) for name in names]
        treadle.joinall(greenlets)
        print(all(isinstance(each.value, (UnicodeError, OSError)) or each.exception
                  for each in greenlets))
        """,
        TREADLE_RESOLVER=kind,
        TREADLE_RESOLVER_NAMESERVERS=server,
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("kind", ["ares", "dnspython"])
def test_at_exit_they_go_on(kind: str, server: str) -> None:
    done = run(
        """
        import atexit
        from treadle import monkey; monkey.patch_all()
        import socket, threading
        class Late:
            def __del__(self, look_up=socket.getaddrinfo):
                print("late", bool(look_up("localhost", 80)))
        late = Late()
        atexit.register(lambda: print("atexit", socket.gethostbyname("four.test")))
        """,
        TREADLE_RESOLVER=kind,
        TREADLE_RESOLVER_NAMESERVERS=server,
    )
    assert (done.stdout.split(), done.stderr) == (["atexit", "192.0.2.4", "late", "True"], "")


def test_pycares_may_be_imported_before_patching(server: str) -> None:
    done = run(
        """
        import pycares
        from treadle import monkey; monkey.patch_all()
        import socket, treadle
        for _ in range(2):
            print(socket.gethostbyname("four.test"))
            treadle.get_hub().resolver.close()
        """,
        TREADLE_RESOLVER="ares",
        TREADLE_RESOLVER_NAMESERVERS=server,
        PYTHONWARNINGS="ignore",  # patch_all() warns of pycares's queue
    )
    assert (done.stdout, done.stderr) == ("192.0.2.4\n" * 2, "")


@pytest.mark.parametrize(
    ("kind", "package"), [("ares", "pycares"), ("dnspython", "dns"), ("dnspython", "dns.resolver")]
)
def test_a_missing_package_is_named_with_its_extra(kind: str, package: str) -> None:
    done = run(
        f"""
        import sys; sys.modules[{package!r}] = None
        import treadle; treadle.get_hub().resolver
        """,
        TREADLE_RESOLVER=kind,
    )
    assert f"treadle.resolver.{kind} needs" in done.stderr.splitlines()[-1]
    assert "pip install 'treadle[dns]'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("text", ["nowhere", "127.0.0.1:x", "127.0.0.1:99999", ""])
def test_what_is_no_name_server_is_named(asking: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"a name server is an address or address:port, not"):
        asking(nameservers=[text])


class TestAresOptions:
    """The options of gevent's resolver of this name."""

    def test_settings_count_unless_it_is_told_not_to_look(
        self, server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(treadle.config, "ares_servers", [server])
        monkeypatch.setattr(treadle.config, "ares_tries", 2)
        resolver = AresResolver(get_hub(), timeout=3)
        assert resolver.gethostbyname("four.test") == "192.0.2.4"
        assert (resolver._options["tries"], resolver._options["timeout"]) == (2, 3)
        resolver.close()
        resolver = AresResolver(get_hub(), False, servers=[server], ndots=1)
        assert resolver.gethostbyname("four.test") == "192.0.2.4"
        assert resolver._options == {"ndots": 1, "servers": ["[127.0.0.1]:" + server[10:]]} | {
            "timeout": None
        }
        resolver.close()

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"no option 'trys': flags, tries"):
            AresResolver(get_hub(), trys=2)


class TestChannel:
    @pytest.fixture
    def channel(self, server: str) -> Iterator[Any]:
        made = cares.channel(get_hub().loop, servers=server, timeout=1)
        yield made
        made.destroy()

    def asked(self, look_up: Any, *args: Any) -> Any:
        result = AsyncResult()
        look_up(result.set, *args)
        assert not result.ready()  # the callback runs later, in the hub
        return result.get(timeout=10)

    def test_answers(self, channel: Any) -> None:
        host = self.asked(channel.gethostbyname, b"both.test")
        assert host.successful()
        assert host.get() == ("both.test", [], ["192.0.2.1"])
        host = self.asked(channel.gethostbyname, "both.test", stdlib.AF_INET6)
        assert host.value == ("both.test", [], ["2001:db8::1"])
        host = self.asked(channel.gethostbyaddr, b"192.0.2.1")
        assert host.value[0] == "both.test"
        found = self.asked(channel.getaddrinfo, b"four.test", b"80", stdlib.AF_INET).value
        assert ("192.0.2.4", 80) in [each[4] for each in found]
        name = self.asked(channel.getnameinfo, ("192.0.2.1", 80), stdlib.NI_NUMERICSERV)
        assert name.value == ("both.test", "80")

    def test_failures(self, channel: Any) -> None:
        failed = self.asked(channel.gethostbyname, "nothing.test")
        assert not failed.successful()
        assert "exception" in repr(failed)
        with pytest.raises(stdlib.gaierror):
            failed.get()
        with pytest.raises(TypeError, match="callback must be callable, not 7"):
            channel.gethostbyname(7, "both.test")

    def test_servers_are_changed(self, channel: Any, server: str) -> None:
        channel.set_servers("127.0.0.1:9," + server)
        channel.set_servers([server])
        assert self.asked(channel.gethostbyname, "four.test").successful()

    def test_one_that_is_destroyed_asks_no_more(self, channel: Any) -> None:
        channel.destroy()
        with pytest.raises(stdlib.gaierror, match="this channel has been destroyed"):
            channel.gethostbyname(print, "both.test")
