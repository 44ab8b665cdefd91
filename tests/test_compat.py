"""Programs that say ``import gevent``: what they find."""

from collections.abc import Callable

INSTALL = "import weft.compat; weft.compat.install();"


class TestAlias:
    def test_modules_are_wefts_own(self, fresh: Callable[..., str]) -> None:
        fresh(
            INSTALL + "import gevent, gevent.pool, weft.pool, sys\n"
            "from gevent.resolver.thread import Resolver\n"
            "assert gevent.pool is weft.pool and sys.modules['gevent.pool'] is weft.pool\n"
            "assert weft.pool.__spec__.name == weft.pool.__name__ == 'weft.pool'\n"
            "assert gevent.spawn is weft.spawn and gevent.sleep is weft.sleep\n"
            "assert Resolver is weft.resolver.thread.Resolver\n"
            "assert all(getattr(gevent, name) is getattr(weft, name) for name in weft.__all__\n"
            "           if name != 'version_info')"
        )

    def test_what_weft_lacks_is_not_found(self, fresh: Callable[..., str]) -> None:
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
            "from weft.pywsgi import WSGIServer as weft_server\n"
            "software = weft_server.base_env['SERVER_SOFTWARE']\n"
            "assert software.startswith('weft Python/3.'), software\n"
            "from gevent.pywsgi import WSGIServer\n"
            "assert WSGIServer is weft_server\n"
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
            INSTALL + "import pickle, weft.queue\n"
            "assert pickle.loads(b'cgevent.queue\\nEmpty\\n(tR.').__class__ is weft.queue.Empty\n"
            "assert type(pickle.loads(pickle.dumps(weft.queue.Full()))) is weft.queue.Full"
        )

    def test_gevents_environment_counts_where_wefts_is_silent(
        self, fresh: Callable[..., str]
    ) -> None:
        fresh(
            "import os; os.environ.update(GEVENT_BACKEND='select', GEVENT_THREADPOOL_SIZE='3',"
            " WEFT_MAX_BLOCKING_TIME='2', GEVENT_MAX_BLOCKING_TIME='3')\n"
            + INSTALL
            + "import gevent, weft\n"
            "assert gevent.get_hub().loop.backend == 'select'\n"
            "assert weft.config.threadpool_size == 3 and weft.config.max_blocking_time == 2"
        )

    def test_private_names_that_libraries_look_into(self, fresh: Callable[..., str]) -> None:
        names = (
            "_compat:PYPY",
            "_config:validate_bool",
            "_fileobjectcommon:FileObjectThread",
            "_fileobjectposix:FileObjectPosix",
            "_greenlet_primitives:get_reachable_greenlets",
            "_hub_local:get_hub_if_exists",
            "_ident:IdentRegistry",
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
            "weft.compat.install(); assert sys.meta_path == before"
        )

    def test_it_comes_too_late_after_gevent(self, fresh: Callable[..., str]) -> None:
        fresh(
            "import sys, types; sys.modules['gevent'] = types.ModuleType('gevent')\n"
            "import weft.compat\n"
            "try:\n"
            "    weft.compat.install()\n"
            "except ImportError as exc:\n"
            "    assert 'weft run --gevent' in str(exc)\n"
            "else:\n"
            "    raise AssertionError"
        )
