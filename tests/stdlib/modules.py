"""The modules of CPython's test package that are run."""

import importlib.util
import pkgutil

#: In the order of the report. Modules that the interpreter lacks are left out.
NAMES = [
    "test_socket",
    "test_ssl",
    "test_select",
    "test_selectors",
    "test_epoll",
    "test_poll",
    "test_threading",
    "test_threading_local",
    "test_threadedtempfile",
    "test_thread",
    "test_threadsignals",
    "test_thread_local_bytecode",
    "test_queue",
    "test_subprocess",
    "test_signal",
    "test_os",
    "test_popen",
    "test_wait3",
    "test_wait4",
    "test_fork1",
    "test_httplib",
    "test_http_cookiejar",
    "test_httpservers",
    "test_urllib",
    "test_urllib2",
    "test_urllib2_localnet",
    "test_smtplib",
    "test_ftplib",
    "test_imaplib",
    "test_poplib",
    "test_telnetlib",
    "test_wsgiref",
    "test_socketserver",
    "test_xmlrpc",
    "test_asyncore",
    "test_asynchat",
    "test_concurrent_futures",
    "test_logging",
    "test_context",
    "test_contextlib",
    "test_timeout",
    "test_time",
    "test_sched",
    "test_multiprocessing_fork",
    "test_multiprocessing_spawn",
    "test_multiprocessing_forkserver",
    "test_asyncio",
    "test_import",
    "test_importlib.test_threaded_import",
    "test_weakref",
    "test_gc",
    "test_tempfile",
]

#: What some modules may use beyond loopback and a little time, as ``python -m test -u`` names it.
RESOURCES = {
    # They start their own servers; tests that need an outside server are skipped without one.
    "test_socketserver": ["network"],
    "test_timeout": ["network"],
    # They take a second or two.
    "test_imaplib": ["walltime"],
    "test_logging": ["walltime"],
    "test_xmlrpc": ["walltime"],
}


def present(only: list[str]) -> list[str]:
    """Return the modules that this interpreter has; a package is replaced by its modules.

    *only* keeps those whose name begins with one of its entries, with or without ``test_``.
    """
    wanted = tuple(name if name.startswith("test_") else f"test_{name}" for name in only)
    found: list[str] = []
    for name in NAMES:
        spec = importlib.util.find_spec(f"test.{name}")
        if spec is None:
            continue
        places = spec.submodule_search_locations
        parts = [part.name for part in pkgutil.iter_modules(places)] if places else []
        parts = [f"{name}.{part}" for part in parts if part.startswith("test_")]
        found += parts or [name]
    return [name for name in found if not wanted or name.startswith(wanted)]
