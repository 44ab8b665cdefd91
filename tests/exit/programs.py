"""Small programs whose ends are compared: each runs unpatched, and again with patch_all().

A program that prints "ready" then receives the signal that SIGNALS names for it.
"""

import signal

#: Name -> source. The name says what the program does at its end.
PROGRAMS = {
    # -- threads that outlive the main thread
    "non_daemon_threads_end_first": """
ended = threading.Event()
def late(n, previous):
    previous()
    time.sleep(0.01)
    print("late", n)
wait = ended.wait
for n in range(5):
    thread = threading.Thread(target=late, args=(n, wait))
    thread.start()
    wait = thread.join
atexit.register(print, "atexit")
print("main ends")
ended.set()
""",
    "threads_start_threads_while_the_interpreter_waits": """
def generation(n):
    time.sleep(0.01)
    print("generation", n)
    if n < 5: threading.Thread(target=generation, args=(n + 1,)).start()
threading.Thread(target=generation, args=(0,)).start()
""",
    "non_daemon_thread_released_by_atexit": """
go = threading.Event()
def wait():
    go.wait()
    print("released")
threading.Thread(target=wait).start()
threading._register_atexit(go.set)
print("main ends")
""",
    "thread_waits_for_the_main_thread": """
def wait():
    threading.main_thread().join()
    print("main is alive:", threading.main_thread().is_alive())
threading.Thread(target=wait).start()
time.sleep(0.02)
print("main ends")
""",
    "timer_fires_after_main": """
timer = threading.Timer(0.05, print, ["fired"])
timer.start()
print("main ends")
""",
    "timer_cancelled": """
timer = threading.Timer(30, print, ["fired"])
timer.start()
timer.cancel()
print("main ends")
""",
    "daemon_timer": """
timer = threading.Timer(30, print, ["fired"])
timer.daemon = True
timer.start()
print("main ends")
""",
    "system_exit_in_thread": """
def leave(code): sys.exit(code)
threads = [threading.Thread(target=leave, args=(code,)) for code in (0, 3, "text", None)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("still here")
""",
    "exception_in_thread": """
def fail(): raise ValueError("in a thread")
threading.Thread(target=fail, name="T").start()
print("main ends")
""",
    "keyboard_interrupt_in_thread": """
def fail(): raise KeyboardInterrupt
thread = threading.Thread(target=fail, name="T")
thread.start(); thread.join()
print("main ends")
""",
    "exception_in_bare_thread": """
import _thread
def fail(): raise ValueError("in a bare thread")
_thread.start_new_thread(fail, ())
time.sleep(0.5)  # since CPython 3.15 the report first imports traceback
print("main ends")
""",
    "thread_excepthook": """
def hook(args): print("hook", args.exc_type.__name__, args.thread.name)
threading.excepthook = hook
def fail(): raise ValueError
threading.Thread(target=fail, name="T").start()
""",
    "interrupt_main_by_thread": """
import _thread
def interrupt():
    time.sleep(0.02)
    _thread.interrupt_main()
threading.Thread(target=interrupt).start()
try:
    while True: time.sleep(0.01)
except KeyboardInterrupt: print("interrupted")
""",
    # -- daemon threads
    "daemon_threads_parked": """
import select
left, right = socket.socketpair()
held = threading.Lock(); held.acquire()
full = queue.Queue(1); full.put(0)
waits = [lambda: time.sleep(60), held.acquire, threading.Event().wait, queue.Queue().get,
         lambda: full.put(1), queue.SimpleQueue().get, lambda: right.recv(1),
         lambda: select.select([right], [], []), threading.Barrier(2).wait,
         threading.main_thread().join, threading.Semaphore(0).acquire]
for wait in waits: threading.Thread(target=wait, daemon=True).start()
def in_condition():
    condition = threading.Condition()
    with condition: condition.wait()
threading.Thread(target=in_condition, daemon=True).start()
time.sleep(0.02)
print("main ends")
""",
    "daemon_threads_busy": """
def spin():
    while True: time.sleep(0)
for _ in range(5): threading.Thread(target=spin, daemon=True).start()
time.sleep(0.02)
print("main ends")
""",
    "daemon_threads_with_finally": """
def stubborn():
    try: time.sleep(60)
    finally: print("not to be seen")
for _ in range(3): threading.Thread(target=stubborn, daemon=True).start()
time.sleep(0.02)
print("main ends")
""",
    "daemon_thread_joined_in_atexit": """
done = []
def work():
    time.sleep(0.05)
    done.append(1)
thread = threading.Thread(target=work, daemon=True)
thread.start()
def wait():
    thread.join()
    print("done", done)
atexit.register(wait)
""",
    # -- how the main thread ends
    "sys_exit_with_threads": """
def late():
    time.sleep(0.05)
    print("late")
threading.Thread(target=late).start()
sys.exit(3)
""",
    "sys_exit_with_text": """
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
sys.exit("so long")
""",
    "exception_in_main": """
threading.Thread(target=time.sleep, args=(0.05,)).start()
raise ValueError("in main")
""",
    "excepthook": """
def hook(kind, value, traceback): print("hook", kind.__name__, value)
sys.excepthook = hook
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
raise ValueError("in main")
""",
    "exit_at_once": """
threading.Thread(target=time.sleep, args=(60,)).start()
atexit.register(print, "not to be seen")
time.sleep(0.01)
print("main ends", flush=True)
os._exit(5)
""",
    "exit_in_a_nested_executor": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as executor:
    future = executor.submit(lambda: (time.sleep(0.05), print("task"))[1])
    sys.exit(4)
""",
    "abort": """
threading.Thread(target=time.sleep, args=(60,)).start()
time.sleep(0.01)
os.abort()
""",
    # -- atexit
    "atexit_in_reverse_order": """
atexit.register(print, "first")
atexit.register(lambda: (time.sleep(0.01), print("second"))[1])
atexit.register(lambda: atexit.register(print, "from within"))
gone = atexit.register(print, "not to be seen")
atexit.unregister(gone)
""",
    "atexit_raises": """
def fail(): raise ValueError("in atexit")
atexit.register(print, "next")
atexit.register(fail)
""",
    "atexit_exits": """
atexit.register(print, "next")
atexit.register(sys.exit, 4)
""",
    "http_in_atexit": """
import http.server, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
def fetch():
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=10) as reply:
        print(reply.read())
    server.shutdown()
    server.server_close()
atexit.register(fetch)
""",
    "name_in_atexit": """
def look_up():
    print(socket.gethostbyname("localhost"))
    print(socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4])
    try: socket.getaddrinfo("no.such.name.invalid", 80)
    except socket.gaierror as error: print(type(error).__name__)
atexit.register(look_up)
""",
    "name_in_atexit_after_others": """
print(socket.gethostbyname("localhost"))
def look_up(): print([socket.gethostbyname("localhost") for _ in range(3)])
atexit.register(look_up)
atexit.register(time.sleep, 0.01)
""",
    "thread_in_atexit": """
def start():
    try:
        thread = threading.Thread(target=print, args=("in a thread",))
        thread.start()
        thread.join()
    except RuntimeError: print("RuntimeError")
atexit.register(start)
""",
    "executor_in_atexit": """
from concurrent.futures import ThreadPoolExecutor
def use():
    try:
        with ThreadPoolExecutor(2) as executor: print(list(executor.map(abs, [-1, -2])))
    except RuntimeError as error: print("RuntimeError", error)
atexit.register(use)
""",
    "children_in_atexit": """
def run():
    print(subprocess.run(["echo", "hello"], capture_output=True, timeout=10).stdout)
    print(os.popen("echo popen").read().strip(), os.system("exit 3") >> 8)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    print(child.communicate(b"cat", timeout=10))
atexit.register(run)
""",
    "files_in_atexit": """
def run():
    read, write = os.pipe()
    os.write(write, b"x")
    print(os.read(read, 1))
    with open(__file__) as file: print(file.readline())
atexit.register(run)
""",
    "asyncio_in_atexit": """
import asyncio
async def work():
    await asyncio.sleep(0.01)
    return "worked"
atexit.register(lambda: print(asyncio.run(work())))
""",
    "finalize_at_exit": """
import weakref
class Thing: pass
thing = Thing()
def clean():
    time.sleep(0.01)
    with threading.Lock(): print("cleaned")
weakref.finalize(thing, clean)
""",
    # -- executors, asyncio
    "executor_not_shut_down": """
from concurrent.futures import ThreadPoolExecutor
executor = ThreadPoolExecutor(1)
def work(n):
    time.sleep(0.02)
    print("worked", n)
for n in range(4): executor.submit(work, n)
print("main ends")
""",
    "executor_idle": """
from concurrent.futures import ThreadPoolExecutor
executor = ThreadPoolExecutor(3)
print(list(executor.map(abs, [-1, -2, -3])))
""",
    "process_executor_not_shut_down": """
import concurrent.futures, multiprocessing
context = multiprocessing.get_context("fork")
executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
print(executor.submit(abs, -3).result())
""",
    "asyncio_in_thread": """
import asyncio
async def work():
    await asyncio.sleep(0.05)
    print("worked", await asyncio.to_thread(abs, -3))
threading.Thread(target=lambda: asyncio.run(work())).start()
print("main ends")
""",
    "asyncio_in_daemon_thread": """
import asyncio
async def work(): await asyncio.sleep(60)
threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start()
time.sleep(0.05)
print("main ends")
""",
    "asyncio_exit_in_task": """
import asyncio
async def work():
    await asyncio.sleep(0.01)
    sys.exit(6)
asyncio.run(work())
""",
    # -- children
    "unfinished_child": """
child = subprocess.Popen(["sleep", "0.2"])
print("main ends")
""",
    "child_waited_for_by_thread": """
def wait():
    child = subprocess.Popen(["sh", "-c", "sleep 0.05; exit 7"])
    print(child.wait())
threading.Thread(target=wait).start()
print("main ends")
""",
    "fork_child_exits": """
atexit.register(lambda: print("atexit", flush=True))
sys.stdout.flush()
child = os.fork()
if child == 0: sys.exit(3)
print(os.waitpid(child, 0)[1] >> 8)
""",
    "fork_child_returns_beside_threads": """
warnings.simplefilter("ignore")
threading.Thread(target=time.sleep, args=(0.1,)).start()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(0.01)
sys.stdout.flush()
child = os.fork()
if child: print("child", os.waitpid(child, 0)[1], flush=True)
print("ends")
""",
    "fork_in_thread": """
warnings.simplefilter("ignore")
def work():
    child = os.fork()
    if child == 0:
        print("in the child", threading.main_thread() is threading.current_thread(), flush=True)
        os._exit(4)
    print(os.waitpid(child, 0)[1] >> 8)
thread = threading.Thread(target=work)
thread.start(); thread.join()
""",
    "process_not_joined": """
import multiprocessing
warnings.simplefilter("ignore")
context = multiprocessing.get_context("fork")
def work(): time.sleep(0.05); print("worked", flush=True)
context.Process(target=work).start()
print("main ends", flush=True)
""",
    "daemon_process": """
import multiprocessing
context = multiprocessing.get_context("fork")
context.Process(target=time.sleep, args=(60,), daemon=True).start()
print("main ends", flush=True)
""",
    # -- finalizers
    "logging_in_finalizer": """
import logging
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(threadName)s %(message)s")
class Thing:
    def __del__(self, warn=logging.warning): warn("deleted %s", "thing")
thing = Thing()
""",
    "waits_in_finalizers": """
class Thing:
    def __init__(self):
        self.me, self.lock, self.event = self, threading.RLock(), threading.Event()
    def __del__(self, sleep=time.sleep):
        sleep(0)
        with self.lock: self.event.set()
        self.event.wait(0.001)
things = [Thing() for _ in range(5)]
cycle = Thing()
del cycle
print("main ends")
""",
    "name_in_finalizer": """
print(socket.gethostbyname("localhost"), flush=True)
class Thing:
    def __del__(self, look_up=socket.gethostbyname, say=os.write):
        say(1, look_up("localhost").encode())
thing = Thing()
print("main ends", flush=True)
""",
    "sockets_in_finalizers": """
import select, selectors
class Thing:
    def __init__(self):
        self.left, self.right = socket.socketpair()
        self.left.settimeout(0.01)
        self.poll, self.selector = select.poll(), selectors.DefaultSelector()
        self.poll.register(self.left, select.POLLIN)
        self.selector.register(self.left, selectors.EVENT_READ)
    def __del__(self, say=os.write, select=select.select, server=socket.create_server):
        say(1, repr(select([self.left], [], [], 0.01) + (self.poll.poll(10),)).encode())
        say(1, repr(self.selector.select(0.01)).encode())
        try: self.left.recv(1)
        except TimeoutError: say(1, b"timeout ")
        try: self.left.sendall(b"x" * 10_000_000)
        except TimeoutError: say(1, b"timeout ")
        self.right.sendall(b"data")
        say(1, self.left.recv(10) + self.right.recv(3))
thing = Thing()
print("main ends", flush=True)
""",
    "thread_in_finalizer": """
class Thing:
    def __del__(self, Thread=threading.Thread, say=os.write):
        thread = Thread(target=say, args=(1, b"in a thread "))
        thread.start(); thread.join()
things = Thing(), Thing()
del things
print("main ends", flush=True)
""",
    "collection_at_the_end": """
import gc
class Thing:
    def __init__(self): self.me = self
    def __del__(self, collect=gc.collect): collect()
keep = [Thing() for _ in range(3)]
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(0.01)
print("main ends")
""",
    "suspended_generators": """
def hold(sleep=time.sleep, say=os.write):
    try: yield
    finally:
        sleep(0)
        say(1, b"closed")
generator = hold(); next(generator)
print("main ends", flush=True)
""",
    "everything_in_globals": """
import select, selectors
things = [threading.Lock(), threading.RLock(), threading.Condition(), threading.Event(),
          threading.Semaphore(), threading.Barrier(2), threading.local(), queue.Queue(),
          queue.SimpleQueue(), queue.PriorityQueue(), select.poll(), selectors.DefaultSelector(),
          threading.Thread(target=print), threading.Timer(1, print)]
things[0].acquire(); things[1].acquire(); things[6].me = things
epoll = select.epoll()
pair = socket.socketpair()
print("main ends")
""",
    "locals_with_finalizers": """
class Thing:
    def __init__(self, name): self.name = name
    def __del__(self, say=os.write): say(1, self.name.encode())
data = threading.local()
def work():
    data.thing = Thing("thread ")
    time.sleep(0.01)
thread = threading.Thread(target=work)
thread.start(); thread.join()
data.thing = Thing("main")
sys.stdout.flush()
""",
    # -- standard streams
    "stdout_closed": """
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(0.01)
sys.stdout.close()
""",
    "files_that_other_modules_hold": """
import encodings, functools
def file(text):
    made = open("/dev/stdout", "w")
    made.write(text + "\\n")
    return made
encodings.held = file("imported before all others")
class Cycle: pass
functools.held = cycle = Cycle()
cycle.itself, cycle.file = cycle, file("cycle")
""",
    "file_that_sys_holds": """
sys.held = open("/dev/stdout", "w")
sys.held.write("sys\\n")
""",
    "modules_that_are_none": """
import types
class Library:  # such as those of cffi
    __slots__ = ()
    __class__ = types.ModuleType
sys.modules["library"] = Library()
sys.modules["nothing"] = None
class Lazy(types.ModuleType):
    def __getattribute__(self, name):
        print("loads", name)
        return super().__getattribute__(name)
sys.modules["lazy"] = Lazy("lazy")
print("main ends")
""",
    "stderr_closed_and_thread_fails": """
sys.stderr.close()
def fail(): raise ValueError
thread = threading.Thread(target=fail)
thread.start(); thread.join()
print("main ends")
""",
    "nobody_reads": """
read, write = os.pipe()
os.dup2(write, 1)
os.close(read); os.close(write)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("main ends")
""",
    # -- signals
    "alarm_handled": """
signal.signal(signal.SIGALRM, lambda *args: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(0.1)
print("main ends")
""",
    "alarm_raises_in_main": """
def ring(*args): raise TimeoutError("ring")
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.02)
try: threading.Event().wait()
except TimeoutError as error: print("caught", error)
""",
    "alarm_by_default": """
threading.Thread(target=time.sleep, args=(60,)).start()
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(60)
""",
    "handler_while_all_threads_wait": """
rung = threading.Event()
threads = [threading.Thread(target=lambda: rung.wait(60) or print("late")) for _ in range(3)]
signal.signal(signal.SIGALRM, lambda *args: print("alarm") or rung.set())
for thread in threads: thread.start()
signal.setitimer(signal.ITIMER_REAL, 0.02)
for thread in threads: thread.join()
""",
    "handler_while_the_interpreter_waits": """
signal.signal(signal.SIGALRM, lambda *args: print("alarm"))
threading.Thread(target=time.sleep, args=(0.5,)).start()
signal.setitimer(signal.ITIMER_REAL, 0.02)
""",
    "handler_exits": """
signal.signal(signal.SIGTERM, lambda *args: sys.exit(9))
atexit.register(print, "atexit")
threading.Thread(target=print, args=("ready",), kwargs={"flush": True}).start()
threading.Event().wait()
""",
    "terminated_by_default": """
threading.Thread(target=time.sleep, args=(60,)).start()
atexit.register(print, "not to be seen")
print("ready", flush=True)
time.sleep(60)
""",
    "interrupted_in_sleep": """
atexit.register(print, "atexit")
print("ready", flush=True)
time.sleep(60)
""",
    "interrupted_in_join": """
thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
thread.start()
print("ready", flush=True)
thread.join()
""",
    "interrupted_in_recv": """
left, right = socket.socketpair()
print("ready", flush=True)
left.recv(1)
""",
    "interrupted_in_queue": """
print("ready", flush=True)
try: queue.Queue().get(timeout=60)
except KeyboardInterrupt: print("interrupted")
""",
    "interrupted_in_child_wait": """
child = subprocess.Popen(["sleep", "60"])
print("ready", flush=True)
try: child.wait()
except KeyboardInterrupt:
    child.kill(); child.wait()
    print("interrupted")
""",
    "interrupted_in_asyncio": """
import asyncio
async def work():
    print("ready", flush=True)
    try: await asyncio.sleep(60)
    finally: print("cancelled")
asyncio.run(work())
""",
    "interrupted_while_the_interpreter_waits": """
def late():
    print("ready", flush=True)
    time.sleep(0.3)
    print("late")
atexit.register(print, "atexit")
threading.Thread(target=late).start()
""",
    "interrupted_in_atexit": """
def slow():
    print("ready", flush=True)
    time.sleep(60)
atexit.register(print, "next")
atexit.register(slow)
""",
}

#: The signal that a program receives after it prints "ready".
SIGNALS = {name: signal.SIGINT for name in PROGRAMS if name.startswith("interrupted")} | {
    "handler_exits": signal.SIGTERM,
    "terminated_by_default": signal.SIGTERM,
}

#: Ends alike wherever it is interrupted. It keeps references to its threads, because the
#: interpreter ignores what a signal handler raises during a finalizer or a weakref callback.
BUSY = """
kept = []
def work(n, numbers):
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x" * n)
        numbers.put(len(right.recv(n)))
    time.sleep(0.001)
def turn():
    numbers = queue.Queue()
    threads = [threading.Thread(target=work, args=(n, numbers)) for n in range(1, 5)]
    kept.extend(threads)
    for thread in threads: thread.start()
    assert sorted(numbers.get(timeout=10) for _ in threads) == [1, 2, 3, 4]
    for thread in threads: thread.join()
atexit.register(print, "atexit")
try:
    print("ready", flush=True)
    while True: turn()
except KeyboardInterrupt:
    print("interrupted")
"""
