"""The private names of the standard library and of pycares that patching uses.

For each, the CPython or pycares versions whose source it was checked against. A test fails if the
code uses any other private name.
"""

#: Attribute -> (where it is, the CPython versions whose source it was checked against).
PRIVATE_NAMES: dict[str, tuple[str, str]] = {
    "_DeleteDummyThreadOnDel": ("threading", "3.12 and 3.13"),
    "_DummyThread": ("threading", "3.11 to 3.13"),
    "_GiveupOnSendfile": ("socket", "3.11 to 3.13"),
    "_active": ("threading", "3.11 to 3.13"),
    "_after_fork": ("_multiprocessing.SemLock", "3.11 to 3.13"),
    "_close": ("multiprocessing.connection.Connection", "3.11 to 3.13"),
    "_communicate": ("subprocess.Popen", "3.11 to 3.13"),
    "_count": ("_thread, _multiprocessing.SemLock", "3.11 to 3.13"),
    "_create": ("ssl.SSLSocket", "3.11 to 3.14"),
    "_find_and_load": ("importlib._bootstrap", "3.11 to 3.13"),
    "_get_running_loop": ("asyncio.events", "3.11 to 3.14"),
    "_get_value": ("_multiprocessing.SemLock", "3.11 to 3.13"),
    "_getframe": ("sys", "3.11 to 3.14"),
    "_handle": (
        "multiprocessing.connection.Connection, threading._MainThread",
        "3.11 to 3.13, and 3.13",
    ),
    "_is_mine": ("_multiprocessing.SemLock", "3.11 to 3.13"),
    "_is_owned": ("_thread.RLock", "3.11 to 3.13"),
    "_is_stopped": ("threading.Thread", "3.11 and 3.12"),
    "_is_zero": ("_multiprocessing.SemLock", "3.11 to 3.13"),
    "_lock": ("threading.Condition", "3.11 to 3.13"),
    "_module_locks": ("importlib._bootstrap", "3.11 to 3.13"),
    "_os_thread_handle": ("threading._MainThread", "3.14"),
    "_rebuild": ("_multiprocessing.SemLock", "3.11 to 3.13"),
    "_recv": ("multiprocessing.connection.Connection", "3.11 to 3.13"),
    "_register_atexit": ("threading", "3.11 to 3.13"),
    "_run_once": ("asyncio.base_events.BaseEventLoop", "3.11 to 3.13"),
    "_selector": ("selectors.EpollSelector, selectors.PollSelector", "3.11 to 3.14"),
    "_send": ("multiprocessing.connection.Connection", "3.11 to 3.13"),
    "_set_running_loop": ("asyncio.events", "3.11 to 3.14"),
    "_shutdown_locks": ("threading", "3.11 and 3.12"),
    "_run_safe_shutdown_loop": ("pycares", "pycares 5.2"),
    "_shutdown_manager": ("pycares", "pycares 5.2"),
    "_thread": ("importlib._bootstrap, pycares", "3.11 to 3.13, and pycares 5.2"),
    "_sslobj": ("ssl.SSLSocket", "3.11 to 3.14"),
    "_swap_current_task": ("asyncio.tasks", "3.14"),
    "_thread_local_info": ("threading", "3.12 and 3.13"),
    "_tstate_lock": ("threading.Thread", "3.11 and 3.12"),
    "_wait": ("subprocess.Popen", "3.11 to 3.13"),
    "_waiters": ("threading.Condition, concurrent.futures.Future", "3.11 to 3.13"),
}
