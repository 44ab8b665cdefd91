"""What of gevent's suite says nothing about a library with gevent's API, and why."""

from __future__ import annotations

#: Modules about gevent's own insides: not run.
MODULES = {
    "test___ident": "gevent._ident, a private module, compiled or not",
    "test___monitor": "gevent._monitor, the private thread behind monitor_thread",
    "test__all__": "compares each module with the names and the layout of gevent's sources",
    "test__ares_host_result": "gevent.resolver.cares, its own binding of c-ares",
    "test__ares_timeout": "gevent.resolver.cares, its own binding of c-ares",
    "test__close_backend_fd": "libev's backends by name, broken on purpose",
    "test__compat": "gevent._compat, a private module",
    "test__core": "objects of libev and libuv, and gevent's binding of them",
    "test__destroy_default_loop": "libev's default loop, a global of the C library",
    "test__doctests": "the examples in the doc strings of gevent's sources",
    "test__examples": "the example programs of gevent's source tree, which its wheel lacks",
    "test__execmodules": "imports each file of gevent's source tree",
}

#: Single tests of other modules that assert gevent's own names: counted, never expected to pass.
TESTS = {
    "test__greenlet": {"TestCExt.test_c_extension": "the name of gevent's C extension"},
    "test__local": {"TestCExt.test_c_extension": "the name of gevent's C extension"},
    "test__semaphore": {"TestCExt.test_c_extension": "the name of gevent's C extension"},
    "test__threading_2": {
        "ThreadJoinOnShutdown.test_join_nondaemon_on_shutdown": "the text of gevent's warning"
    },
    "test__util": {"TestTree.test_tree": "gevent's module names in a printed tree"},
    "test__monkey_module_run": {"TestRun.test_issue_302": "the path of gevent's own file"},
}
