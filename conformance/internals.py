"""Lists the modules of gevent's suite that are not run, the tests that are lost, and why."""

from __future__ import annotations

import sys

#: Modules about gevent's internals, which are not run.
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
    "test__resolver_dnspython": "the private copy of dnspython that gevent keeps of the program's",
}

C_EXTENSION = "asserts the name of gevent's C extension"
LOOP_PROXY = "puts a stand-in at hub.loop to see it called by other threads; C wakes hubs here"
POOLS = "wants a monitor thread for the hub of a pool's worker, which may block"
TRACED = "traces the Python code of gevent's locks; treadle's are compiled"
COMMUNICATING = "asks for the greenlets of communicate(), which spawns none"
POPEN_FDS = "replaces private functions by which gevent's Popen closes descriptors"
TWO_LENGTHS = "a Content-Length beside chunks: two requests for a proxy that takes the other"
REPAIRED = "wants a warning about an early reference that treadle repairs"

#: Single tests of other modules that are lost, and why: they count, but must not pass.
TESTS = {
    "test__core_stat": {"TestCoreStat.test_watcher_basics": "reads a watcher's private _paths"},
    "test__destroy": {
        "TestDestroyHub.test_destroy_hub": "a new hub takes libev's default loop; treadle's dies",
        "TestDestroyedHubRepr.test_repr_after_destroy": "makes a second hub in one thread",
    },
    "test__event": {
        "TestAsyncResultCrossThread."
        "test_cross_thread_callback_can_run_before_scheduling_returns": LOOP_PROXY,
        "TestEventCrossThread."
        "test_cross_thread_callback_can_run_before_scheduling_returns": LOOP_PROXY,
        "TestEventBasics.test_wait_while_notifying": (
            "the order is gevent's; but whom set() wakes runs in the next turn of treadle's loop"
        ),
    },
    "test__greenlet": {
        "TestBasic.test_minimal_ident_parent_not_hub": "wants TypeError where treadle has a number",
        "TestCExt.test_c_extension": C_EXTENSION,
    },
    "test__hub": {
        "TestPeriodicMonitoringThread.test_blocking_threadpool_thread_multi_greenlet": POOLS,
        "TestPeriodicMonitoringThread.test_blocking_threadpool_thread_one_greenlet": POOLS,
        "TestPeriodicMonitoringThread.test_blocking_threadpool_thread_task_queue": POOLS,
    },
    "test__iwait": {
        "Testiwait.test_iwait_nogarbage": "counts links while several objects are ready at once",
    },
    "test__local": {"TestCExt.test_c_extension": C_EXTENSION},
    "test__monkey": {
        "TestMonkey.test_patch_queue": "the standard library's queues stay, upon treadle's locks",
    },
    "test__monkey_logging": {
        "(script)": "wants the lock inside a logging lock to be of another class than that",
    },
    "test__monkey_module_run": {
        "TestRun.test_issue_302": "looks for gevent's name in the repr of the patched socket class",
    },
    "test__monkey_select": {
        "TestSelect.test_epoll_removed": "nothing disappears: select.epoll stays, cooperatively",
    },
    "test__monkey_selectors": {
        "TestSelectors.test_selectors_select_is_patched": "looks for a mark of gevent's patching",
    },
    "test__monkey_sigchld": {
        "(script)": "an error in a SIGCHLD handler reaches the main greenlet, as any handler's",
    },
    "test__monkey_ssl_warning2": {"Test.test_ssl_subclass_and_module_reference": REPAIRED},
    "test__monkey_ssl_warning3": {"Test.test_ssl_subclass_and_module_reference": REPAIRED},
    "test__pywsgi": {
        "ChunkedInputTests.test_chunked_readline": TWO_LENGTHS,
        "ChunkedInputTests.test_short_read_with_content_length": TWO_LENGTHS,
        "ChunkedInputTests.test_short_read_with_zero_content_length": TWO_LENGTHS,
        "ChunkedInputTests.test_dirt": "a NUL in a chunk extension",
        "TestContentLength304.test_err": "a 304 may tell the length of what has not changed",
        "TestMultiLineHeader.test_multiline_116": "a folded line, which RFC 9112 has refused",
    },
    "test__semaphore": {"TestCExt.test_c_extension": C_EXTENSION},
    "test__server": {
        "TestNoneSpawn.test_assertion_in_blocking_func": (
            "without a pool handlers run in the accepting greenlet, where they may wait"
        ),
    },
    "test__socket_close": {
        "Test.test_recv_twice": "two greenlets may receive from one socket, in turn",
    },
    "test__socket_ex": {"TestRef.test": "reads the private watchers of a socket"},
    "test__subprocess": {
        "TestFDs.test_close_fds_brute_force": POPEN_FDS,
        "TestFDs.test_close_fds_from_path": POPEN_FDS,
        "TestFDs.test_close_fds_from_path_bad_values": POPEN_FDS,
        "TestFDs.test_close_fds_no_dir": POPEN_FDS,
        "TestFDs.test_close_fds_with_dir": POPEN_FDS,
        "TestPopen.test_exit_ignores_reentrant_call_from_foreign_greenlet": COMMUNICATING,
        "TestPopen.test_exit_stops_communicating_greenlets_before_closing": COMMUNICATING,
        "TestPopen.test_subprocess_in_native_thread": "treadle starts children from any thread",
    },
    "test__threading_2": {
        "ThreadTests.test_join_nondaemon_on_shutdown": "asserts the module of gevent's sleep()",
    },
    "test__threading_monkey_in_thread": {
        "Test.test_patch_in_thread": "asserts the text of gevent's warning",
    },
    "test__threading_vs_settrace": {
        "TestTrace.test_untraceable_lock_uses_different_lock": TRACED,
        "TestTrace.test_untraceable_lock_uses_same_lock": TRACED,
    },
    "test__threadpool": {
        "TestSpawn.test_cannot_spawn_from_other_thread": "treadle's pools serve any thread",
        "TestTPE.test_future_wait_module_function": "wants a failure of gevent's; treadle's waits",
        "TestThreadResult.test_exception_in_on_async_doesnt_crash": (
            "makes a private result with gevent's arguments"
        ),
    },
    "test__util": {
        "TestTree.test_tree": "asserts gevent's module names, in a printed tree",
    },
}

INITIAL = "wants a thread that was not started to be called stopped; CPython calls it initial"
DUMMY_GONE = "looks for the dummy thread of a thread that has ended; CPython forgets it then"

#: Tests that are lost on one version of CPython only, and why.
TESTS_OF_VERSION: dict[tuple[int, int], dict[str, dict[str, str]]] = {
    (3, 13): {
        "test__threading_2": {
            "ThreadTests.test_foreign_thread": DUMMY_GONE,
            "ThreadTests.test_ident_of_no_threading_threads": DUMMY_GONE,
            "ThreadTests.test_various_ops": INITIAL,
            "ThreadTests.test_various_ops_large_stack": INITIAL,
            "ThreadTests.test_various_ops_small_stack": INITIAL,
        },
        "test__threading_no_monkey": {
            "TestDummyThread.test_name": "threading's own class is right, there is no other",
        },
    },
}


def known_losses(module: str) -> dict[str, str]:
    """Return the tests of a module that are lost on this version of CPython, and why."""
    of_version = TESTS_OF_VERSION.get(sys.version_info[:2], {})
    return TESTS.get(module, {}) | of_version.get(module, {})
