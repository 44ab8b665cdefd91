"""Signals in patched programs, where threads are greenlets."""

import signal
import textwrap
from collections.abc import Callable

import pytest

HEAD = """
from treadle import monkey; monkey.patch_all()
import os, signal, sys, threading, time
import treadle

def send(number, seconds):
    "Have a child send the signal to this process after that time."
    parent = os.getpid()
    if os.fork() == 0:
        for after in seconds:
            time.sleep(after)
            os.kill(parent, number)
        os._exit(0)
"""


@pytest.fixture
def patched(fresh: Callable[..., str]) -> Callable[[str], str]:
    """Return a function that runs source after HEAD and returns its output."""
    return lambda source: fresh(HEAD + textwrap.dedent(source))


# What the signal interrupts.
INTERRUPTED = {
    "a thread waits": "other = threading.Thread(target=time.sleep, args=(0.4,))",
    "the hub waits": "other = threading.Thread(target=time.sleep, args=(0.01,))",
    "a thread computes": """
def compute():
    while not come:
        pass
    time.sleep(0.2)
other = threading.Thread(target=compute)""",
}


@pytest.mark.parametrize("interrupted", INTERRUPTED)
def test_a_handler_may_wait_and_is_in_the_main_thread(patched, interrupted) -> None:
    program = """
        come = []
        lock = threading.Lock()
        def handle(number, frame):
            come.append(threading.current_thread() is threading.main_thread())
            threading.Timer(0.05, lock.release).start()
            with lock:
                come.append(signal.signal(signal.SIGALRM, signal.SIG_DFL) is handle)
        lock.acquire()
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        other.start()
        threading.Event().wait(0.5)
        other.join()
        print(come)
    """
    source = INTERRUPTED[interrupted] + textwrap.dedent(program)
    assert patched(source) == "[True, True]\n"


def test_a_handler_switches_only_if_it_waits(patched) -> None:
    program = """
        log = []
        signal.signal(signal.SIGUSR1, lambda *_: log.append("handled"))
        def beside():
            log.append("beside")
        def compute():
            treadle.spawn(beside)
            os.kill(os.getpid(), signal.SIGUSR1)
            log.append("computed")
        treadle.spawn(compute).join()
        treadle.sleep(0)
        print(log)
    """
    assert patched(program) == "['handled', 'computed', 'beside']\n"


def test_what_a_handler_raises_waits_for_the_interrupted_greenlet(patched) -> None:
    program = """
        log = []
        def handle(*_):
            raise ValueError("handled")
        signal.signal(signal.SIGUSR1, handle)
        def compute():
            os.kill(os.getpid(), signal.SIGUSR1)
            log.append("computed")
        greenlet = treadle.spawn(compute)
        try:
            treadle.sleep(1)
        except ValueError as exc:
            log.append(str(exc))
        print(log, greenlet.dead)
    """
    assert patched(program) == "['computed', 'handled'] True\n"


def test_a_second_interrupt_reaches_a_main_greenlet_that_another_starves(patched) -> None:
    program = """
        stop = []
        def compute():
            end = time.monotonic() + 20
            while not stop and time.monotonic() < end:
                pass
        greenlet = treadle.spawn(compute)
        send(signal.SIGINT, [0.2, 0.2])
        for _ in range(2):
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                stop.append(not greenlet.dead)
        greenlet.join()
        print(stop)
    """
    assert patched(program).startswith("[True")


def test_timeouts_and_kills_of_the_interrupted_greenlet_are_its_own(patched) -> None:
    program = """
        def handle(*_):
            time.sleep(0.3)
        signal.signal(signal.SIGALRM, handle)
        def limited():
            with treadle.Timeout(0.2) as limit:
                try:
                    time.sleep(5)
                except treadle.Timeout as timeout:
                    return timeout is limit
        for meant in ("timeout", "kill"):
            greenlet = treadle.spawn(limited if meant == "timeout" else lambda: time.sleep(5))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            time.sleep(0.2)
            if meant == "kill":
                greenlet.kill()
            print(repr(greenlet.get(timeout=30)))
            time.sleep(0.3)
    """
    assert patched(program) == "True\nGreenletExit()\n"


@pytest.mark.parametrize("work", ["time.sleep(5)", "compute()"])
def test_a_handler_can_kill_the_interrupted_greenlet(patched, work) -> None:
    program = f"""
        def compute():
            end = time.monotonic() + 5
            while time.monotonic() < end:
                pass
        greenlet = treadle.spawn(lambda: {work})
        def handle(*_):
            greenlet.kill()
            print("killed", greenlet.dead)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        greenlet.join(4)
        time.sleep(0)
        print(repr(greenlet.value))
    """
    assert patched(program) == "killed True\nGreenletExit()\n"


def test_a_handler_has_the_context_and_the_locals_of_the_main_greenlet(patched) -> None:
    program = """
        from contextvars import ContextVar
        name, local = ContextVar("name"), threading.local()
        def interrupt(of):
            name.set(of)
            local.name = of
            os.kill(os.getpid(), signal.SIGUSR1)
        def handle(*_):
            print(name.get(), local.name, threading.get_ident() == threading.main_thread().ident)
        signal.signal(signal.SIGUSR1, handle)
        interrupt("main")
        treadle.spawn(interrupt, "other").join()
        treadle.get_hub().loop.run_callback(interrupt, "callback")
        treadle.sleep(0)
    """
    assert patched(program) == "main main True\n" * 3


def test_a_handler_is_traced_as_the_main_greenlet_and_traces_that(patched) -> None:
    program = """
        traced = []
        def trace(frame, *_):
            traced.append(frame.f_code.co_name)
        def handle(*_): pass
        def trace_main(*_): sys.setprofile(trace)
        def interrupt(number):
            os.kill(os.getpid(), number)
            assert sys.gettrace() is sys.getprofile() is None
        signal.signal(signal.SIGUSR1, handle)
        signal.signal(signal.SIGUSR2, trace_main)
        greenlet = treadle.spawn(interrupt, signal.SIGUSR1)
        sys.settrace(trace)
        greenlet.join()
        sys.settrace(None)
        print("handle" in traced, "interrupt" in traced)
        treadle.spawn(interrupt, signal.SIGUSR2).join()
        print(sys.getprofile() is trace)
    """
    assert patched(program) == "True False\nTrue\n"


def test_a_handler_runs_at_once_in_the_middle_of_a_callback(patched) -> None:
    program = """
        log, hub = [], treadle.get_hub()
        def handle(*_):
            log.append("handled")
            time.sleep(0.01)
            log.append("waited")
        signal.signal(signal.SIGUSR1, handle)
        def interrupt():
            os.kill(os.getpid(), signal.SIGUSR1)
            log.append("called")
        hub.loop.run_callback(interrupt)
        time.sleep(0.05)
        print(log)

        # And in a greenlet to which a callback has switched: no other runs then either.
        log.clear()
        def switched():
            hub.loop.run_callback(switch, treadle.getcurrent())
            hub.switch()
            treadle.spawn(log.append, "other")
            interrupt()
        def switch(greenlet):
            greenlet.switch()
            log.append("rest of the callback")
        treadle.spawn(switched)
        time.sleep(0.05)
        print(log)
    """
    assert patched(program) == (
        "['handled', 'called', 'waited']\n"
        "['handled', 'called', 'rest of the callback', 'other', 'waited']\n"
    )


def test_handlers_interrupt_each_other(patched) -> None:
    program = """
        log = []
        def outer(*_):
            os.kill(os.getpid(), signal.SIGUSR2)
            log.append("outer")
            time.sleep(0.02)
            log.append("outer ends")
        def inner(*_):
            log.append("inner")
            time.sleep(0.01)
            log.append("inner ends")
            raise ValueError(threading.current_thread().name)
        signal.signal(signal.SIGUSR1, outer)
        signal.signal(signal.SIGUSR2, inner)
        treadle.spawn(os.kill, os.getpid(), signal.SIGUSR1)
        try:
            time.sleep(5)
        except ValueError as exc:
            log.append(str(exc))
        time.sleep(0.05)
        print(log)
    """
    assert patched(program) == ("['inner', 'outer', 'inner ends', 'MainThread', 'outer ends']\n")


def test_many_signals_whose_handlers_wait(patched) -> None:
    program = """
        begun, ended = [], []
        def handle(*_):
            begun.append(None)
            time.sleep(0.001)
            ended.append(None)
        signal.signal(signal.SIGALRM, handle)
        left, right = treadle.socket.socketpair()
        def echo():
            for _ in range(500):
                right.sendall(right.recv(1))
        treadle.spawn(echo)
        for _ in range(500):
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
            left.sendall(b"x")
            assert left.recv(1) == b"x"
            end = time.monotonic() + 0.0002
            while time.monotonic() < end:
                treadle.sleep(0)
        time.sleep(0.05)
        left.close(); right.close()
        print(len(begun) == len(ended) > 100, treadle.get_hub().fibers())
    """
    assert patched(program) == "True []\n"


@pytest.mark.parametrize(
    "interrupted", ["a greenlet", "a thread", "a callback", "the main greenlet"]
)
def test_the_main_greenlet_goes_on_in_a_child_that_a_handler_forks(patched, interrupted) -> None:
    program = f"""
        def handle(*_):
            child = os.fork()
            time.sleep(0.01)
            raise ValueError(child)
        went_on = []
        def compute():
            os.kill(os.getpid(), signal.SIGUSR1)
            went_on.append(os.getpid())
        signal.signal(signal.SIGUSR1, handle)
        try:
            match {interrupted!r}:
                case "a greenlet": treadle.spawn(compute)
                case "a thread": threading.Thread(target=compute).start()
                case "a callback": treadle.get_hub().loop.run_callback(compute)
                case "the main greenlet": compute()
            time.sleep(5)
        except ValueError as exc:
            child = exc.args[0]
        if child == 0:
            assert threading.current_thread() is threading.main_thread()
            assert treadle.get_hub().fibers() == [] and treadle.get_hub().refs == 0
            os._exit(42 + len(went_on))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), went_on == [os.getpid()])
    """
    in_hub, in_main = interrupted == "a callback", interrupted == "the main greenlet"
    assert patched(program) == f"{43 if in_hub else 42} {not in_main}\n"


def test_a_program_ends_when_its_handlers_have_ended(patched) -> None:
    program = """
        def handle(*_):
            time.sleep(0.05)
            print("handled")
            sys.exit(3)
        signal.signal(signal.SIGUSR1, handle)
        treadle.spawn(os.kill, os.getpid(), signal.SIGUSR1).join()
        print("main ends")
    """
    assert patched(program) == "main ends\nhandled\n"


def test_a_handler_reports_what_it_handles(patched) -> None:
    program = """
        signal.signal(signal.SIGUSR1, lambda *_: print(treadle.getcurrent()))
        treadle.spawn(os.kill, os.getpid(), signal.SIGUSR1).join()
    """
    assert f": signal {signal.SIGUSR1}>" in patched(program)


@pytest.mark.parametrize("work", ["time.sleep(10)", "compute()", "treadle.spawn(compute).join()"])
@pytest.mark.parametrize("start", ["threading.Thread(target=fork).start()", "treadle.spawn(fork)"])
def test_an_exception_of_a_handler_reaches_a_child_of_another_greenlet(
    patched, start, work
) -> None:
    program = f"""
        def compute():
            end = time.monotonic() + 10
            while time.monotonic() < end:
                time.sleep(0)
        def terminate(*_):
            sys.exit(5)
        codes = []
        def fork():
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTERM, terminate)
                os.write(ready[1], b"x")
                try:
                    {work}
                except SystemExit as exc:
                    os._exit(exc.code)
                os._exit(1)
            os.read(ready[0], 1)
            time.sleep(0.1)
            os.kill(child, signal.SIGTERM)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        ready = os.pipe()
        {start}
        while not codes:
            time.sleep(0.01)
        print(codes)
    """
    assert patched(program) == "[5]\n"


def test_pthread_kill_takes_the_ident_of_a_patched_thread(patched) -> None:
    program = """
        log = []
        signal.signal(signal.SIGUSR1, lambda number, _: log.append(number == signal.SIGUSR1))
        ended = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), 10))
        ended.start()
        ended.join()
        thread = threading.Thread(target=time.sleep, args=(0.1,))
        thread.start()
        signal.pthread_kill(thread.ident, signal.SIGUSR1)
        thread.join()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        print(log)
        for call in (signal.pthread_kill, lambda ident, _: time.pthread_getcpuclockid(ident)):
            try:
                print(call(ended.ident, 0))
            except ProcessLookupError:
                print("no such thread")
    """
    assert patched(program) == "[True, True, True]\nno such thread\nno such thread\n"


def test_the_clock_of_a_patched_thread(patched) -> None:
    program = """
        def clock():
            return time.pthread_getcpuclockid(threading.get_ident())
        clocks = [clock()]
        thread = threading.Thread(target=lambda: clocks.append(clock()))
        thread.start()
        thread.join()
        print(len(set(clocks)), time.clock_gettime(clocks[1]) > 0)
    """
    assert patched(program) == "1 True\n"
