"""What programs that say ``import gevent`` find."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.names import GONE, classify, is_here, recorded

INSTALL = "import treadle.compat; treadle.compat.install();"

#: The names of gevent that libraries use, in their releases of late 2026.
TOUCHED = {
    "celery": """
        gevent.Greenlet.kill gevent.GreenletExit gevent.Timeout gevent.event.Event gevent.getcurrent
        gevent.kill gevent.monkey.patch_all gevent.pool.Pool gevent.signal gevent.sleep gevent.spawn
        gevent.spawn_raw
        """,
    "ddtrace": """
        gevent.Greenlet gevent.getcurrent gevent.greenlet.Greenlet.spawn_later gevent.hub.Hub.switch
        gevent._imap.Greenlet gevent._imap.IMap gevent._imap.IMapUnordered gevent.hub.get_hub
        gevent.hub.spawn_raw gevent.iwait gevent.joinall gevent.monkey.get_original
        gevent.monkey.is_module_patched gevent.monkey.patch_thread gevent.pool.Greenlet
        gevent.pool.Group.greenlet_class gevent.pool.IMap gevent.pool.IMapUnordered gevent.spawn
        gevent.spawn_later gevent.thread.get_ident gevent.wait
        """,
    "dramatiq": "gevent.Timeout gevent.getcurrent gevent.monkey.saved",
    "elastic-apm": "gevent.monkey.is_object_patched",
    "engineio and socketio": """
        gevent.event.Event gevent.monkey.is_module_patched gevent.queue.JoinableQueue
        gevent.queue.Empty gevent.selectors.DefaultSelector gevent.selectors.EVENT_READ
        gevent.pywsgi.WSGIServer gevent.monkey.patch_thread gevent.monkey.patch_time
        """,
    "gevent-websocket": "gevent.pywsgi.WSGIHandler gevent.pywsgi.WSGIServer",
    "geventhttpclient": """
        gevent.lock.BoundedSemaphore gevent.queue.LifoQueue gevent.socket.AddressFamily
        gevent.socket.SOL_TCP gevent.socket.SocketKind gevent.socket.create_connection
        gevent.socket.error gevent.socket.getaddrinfo gevent.ssl.CERT_NONE gevent.ssl.SSLContext
        gevent.ssl.SSLSocket gevent.ssl.create_default_context
        """,
    "gipc": """
        gevent.Timeout.start_new gevent.hub.set_hub gevent.lock.Semaphore gevent.os.make_nonblocking
        gevent.os.nb_read gevent.os.nb_write gevent.os.tp_read gevent.os.tp_write gevent.reinit
        gevent.signal_handler
        """,
    "grpc": "gevent.socket.socket gevent.hub.get_hub gevent.event.Event gevent.pool.Group",
    "gunicorn": """
        gevent.__version__ gevent.hub.reinit gevent.monkey.patch_all gevent.pool.Pool
        gevent.pywsgi.WSGIHandler gevent.server.StreamServer gevent.socket.SOCK_STREAM
        """,
    "huey": "gevent.Greenlet gevent.event.AsyncResult.get gevent.killall gevent.pool.Pool",
    "kazoo": """
        gevent.event.AsyncResult gevent.lock.RLock gevent.lock.Semaphore gevent.queue.Empty
        gevent.select gevent.selectors gevent.thread.allocate_lock
        """,
    "kombu": "gevent.exceptions.ConcurrentObjectUseError gevent.socket.socket",
    "locust": """
        gevent.fork gevent.greenlet.Greenlet gevent.signal_handler gevent.timeout.Timeout
        gevent.ssl._create_unverified_context gevent.ssl.create_default_context
        gevent.queue.LifoQueue
        """,
    "newrelic": "gevent.hub.sleep gevent.monkey gevent.pywsgi",
    "pika": """
        gevent._interfaces.ILoop gevent.hub.Hub gevent.hub.Waiter gevent.socket.getaddrinfo
        gevent.spawn_raw
        """,
    "psycogreen": "gevent.socket.wait_read gevent.socket.wait_write",
    "pyzmq": """
        gevent.event.AsyncResult gevent.hub.get_hub gevent.select.select gevent.Timeout.start_new
        """,
    "sentry": """
        gevent.__version__ gevent.get_hub gevent.hub.Hub gevent.monkey.get_original
        gevent.monkey.is_module_patched gevent.monkey.is_object_patched gevent.threadpool.ThreadPool
        """,
    "uwsgi": """
        gevent.getcurrent gevent.get_hub gevent.signal_handler gevent.sleep gevent.spawn
        gevent.version_info
        """,
    "zerorpc": "gevent.core.READ gevent.queue.Channel.next gevent.version_info gevent.local.local",
}


class TestAlias:
    def test_modules_are_treadles_own(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import gevent, gevent.pool, treadle.pool, sys\n"
            "from gevent.resolver.thread import Resolver\n"
            "assert gevent.pool is treadle.pool and sys.modules['gevent.pool'] is treadle.pool\n"
            "assert treadle.pool.__spec__.name == treadle.pool.__name__ == 'treadle.pool'\n"
            "assert gevent.spawn is treadle.spawn and gevent.sleep is treadle.sleep\n"
            "assert Resolver is treadle.resolver.thread.Resolver\n"
            "assert all(getattr(gevent, name) is getattr(treadle, name)\n"
            "           for name in gevent.__all__\n"
            "           if name != 'version_info')"
        )

    def test_what_treadle_lacks_is_not_found(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import importlib\n"
            "for name in ('gevent.libev', 'gevent.no_such', 'gevent.pool.no_such'):\n"
            "    try:\n"
            "        importlib.import_module(name)\n"
            "    except ModuleNotFoundError as exc:\n"
            "        assert exc.name == name, exc\n"
            "    else:\n"
            "        raise AssertionError(name)"
        )

    def test_the_version_stood_for(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import gevent\n"
            "from importlib.metadata import distributions, version\n"
            "assert gevent.__version__ == version('gevent') == '26.9.0'\n"
            "assert gevent.version_info[0] >= 20\n"
            "assert 'gevent' in {found.metadata['Name'] for found in distributions()}\n"
            "assert version('greenlet')"
        )

    def test_its_server_says_what_it_stands_for(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import sys\n"
            "from treadle.pywsgi import WSGIServer as treadle_server\n"
            "software = treadle_server.base_env['SERVER_SOFTWARE']\n"
            "assert software.startswith('treadle Python/3.'), software\n"
            "from gevent.pywsgi import WSGIServer\n"
            "assert WSGIServer is treadle_server\n"
            "software = WSGIServer.base_env['SERVER_SOFTWARE']\n"
            "assert software == 'gevent/26.9 Python/{}.{}'.format(*sys.version_info), software"
        )

    def test_it_is_found_in_sys_modules(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import sys\n"
            "assert not sys.modules['gevent.monkey'].is_anything_patched()\n"
            "assert sys.modules['gevent'].__name__ == 'gevent'"
        )

    def test_pickles_of_gevents_objects(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import pickle, treadle.queue\n"
            "empty = pickle.loads(b'cgevent.queue\\nEmpty\\n(tR.')\n"
            "assert empty.__class__ is treadle.queue.Empty\n"
            "assert type(pickle.loads(pickle.dumps(treadle.queue.Full()))) is treadle.queue.Full"
        )

    def test_whatever_gevent_pickles_by_name_is_found(self, fresh: Callable[..., str]) -> None:
        names = [
            entry["pickled"]
            for module, entries in recorded().items()
            for name, entry in entries.items()
            if "pickled" in entry
            and classify(module, name, entry)[0] != GONE
            and is_here(f"{module}.{name}")
        ]
        # Names of compiled and of Python modules; none of the libev binding's are kept.
        assert {"gevent._gevent_cqueue:Queue", "gevent.events:EventLoopBlocked"} <= set(names)
        kept = [name for name in names if not name.startswith("gevent.libev.")]
        fresh(
            INSTALL + "import pickle, sys\n"
            "for name in sys.argv[1:]:\n"
            "    module, _, name = name.partition(':')\n"
            "    if '<' not in name and '_' != name[0]:\n"
            "        reduced = b'\\x80\\x04\\x8c' + bytes([len(module)]) + module.encode()\n"
            "        reduced += b'\\x8c' + bytes([len(name)]) + name.encode() + b'\\x93.'\n"
            "        assert callable(pickle.loads(reduced)), (module, name)",
            *kept,
        )

    def test_it_stands_before_an_installed_gevent(
        self, tmp_path: Path, fresh: Callable[..., str]
    ) -> None:
        package = tmp_path / "gevent"
        package.mkdir()
        (package / "__init__.py").write_text("raise AssertionError('the real one')")
        (package / "pool.py").write_text("raise AssertionError('the real one')")
        (tmp_path / "gevent-1.0.dist-info").mkdir()
        (tmp_path / "gevent-1.0.dist-info" / "METADATA").write_text("Name: gevent\nVersion: 1.0\n")
        fresh(
            "import sys; sys.path.insert(0, sys.argv[1])\n" + INSTALL + "import gevent.pool\n"
            "from importlib.metadata import version\n"
            "assert version('gevent') == gevent.__version__ == '26.9.0'",
            str(tmp_path),
        )

    def test_gevents_monkey_as_a_program(self, tmp_path: Path, fresh: Callable[..., str]) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "import sys, gevent.monkey\n"
            "patched = gevent.monkey.is_module_patched\n"
            "print(__name__, sys.argv[1:], patched('time'), patched('socket'))\n"
        )
        printed = fresh(
            INSTALL + "import runpy, sys\n"
            "sys.argv[:] = ['monkey.py', '--no-socket', sys.argv[1], '--an', 'argument']\n"
            "runpy.run_module('gevent.monkey', run_name='__main__', alter_sys=True)",
            str(script),
        )
        assert printed == "__main__ ['--an', 'argument'] True False\n"
        command = [
            sys.executable,
            "-m",
            "treadle",
            "run",
            "--gevent",
            "-m",
            "gevent.monkey",
            script,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("__main__ [] True True\n", "")

    def test_gevents_environment_counts_where_treadles_is_silent(
        self, fresh: Callable[..., str]
    ) -> None:
        fresh(
            "import os; os.environ.update(GEVENT_BACKEND='select', GEVENT_THREADPOOL_SIZE='3',"
            " TREADLE_MAX_BLOCKING_TIME='2', GEVENT_MAX_BLOCKING_TIME='3')\n"
            + INSTALL
            + "import gevent, treadle\n"
            "assert gevent.get_hub().loop.backend == 'select'\n"
            "assert treadle.config.threadpool_size == 3 and treadle.config.max_blocking_time == 2"
        )

    def test_greenlets_keep_their_spawners_stack_as_in_gevent(
        self, fresh: Callable[..., str]
    ) -> None:
        source = (
            "import treadle\n" + INSTALL + "import gevent, gevent.util\n" + "def spawner(depth):\n"
            "    return spawner(depth - 1) if depth else gevent.spawn(gevent.sleep)\n"
            "child = spawner(20)\n"
            "depth, frame = 0, child.spawning_stack\n"
            "while frame is not None: depth, frame = depth + 1, frame.f_back\n"
            "print(gevent.config.spawning_stack_limit, depth, child.spawning_stack.f_lineno)\n"
            "assert 'in spawner' in chr(10).join(gevent.util.format_run_info())\n"
        )
        line = source.splitlines().index(
            "    return spawner(depth - 1) if depth else gevent.spawn(gevent.sleep)"
        )
        assert fresh(source) == f"10 10 {line + 1}\n"
        unset = "import os; os.environ['GEVENT_SPAWNING_STACK_LIMIT'] = '0'\n"
        fresh(unset + INSTALL + "import gevent\nassert gevent.spawn(int).spawning_stack is None")

    @pytest.mark.parametrize("library", TOUCHED)
    def test_what_a_library_touches(self, library: str, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import pkgutil, sys\n"
            "for name in sys.argv[1:]:\n"
            "    pkgutil.resolve_name(name)",
            *TOUCHED[library].split(),
        )

    def test_the_submodules_that_gevent_loads_are_there(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import gevent, treadle.event\n"
            "assert gevent.event is treadle.event and gevent.lock.Semaphore(2).counter == 2\n"
            "assert not hasattr(gevent, 'no_such_module') and not hasattr(gevent, '__wrapped__')\n"
            "try: gevent.no_such_module\n"
            "except AttributeError as exc: assert 'no_such_module' in str(exc)"
        )

    def test_a_tracer_may_put_classes_of_its_own_everywhere(
        self, fresh: Callable[..., str]
    ) -> None:
        # ddtrace does this.
        fresh(
            INSTALL + "import gevent, gevent.pool, gevent.hub\n"
            "spawned = []\n"
            "class Traced:\n"
            "    def __init__(self, *args, **kwargs):\n"
            "        spawned.append(type(self).__name__)\n"
            "        super().__init__(*args, **kwargs)\n"
            "    def run(self):\n"
            "        self.seen = True\n"
            "        super().run()\n"
            "class TracedGreenlet(Traced, gevent.Greenlet): pass\n"
            "class TracedIMap(Traced, gevent.pool.IMap): pass\n"
            "gevent._imap.Greenlet = gevent.pool.Greenlet = TracedGreenlet\n"
            "gevent.greenlet.Greenlet = gevent.Greenlet = TracedGreenlet\n"
            "gevent.pool.Group.greenlet_class = TracedGreenlet\n"
            "gevent._imap.IMap = gevent.pool.IMap = TracedIMap\n"
            "gevent.spawn = gevent.greenlet.Greenlet.spawn\n"
            "switch = gevent.hub.Hub.switch\n"
            "gevent.hub.Hub.switch = lambda hub: switch(hub)\n"
            "job = gevent.spawn(lambda: 7)\n"
            "assert (job.get(), job.seen) == (7, True)\n"
            "assert list(gevent.pool.Pool(2).imap(abs, [-1, -2])) == [1, 2]\n"
            "assert spawned == ['TracedGreenlet', 'TracedIMap', *['TracedGreenlet'] * 2], spawned"
        )

    def test_a_greenlets_number_is_known_from_outside(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import gevent; from gevent.thread import get_ident\n"
            "job = gevent.spawn(get_ident)\n"
            "assert get_ident(job) == job.get() != get_ident() == get_ident(gevent.getcurrent())\n"
            "assert get_ident(gevent.get_hub()) not in (job.get(), get_ident())"
        )

    def test_a_child_makes_itself_a_new_hub(self, fresh: Callable[..., str]) -> None:
        # gipc does this.
        fresh(
            INSTALL + "import gevent, gevent.hub, os\n"
            "gevent.spawn(gevent.sleep, 30); gevent.sleep(0); gevent.get_hub().threadpool\n"
            "pid = os.fork()\n"
            "if not pid:\n"
            "    gevent.reinit(); hub = gevent.get_hub(); del hub.threadpool\n"
            "    gevent.hub.set_hub(None); hub.loop.destroy()\n"
            "    fine = gevent.get_hub() is not hub and gevent.get_hub().loop.default\n"
            "    os._exit(0 if fine and gevent.spawn(abs, -7).get() == 7 else 1)\n"
            "assert os.waitpid(pid, 0)[1] == 0\n"
            "try: gevent.hub.set_hub(7)\n"
            "except TypeError as exc: assert 'get_hub()' in str(exc)\n"
            "else: raise AssertionError"
        )

    def test_private_names_that_libraries_look_into(self, fresh: Callable[..., str]) -> None:
        names = (
            "_compat:PYPY",
            "_config:validate_bool",
            "_fileobjectcommon:FileObjectThread",
            "_fileobjectposix:FileObjectPosix",
            "_greenlet_primitives:get_reachable_greenlets",
            "_hub_local:get_hub_if_exists",
            "_abstract_linkable:AbstractLinkable",
            "_hub_primitives:iwait_on_objects",
            "_ident:IdentRegistry",
            "_imap:IMapUnordered",
            "_monitor:PeriodicMonitoringThread",
            "_semaphore:Semaphore",
            "_socketcommon:wait_read",
            "_threading:Lock",
            "_tracer:GreenletTracer",
            "_util:LazyOnClass",
            "hub:_get_hub_noargs",
            "monkey.api:get_original",
            "resolver._hostsfile:HostsFile",
        )
        fresh(
            INSTALL + "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    module, _, name = name.partition(':')\n"
            "    found = importlib.import_module('gevent.' + module)\n"
            "    assert hasattr(found, name), (module, name)\n"
            "from gevent import _fileobjectcommon, _fileobjectposix\n"
            "assert issubclass(_fileobjectposix.GreenOpenDescriptor, "
            "_fileobjectcommon.OpenDescriptor)",
            *names,
        )

    def test_twice_is_once(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import sys; before = list(sys.meta_path); import gevent\n"
            "treadle.compat.install(); assert sys.meta_path == before"
        )

    def test_it_comes_too_late_after_gevent(self, fresh: Callable[..., str]) -> None:
        fresh(
            "import sys, types; sys.modules['gevent'] = types.ModuleType('gevent')\n"
            "import treadle.compat\n"
            "try:\n"
            "    treadle.compat.install()\n"
            "except ImportError as exc:\n"
            "    assert 'treadle run --gevent' in str(exc)\n"
            "else:\n"
            "    raise AssertionError"
        )
