"""threading's own objects behave the same after patching."""

import os
import subprocess
import sys

import pytest

CASES = {
    "names and idents": """
seen = []
def look():
    me = threading.current_thread()
    seen.append((me.name, me.ident == threading.get_ident(), me.native_id is not None, me.daemon))
for daemon in (False, True):
    thread = threading.Thread(target=look, name=f"T{daemon}", daemon=daemon)
    print(thread.ident, thread.is_alive())
    thread.start(); thread.join()
    print(thread.is_alive())
print(seen)
main = threading.main_thread()
print(main is threading.current_thread(), main.name, main.ident == threading.get_ident())
idents = set()
threads = [threading.Thread(target=lambda: (idents.add(threading.get_ident()), wait.wait()))
           for _ in range(5)]
wait = threading.Event()
for thread in threads: thread.start()
while len(idents) < 5: time.sleep(0.001)
print(threading.active_count(), len(threading.enumerate()))
wait.set()
for thread in threads: thread.join()
print(threading.active_count(), threading.enumerate())
""",
    "daemons": """
def inherit(): print(threading.Thread().daemon)
for daemon in (True, False):
    thread = threading.Thread(target=inherit, daemon=daemon)
    thread.start(); thread.join()
try: thread.daemon = True
except RuntimeError as error: print(error)
try: thread.start()
except RuntimeError as error: print(error)
try: threading.Thread().join()
except RuntimeError as error: print(error)
try: threading.current_thread().join()
except RuntimeError as error: print(error)
""",
    "timer and barrier": """
timer = threading.Timer(0.01, print, ["fired"])
timer.start(); timer.join()
print(timer.finished.is_set())
barrier = threading.Barrier(3, action=lambda: print("all here"), timeout=10)
passed = []
threads = [threading.Thread(target=lambda: passed.append(barrier.wait())) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(passed), barrier.n_waiting, barrier.broken)
try: barrier.wait(0.01)
except threading.BrokenBarrierError: print("broken", barrier.broken)
barrier.reset()
print(barrier.broken)
""",
    "local": """
class Local(threading.local):
    shared = "class"
    def __init__(self, start): self.start = start; print("made")
data = Local(1)
data.start = 2
def look(): print(data.start, data.shared); data.start = 3
thread = threading.Thread(target=look)
thread.start(); thread.join()
print(data.start)
""",
    "excepthook": """
def hook(args): print(args.exc_type.__name__, args.exc_value, args.thread.name)
threading.excepthook = hook
def fail(exc): raise exc
for exc in (ValueError("no"), SystemExit(3), KeyboardInterrupt()):
    thread = threading.Thread(target=fail, args=(exc,), name="T")
    thread.start(); thread.join()
threading.excepthook = threading.__excepthook__
print(threading.excepthook is threading.__excepthook__)
""",
    # Since CPython 3.14 threads may inherit a context, as sys.flags.thread_inherit_context says.
    "contexts": """
import concurrent.futures, contextvars, decimal, multiprocessing.pool, _thread
user = contextvars.ContextVar("user", default="nobody")
user.set("main")
decimal.getcontext().prec = 8
def look():
    decimal.getcontext().prec -= 1
    return user.get(), decimal.getcontext().prec
seen = []
def request(name):
    user.set(name)
    seen.append(executor.submit(look).result(5))
    seen.append(pool.apply(look))
    user.set("changed")
futures = concurrent.futures
with futures.ThreadPoolExecutor(1) as executor, multiprocessing.pool.ThreadPool(1) as pool:
    for name in ("alice", "bob"):
        thread = threading.Thread(target=request, args=(name,))
        thread.start(); thread.join()
    timer = threading.Timer(0, lambda: seen.append(look()))
    timer.start(); timer.join()
    ended = threading.Event()
    _thread.start_new_thread(lambda: (seen.append(look()), ended.set()), ())
    ended.wait(5)
print(*[who for who, _ in seen], user.get())
print(*["abcdefghijklmnopqrstuvwxyz#"[-precision] for _, precision in seen])  # no digits
print(decimal.getcontext().prec == 8)
""",
    "signals belong to the main thread": """
import asyncio, os, signal, warnings
warnings.simplefilter("ignore")  # of a fork beside threads
def attempt(function, *args):
    try: print(function.__name__, getattr(result := function(*args), "__name__", result))
    except (ValueError, RuntimeError) as error: print(function.__name__, type(error), error)
def handler(number, frame): print("handled")
def use():
    attempt(signal.signal, signal.SIGUSR1, handler)
    attempt(signal.getsignal, signal.SIGUSR1)
    attempt(signal.set_wakeup_fd, -1)
    async def wait_for_signals():
        attempt(asyncio.get_running_loop().add_signal_handler, signal.SIGUSR1, print)
    asyncio.run(wait_for_signals())
def run_in_thread(function):
    thread = threading.Thread(target=function)
    thread.start(); thread.join()
run_in_thread(use)
attempt(signal.signal, signal.SIGUSR1, signal.SIG_IGN)
run_in_thread(use)
if "greenlet" in sys.modules:  # what a greenlet of the thread does, the thread does
    import greenlet
    def use(use=use): greenlet.greenlet(use).switch()
run_in_thread(use)
def fork():
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGUSR1, handler)  # the thread that forks is the child's main thread
        signal.raise_signal(signal.SIGUSR1)
        run_in_thread(use)
        sys.stdout.flush()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.stdout.flush()
if hasattr(os, "fork"): run_in_thread(fork)
""",
    "what the interpreter keeps for each thread": """
import asyncio, _thread
def hook(*args): return hook
def state():
    hooks = [getattr(each, "__name__", each) for each in
             (sys.gettrace(), sys.getprofile(), *sys.get_asyncgen_hooks())]
    return hooks, sys.get_coroutine_origin_tracking_depth()
def own_state(name):
    before = state()
    def own(*args): return own
    own.__name__ = name
    sys.set_asyncgen_hooks(own, own)
    sys.set_coroutine_origin_tracking_depth(len(name))
    sys.setprofile(own)
    sys.settrace(own)
    seen = []
    for _ in range(3):
        time.sleep(0.002)
        seen.append(state())
    after = state()
    results[name] = before, seen, after
results = {}
threads = [threading.Thread(target=own_state, args=(name,)) for name in ("a", "bb", "ccc")]
sys.set_asyncgen_hooks(hook)
for thread in threads: thread.start(); time.sleep(0.001)
for thread in threads: thread.join()
print(sorted(results.items()))
print(state())
sys.set_asyncgen_hooks(None, None)

lines = []
def trace_lines(frame, event, arg):
    if frame.f_code is wait_twice.__code__:
        lines.append((threading.current_thread().name, event, frame.f_lineno))
    return trace_lines
def wait_twice():
    time.sleep(0.002)
    x = 1
    lock.acquire(); lock.release()
    return x
lock = _thread.allocate_lock()
threading.settrace(trace_lines)
threads = [threading.Thread(target=wait_twice, name=name) for name in "ABC"]
for thread in threads: thread.start()
for thread in threads: thread.join()
threading.settrace(None)
print(sorted(lines))

async def numbers():
    try:
        while True:
            yield 1
            await asyncio.sleep(0.001)
    finally:
        await asyncio.sleep(0)
        closed.append(asyncio.get_running_loop())
def run(seconds, debug):
    async def leave_half_way():
        task = asyncio.current_task()
        async for _ in numbers(): break
        await asyncio.sleep(seconds)
        time.sleep(0.001)
        loops.append(asyncio.get_running_loop())
        print(asyncio.current_task() is task)
    asyncio.run(leave_half_way(), debug=debug)
closed, loops = [], []
threads = [threading.Thread(target=run, args=(n / 200, n != 2)) for n in (1, 2, 3)]
for thread in threads: thread.start(); time.sleep(0.001)
for thread in threads: thread.join()
print(len(closed), set(closed) == set(loops), len(set(loops)))
print(state())
""",
    "limits of joins": """
def error_of(limit):
    try: thread.join(limit)
    except Exception as error: return type(error).__name__
gate = threading.Event()
thread = threading.Thread(target=gate.wait)
thread.start()
for limit in [0, 0.01, True, "1", 1e300, 10**400]:
    print(error_of(limit))
if sys.version_info >= (3, 13):
    print(error_of(float("nan")), error_of(-1e300))
    import _thread
    try: _thread._make_thread_handle(threading.get_ident()).join()
    except RuntimeError as error: print(error)
gate.set(); thread.join()
""",
    "masks of signals": """
import signal
def show(*_): print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start(); thread.join()
def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    in_thread(show)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    in_thread(show)
in_thread(block)
show()
""",
    "many join one": """
order = []
thread = threading.Thread(target=time.sleep, args=(0.02,))
thread.start()
joiners = [threading.Thread(target=lambda: order.append(thread.join())) for _ in range(5)]
for joiner in joiners: joiner.start()
for joiner in joiners: joiner.join()
print(order, thread.is_alive())
thread = threading.Thread(target=time.sleep, args=(0.2,))
thread.start()
print(thread.join(0.01), thread.is_alive())
thread.join()
""",
}

IMPORTS = "import sys, threading, time\n"


def output(source: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.parametrize("case", CASES)
def test_as_without_patching(case: str) -> None:
    source = IMPORTS + CASES[case]
    patched = output("from treadle import monkey; monkey.patch_all()\n" + source)
    assert without_idents(patched) == without_idents(output(source))


def without_idents(text: str) -> str:
    return "".join("0" if character.isdigit() else character for character in text)


def test_native_threads_beside() -> None:
    source = """
from treadle import monkey; monkey.patch_all()
import queue, threading, time, treadle
native_ident = monkey.get_original("threading", "get_ident")
here = native_ident()
numbers, done = queue.Queue(), threading.Event()
def feed():
    assert native_ident() != here
    for n in range(5): numbers.put(n)
    done.wait(5)
    return native_ident() != threading.main_thread().ident
job = treadle.get_hub().threadpool.spawn(feed)
print([numbers.get(timeout=30) for _ in range(5)])
done.set()
print(job.get(timeout=30))
"""
    assert output(source) == "[0, 1, 2, 3, 4]\nTrue\n"


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_hooks_end_with_the_threads(fresh, kind):
    source = f"""
from treadle import monkey
monkey.patch_all()
import sys, threading
seen = set()
def hook(frame, event, argument):
    seen.add(frame.f_code.co_name)
    return hook
def traced():
    return 1
threading.set{kind}(hook)
threads = [threading.Thread(target=traced) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
threading.set{kind}(None)
print("traced" in seen, sys.get{kind}())
"""
    assert fresh(source) == "True None\n"


def test_coverage_counts_what_threads_do_after_a_wait(fresh, tmp_path):
    pytest.importorskip("coverage")
    (tmp_path / "covered.py").write_text(
        "import threading, time, treadle\n"
        "def work():\n"
        "    time.sleep(0.002)\n"
        "    done = 1\n"
        "    return done\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "def spawned():\n"
        "    time.sleep(0.002)\n"
        "    done = 1\n"
        "    return done\n"
        "treadle.joinall([treadle.spawn(spawned) for _ in range(3)])\n"
    )
    source = f"""
from treadle import monkey
monkey.patch_all()
import sys, coverage
sys.path.insert(0, {str(tmp_path)!r})
cover = coverage.Coverage(data_file=None, include=["*/covered.py"], concurrency="greenlet")
cover.start()
import covered
cover.stop()
print(cover.analysis(covered)[2])
"""
    assert fresh(source) == "[]\n"


def test_a_native_thread_has_a_dummy(fresh):
    source = """
from treadle import monkey
monkey.patch_all()
import threading, treadle
print(type(treadle.get_hub().threadpool.apply(threading.current_thread)).__name__)
"""
    assert fresh(source) == "_DummyThread\n"


@pytest.mark.parametrize("spawn", ["spawn", "spawn_raw"])
def test_a_dummy_thread_goes_with_its_greenlet(fresh, spawn):
    source = f"""
from treadle import monkey
monkey.patch_all()
import threading, treadle

def name_itself():
    names.append(threading.current_thread().name)
    treadle.sleep(0.01)

names = []
greenlet = treadle.{spawn}(name_itself)
treadle.sleep(0.005)
print(len(threading._active), names[0][:6])
while not greenlet.dead:
    treadle.sleep(0.01)
del greenlet
print(len(threading._active))
"""
    assert fresh(source) == "2 Dummy-\n1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_main_thread_has_ended_in_a_child_of_another(fresh):
    source = """
from treadle import monkey
monkey.patch_all()
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)

def fork():
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    else:
        main.join(5)
        print(main.is_alive(), threading.main_thread() is threading.current_thread())

main = threading.current_thread()
forker = threading.Thread(target=fork)
forker.start()
forker.join()
print(main.is_alive(), threading.main_thread() is main)
"""
    assert fresh(source) == "False True\nTrue True\n"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="threads have handles since CPython 3.13")
def test_a_thread_whose_start_was_interrupted_is_not_awaited(fresh):
    source = """
from treadle import monkey
monkey.patch_all()
import threading, treadle.thread

def interrupted(*args):
    raise KeyboardInterrupt

treadle.thread.ThreadGreenlet.spawn = interrupted
try:
    threading.Thread(target=print).start()
except KeyboardInterrupt:
    print("interrupted")
"""
    assert fresh(source) == "interrupted\n"
