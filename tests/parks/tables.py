"""The cells that are not run, with the reasons, and those that show a known fault."""

from parks.place import Place

#: (event, condition of the place, why the event cannot happen at such a place)
NOT_THERE = [
    ("object_is_closed", lambda kind: kind.closed is None, "nothing can be closed"),
    *(
        (event, lambda kind: kind.busy, "which code a signal interrupts is not known there")
        for event in (
            "handler_raises",
            "handler_raises_an_error_of_calls",
            "handler_raises_in_a_greenlet",
            "handler_waits_in_a_greenlet",
            "handler_kills_others",
            "handler_kills_whom_it_interrupts",
            "handler_beside_a_greenlet_waits",
            "handler_beside_a_greenlet_raises",
            "handler_beside_a_greenlet_kills_it",
        )
    ),
    (
        "interpreter_ends_with_finalizers",
        lambda kind: kind.helped or (not kind.keeps and not kind.yields),
        "no greenlet is left to end the wait",
    ),
]

#: (place, event) -> why the event cannot happen there.
CANNOT_HAPPEN: dict[tuple[str, str], str] = {
    **{
        (place, "handler_forks"): "the block goes on in the child, where its children are not"
        for place in ("leave_group", "start_in_group")
    },
    ("sleep_without_ref", "finalizer_waits_in_the_call"): "nothing keeps the loop running for it",
    ("sleep_without_ref", "interpreter_ends_with_finalizers"): "nothing keeps the loop running",
    **{
        (place, "thread_gives_at_the_timeout"): "the Timeout may come before the lock is lost"
        for place in (
            "condition_reacquire",
            "condition_reacquire_lock",
            "condition_reacquire_other",
        )
    },
    ("threadpool_apply", "hub_is_destroyed"): "destroy() waits for the calls of the hub's own pool",
    **{
        (place, "interpreter_ends_with_finalizers"): "OpenSSL has lost its weak reference by then"
        for place in ("tls_read", "tls_handshake", "tls_write")
    },
    **{
        (place, f"interpreter_ends_{how}"): "the end waits for the calls of executors, as elsewhere"
        for place in ("executor_shutdown", "future_result", "futures_wait")
        for how in (
            "while_parked",
            "by_exit_of_a_greenlet",
            "in_a_child",
            "with_finalizers",
        )
    },
    **{
        (place, event): "it would run in the greenlet that the finalizer itself waits for"
        for place in ("imap", "imap_unordered")
        for event in ("finalizer_waits_in_the_poll", "finalizer_waits_in_the_call")
    },
}

#: (place, event) -> what is wrong. The test fails when the cell passes.
KNOWN_FAULTS: dict[tuple[str, str], str] = {}


def reason_against(name: str, kind: type[Place], event: str) -> str | None:
    """Return why *event* cannot happen at the place, or None."""
    for each, condition, reason in NOT_THERE:
        if each == event and condition(kind):
            return reason
    return CANNOT_HAPPEN.get((name, event))


# -- functions that wait, and are no places

#: The rooms above the library's own waits, and where their waits are. Each "folder/" or "file".
ABOVE = {
    "baseserver.py": "sleeps, events and joins",
    "cli.py": "no wait: a text is joined",
    "demo.py": "sleeps",
    "gunicorn/": "sleeps and events",
    "http/": "reads and writes of sockets, sleeps and events",
    "monkey/__init__.py": "no wait: a text is joined",
    "monkey/_main.py": "no wait: a path is joined",
    "monkey/_multiprocessing.py": "locks of other processes, by threads and descriptors",
    "monkey/_patches.py": "no wait: it patches what waits",
    "monkey/_references.py": "no wait: a text is joined",
    "monkey/_report.py": "no wait: a text is joined",
    "monkey/_stdin.py": "waits for a descriptor",
    "observe/": "no wait: texts are joined, and a native thread watches",
    "psycopg2.py": "waits for a descriptor",
    "resolver/_dns.py": "no wait: names are joined",
    "resolver/ares.py": "waits for results",
    "resolver/cares.py": "waits for results",
    "resolver/dnspython.py": "locks, and waits for descriptors",
    "serve/": "processes of its own: sleeps, events and children",
    "testing/": "native threads and runs of a private schedule",
    "websocket.py": "reads of sockets, and locks",
}

#: file:function -> why it is no place.
NO_PLACES = {
    "_config.py:keep": "it reads a setting",
    "_config.py:set": "it applies a setting",
    "_core/aside.pyx:park_with_state": "park() calls it, at any place",
    "_core/chooser.pyx:choose": "it asks a schedule of treadle.testing",
    "_core/chooser.pyx:give_way": "only schedules of treadle.testing wait here",
    "_core/crew.py:next_task": "a native thread waits here, which no greenlet shares",
    "_core/crew.py:work_here": "it takes what is there",
    "_core/crew.py:end_threads": "a pool's worker that ends joins what its calls started",
    "_core/delivery.pyx:cancel_wait": "it looks at a wait",
    "_core/delivery.pyx:deliver": "it looks at a wait",
    "_core/delivery.pyx:deliver_held": "it looks at a wait",
    "_core/delivery.pyx:interrupt": "it looks at a wait",
    "_core/delivery.pyx:interrupt_main": "it looks at a wait",
    "_core/delivery.pyx:interrupt_principal": "it looks at a wait",
    "_core/greenlet.pyx:run_links": "it takes a link",
    "_core/handlers.pyx:finish_handlers": "the wait for all signal handlers at exit",
    "_core/handlers.pyx:let_run": "a signal handler runs here, whatever waits",
    "_core/handlers.pyx:run_beside": "it looks at a wait",
    "_core/handlers.pyx:runs_here": "it looks at a wait",
    "_core/hub.pyx:block": "the poller's wait, which all places share",
    "_core/hub.pyx:new_hub_wait": "it makes a wait",
    "_core/hub.pyx:new_wait": "it makes a wait",
    "_core/hub.pyx:park": "what all places call",
    "_core/hub.pyx:poll": "the poller's wait, which all places share",
    "_core/importlock.py:acquire_lock": "the lock of imports is an RLock, of which there is one",
    "_core/linkable.pyx:run_links": "it takes a link",
    "_core/links.pyx:remove": "it takes a link",
    "_core/links.pyx:take_collectors": "it takes a link",
    "_core/native.py:<module>": "it takes a lock that is free",
    "_core/native.py:nap": "it stops the whole thread for a millisecond, on purpose",
    "_core/queues.pyx:shutdown": "the mutex is held for moments only",
    "_core/system_watchers.pyx:reap": "it asks for a child that has ended",
    "_core/taskgroup.pyx:__exit__": "it calls wait_for_children()",
    "_core/taskgroup.pyx:adopt": "it takes a child",
    "_core/thread_hub.pyx:heir": "it looks at a wait",
    "_core/thread_hub.pyx:leave_greenlets_behind": "it looks at a wait",
    "_core/thread_hub.pyx:waits_of": "it looks at a wait",
    "_core/thread_hub.pyx:run_loop": "gevent's name for a join of the hub",
    "_core/wait_queue.pyx:park_in": "what places call that wait in a queue",
    "_core/watchers.pyx:open": "it asks a poller without waiting",
    "_core/locks.pyx:acquire_shielded": "it calls acquire() of a lock, which is a place",
    "aio/running.py:_run_once": "it lets others run by sleep(0)",
    "fcntl.py:lockf": "other processes hold such locks; flock() waits in the same way",
    "os.py:_in_parts": "it lets others run by sleep(0)",
    "os.py:lockf": "other processes hold such locks; flock() waits in the same way",
    "os.py:wait": "it is waitpid(-1), which would take other places' children",
    "pool.py:apply_cb": "it calls apply()",
    "scopes.py:_report_shield": "it writes a report",
    "scopes.py:checkpoint": "it calls sleep(0)",
    "socket.py:recvmsg_into": "it waits as recvmsg() does",
    "sqlite3.py:_until_free": "it sleeps between two attempts, and holds nothing",
    "sqlite3.py:commit": "it calls _until_free()",
    "sqlite3.py:execute": "it calls _until_free()",
    "sqlite3.py:executemany": "it calls _until_free()",
    "thread.py:_shutdown": "the end of the program joins its threads",
    "thread.py:join": "it waits for an event (since CPython 3.13)",
    "threading.py:adopt_main_thread": "the lock is free",
    "threadpool.py:_await_calls_of_executors": "the end of the program waits for its executors",
    "util.py:__exit__": "no wait: texts are joined",
}
