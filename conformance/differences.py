"""Where treadle's public API differs from gevent's, and why: the source of the table in docs.

A name that is not listed here is the same. If a class is dropped, so are its attributes.
"""

from __future__ import annotations

from typing import NamedTuple


class Behaviour(NamedTuple):
    """A behaviour that differs though the call is the same."""

    title: str
    gevent: str
    treadle: str
    what_to_do: str
    #: The public names that have this behaviour.
    names: tuple[str, ...] = ()


# Reasons that several names share.

BY_POSITION = (
    "takes its arguments by position only, as the standard library's does: pass them by position"
)
STANDARD = (
    "the standard library's own class, whose arguments are taken by position: "
    "each greenlet has a context of its own"
)
NO_HUB = "belongs to no hub: any thread may use it. Ask `get_hub()`"
HELPER = "a helper of gevent's own code"
VERSION = "asks for the version of Python or the system: use `sys.version_info`, `sys.platform`"
LIBEV = "of the C library libev, which treadle has none of"
CARES_OBJECT = (
    "of gevent's own binding of c-ares; treadle uses pycares. Make a resolver with options"
)
OLD_SSL = "an argument of the old constructor: read the `context`"
NO_WATCHER = "there is no such watcher or thread: pools serve all threads and forked children"
PYTHON_2 = "the name from Python 2: use `next()`"
WHOLE_PARSER = (
    "a request is read whole by a parser (llhttp), not line by line: override `get_environ()` or "
    "`handle_one_response()`, or set `limits`"
)
ONE_STEP = (
    "the head of an answer is made in one step: change headers in the application, or override "
    "`start_response()`"
)
OWN_LOCK = "a lock of its own in the compiled core, not a semaphore: same methods"
REUSE = "None by default, which means the same: set, but for Windows"

#: The modules that exist under the alias only: treadle itself has no modules of these names.
ONLY_UNDER_ALIAS = (
    "gevent.ares",
    "gevent.builtins",
    "gevent.contextvars",
    "gevent.monkey.api",
    "gevent.resolver_ares",
    "gevent.resolver_thread",
    "gevent.win32util",
)

#: Why the names that gevent's modules import for their own use may be missing there.
BORROWED = "gevent's module imports it for its own use; treadle has it, if at all, where it belongs"

#: The names that gevent's modules import for their own use and treadle's do not, by module.
NOT_BORROWED = {
    "gevent.backdoor": "Greenlet",
    "gevent.builtins": "RLock",
    "gevent.contextvars": "local",
    "gevent.core": (
        "HubDestroyed ICallback ILoop async async_ check child config fork idle io "
        "prepare set_syserr_cb signal stat timer watcher"
    ),
    "gevent.event": "AbstractLinkable",
    "gevent.greenlet": (
        "Gevent_PyFrame_GetBack Gevent_PyFrame_GetCode Gevent_PyFrame_GetLineNumber "
        "Waiter get_generic_parent get_hub_noargs get_my_hub greenlet_init readproperty"
    ),
    "gevent.hub": (
        "GEVENT_CONFIG Lazy TrackedRawGreenlet WaitOperationsGreenlet get_loop gmctime "
        "readproperty reraise set_loop"
    ),
    "gevent.local": "greenlet_init",
    "gevent.os": "Event config reinit",
    "gevent.pywsgi": "reraise",
    "gevent.queue": "Waiter get_hub_noargs greenlet_init",
    "gevent.resolver": "is_ipv6_addr",
    "gevent.resolver.ares": (
        "AbstractResolver AresSettingMixin InvalidIP Waiter channel lookup_port"
    ),
    "gevent.resolver.cares": "InvalidIP ares_host_result",
    "gevent.resolver.dnspython": "AbstractResolver HostsFile",
    "gevent.resolver.thread": "get_hub",
    "gevent.select": "Event get_hub",
    "gevent.selectors": "Event Lazy get_hub sleep",
    "gevent.server": "GeventSocket",
    "gevent.socket": "SocketMixin Timeout exc_clear get_hub",
    "gevent.subprocess": (
        "AsyncResult Greenlet fork_and_watch get_hub joinall killall linkproxy place sleep value"
    ),
    "gevent.thread": "BoundedSemaphore LoopExit get_hub_if_exists sleep",
    "gevent.threading": "LazyOnClass start_joinable_thread",
    "gevent.threadpool": (
        "EmptyTimeout GTimeout Greenlet GroupMappingMixin InvalidThreadUseError Lazy Queue "
        "clear_stack_frames get_hub_if_exists sleep"
    ),
    "gevent.timeout": "get_hub",
}

#: Functions of gevent's that pass on further arguments to another function that is the same here.
PASSED_ON = {
    "gevent.fileobject.FileObjectBlock",
    "gevent.pool.GroupMappingMixin.imap",
    "gevent.pool.GroupMappingMixin.imap_unordered",
    "gevent.socket.socket.recvmsg_into",
    "gevent.threadpool.ThreadPoolExecutor.kill",
    "gevent.threadpool.ThreadPoolExecutor.shutdown",
}

#: Names that exist in some versions of Python only, as in the standard library: from the first
#: version, and before the second.
ONLY_WITH = {
    "gevent.ssl.wrap_socket": ((3, 0), (3, 12)),
    "gevent.thread.start_joinable_thread": ((3, 13), (4, 0)),
}

#: Names that exist but differ: what is different, and what to do.
DIFFERENT = {
    "gevent": {
        "config.ares_servers": "another name of `config.resolver_nameservers`, and its variable",
        "config.ares_timeout": "another name of `config.resolver_timeout`, and its variable",
        "config.format_context": "`repr` by default: it prints less; set it to `pprint.saferepr`",
        "config.libev_backend": (
            "another name of `config.poller`, read from `TREADLE_POLLER` (under the alias from "
            "`GEVENT_BACKEND`): `epoll` or `select`; of libev's others the best of these is taken"
        ),
        "config.threadpool": "names treadle's own class",
        "sleep": "not the object that `gevent.time.sleep` is: that takes what `time.sleep()` takes",
        "version_info": "under the alias gevent's, in `treadle` its own",
    },
    "gevent.contextvars": {
        "Context": STANDARD,
        "ContextVar": STANDARD,
        "ContextVar.reset": STANDARD,
        "ContextVar.set": STANDARD,
        "Token": STANDARD,
    },
    "gevent.core": {
        "embeddable_backends": "names treadle's pollers",
        "get_header_version": "says `treadle-` and its version",
        "get_version": "says `treadle-` and its version",
        "loop": "made on treadle's engine; of libev's flags only the name of a poller counts",
        "recommended_backends": "names treadle's pollers",
        "supported_backends": "names treadle's pollers: `epoll`, `select`",
        "loop.now": "counts from no particular beginning, not from 1970: use `time.time()`",
        "time": "counts from no particular beginning, not from 1970: use `time.time()`",
    },
    "gevent.exceptions": {
        "LoopExit": "its text says who waits for what; its only argument is that text",
    },
    "gevent.hub": {
        "Hub.backend": "the setting `config.poller`; None for the best",
        "set_hub": "takes no other hub; a thread's stays until its loop is destroyed",
        "sleep": "not the object that `gevent.time.sleep` is: that takes what `time.sleep()` takes",
    },
    "gevent.lock": {
        "RLock": "not the object that `gevent.threading.RLock` is, which is the standard library's",
    },
    "gevent.os": {
        "waitpid": BY_POSITION,
    },
    "gevent.pywsgi": {
        "Input.read": "its argument is named `size`, as the standard library's files have it",
        "Input.readline": "its default is -1, which means what None does",
    },
    "gevent.resolver": {
        "AbstractResolver": "subclasses define `look_up()`, which has all look-ups in one place",
        "AbstractResolver.gethostbyname": "IPv4 alone, as in `socket`: use `getaddrinfo()`",
        "AbstractResolver.gethostbyname_ex": "IPv4 alone, as in `socket`: use `getaddrinfo()`",
    },
    "gevent.resolver.ares": {
        "Resolver": (
            "upon pycares (extra `treadle[dns]`): reads the table of hosts itself, gives the C "
            "library's results and errors, and refuses options that it does not know"
        ),
    },
    "gevent.resolver.cares": {
        "channel": (
            "upon `treadle.resolver.ares` and pycares (extra `treadle[dns]`): takes text as well "
            "as bytes, and its values are those of the functions in `socket`"
        ),
    },
    "gevent.resolver.dnspython": {
        "Resolver": "uses dnspython as it is installed (extra `treadle[dns]`), not a patched copy",
    },
    "gevent.select": {
        "poll": "a function, as in the standard library; what it returns has the same methods",
        "select": BY_POSITION,
    },
    "gevent.server": {
        "DatagramServer.reuse_addr": "None by default, the system's choice: 1 is gevent's",
        "StreamServer.backlog": "256 by default, not 128: bursts are queued, not refused",
        "StreamServer.reuse_addr": REUSE,
    },
    "gevent.socket": {
        "SocketType": "the standard library's C class, of which every socket is an instance",
        "getnameinfo": BY_POSITION,
        "socket.bind": BY_POSITION,
        "socket.recvmsg_into": BY_POSITION,
        "socket.ref": "counts for who begins to wait after it was set",
        "socket.sendmsg": BY_POSITION,
        "socket.settimeout": "names its argument `value`: pass it by position",
    },
    "gevent.ssl": {
        "SSLSocket": "the standard library's class upon treadle's socket: contexts make it",
        "wrap_socket": "only where Python itself has it, until 3.11",
        "SSLSocket.read": "names its arguments as the standard library does, with its defaults",
    },
    "gevent.subprocess": {
        "_USE_POSIX_SPAWN": "what the standard library has: its `Popen` starts the children",
        "_fork_exec": "the standard library's function: its `Popen` starts the children",
    },
    "gevent.thread": {
        "LockType": OWN_LOCK,
        "stack_size": BY_POSITION,
        "start_joinable_thread": "only where Python itself has one, from 3.13 on",
        "RLock": "in the compiled core, and atomic against signal handlers",
    },
    "gevent.threading": {
        "RLock": "the lock of `_thread`: no *hub*",
        "RLock.acquire": "-1 is the default timeout, as in the standard library: None is refused",
        "start_new_thread": BY_POSITION,
    },
    "gevent.threadpool": {
        "ThreadResult": "made by pools alone",
    },
    "gevent.time": {
        "sleep": "takes what `time.sleep()` takes; `gevent.sleep()` has a default and *ref*",
    },
}

#: Names that do not exist: why, and what to use instead.
DROPPED = {
    "gevent": {
        "config.trace_malloc": "the interpreter reads PYTHONTRACEMALLOC itself: ask `tracemalloc`",
    },
    "gevent.core": {
        f"loop.{name}": LIBEV
        for name in (
            "WatcherType",
            "backend_int",
            "break_",
            "depth",
            "error_handler",
            "origflags",
            "origflags_int",
            "ptr",
            "sig_pending",
            "sigfd",
        )
    },
    "gevent.event": {"AsyncResult.hub": NO_HUB, "Event.hub": NO_HUB},
    "gevent.exceptions": {"LoopExit.hub": "it is the current thread's: `get_hub()`"},
    "gevent.fileobject": {
        "FileObjectPosix.default_bufsize": "`io.DEFAULT_BUFFER_SIZE`, as `open()` has it"
    },
    "gevent.greenlet": {
        "Greenlet.spawning_stack_limit": "set `config.spawning_stack_limit`, for all greenlets"
    },
    "gevent.hub": {
        "Hub.cancel_waits_close_and_then": HELPER + ": close the object, which wakes who waits",
        "Hub.switch_out": HELPER + ": waiting in the hub raises BlockingSwitchOutError by itself",
        "MAIN_THREAD_IDENT": "use `threading.main_thread().ident`, or `Hub.main_hub`",
        "get_thread_ident": "use `Hub.thread_ident`",
        "linkproxy": HELPER,
    },
    "gevent.lock": {"atomic": HELPER},
    "gevent.monkey": {"PY314": VERSION, "WIN": VERSION},
    "gevent.os": {"EAGAIN": "use `errno.EAGAIN`"},
    "gevent.pool": {"pass_value": HELPER},
    "gevent.pywsgi": {
        "Environ.iteritems": "the name from Python 2: use `items()`",
        "Input.chunk_length": HELPER,
        "Input.next": PYTHON_2,
        "Input.position": HELPER,
        "Input.send_100_continue_enabled": HELPER,
        "OldMessage": WHOLE_PARSER,
        "WSGIHandler.MessageClass": WHOLE_PARSER,
        "WSGIHandler.connection_upgraded": "use `switch_protocols()` or `wsgi.websocket`",
        "WSGIHandler.finalize_headers": ONE_STEP,
        "WSGIHandler.protocol_version": "always HTTP/1.1, or what a client of 1.0 understands",
        "WSGIHandler.provided_content_length": ONE_STEP,
        "WSGIHandler.provided_date": ONE_STEP,
        "WSGIHandler.read_request": WHOLE_PARSER,
        "WSGIHandler.response_use_chunked": ONE_STEP,
        "WSGIServer.set_max_accept": "set `max_accept`",
        "format_date_time": "use `email.utils.formatdate(usegmt=True)`",
        "headers_factory": WHOLE_PARSER,
        "unquote_latin1": "use `urllib.parse.unquote(text, 'latin-1')`",
    },
    "gevent.queue": {
        "Channel.hub": NO_HUB,
        "ItemWaiter": HELPER,
        "SimpleQueue.hub": NO_HUB,
        "UnboundQueue": "use `Queue()`, which has no bound by default",
    },
    "gevent.resolver": {
        "AbstractResolver.EAI_FAMILY_MSG": HELPER,
        "AbstractResolver.EAI_NONAME_MSG": HELPER,
        "AbstractResolver.HOSTNAME_ENCODING": HELPER,
        "AbstractResolver.fixup_gaierror": HELPER,
    },
    "gevent.resolver.ares": {
        f"Resolver.{name}": CARES_OBJECT
        for name in ("cares", "cares_class", "fork_watcher", "hub", "params", "pid")
    },
    "gevent.resolver.blocking": {"Resolver.method": HELPER},
    "gevent.resolver.dnspython": {
        "HOSTS_TTL": "the table of hosts is read again when its file changes",
        "dTimeout": "use `dns.exception.Timeout`",
    },
    "gevent.resolver.thread": {"Resolver.pool": "look-ups have threads of their own"},
    "gevent.select": {
        "PollResult": HELPER,
        "SelectResult": HELPER,
        "get_fileno": HELPER,
        "poll.fds": HELPER,
        "poll.loop": NO_HUB,
        **{
            f"poll.{name}": "a method of what `poll()` returns"
            for name in ("modify", "poll", "register", "unregister")
        },
    },
    "gevent.selectors": {"GeventSelector.hub": NO_HUB},
    "gevent.server": {"DEFAULT_REUSE_ADDR": "set `StreamServer.reuse_addr`"},
    "gevent.socket": {"socket.hub": NO_HUB},
    "gevent.ssl": {
        **{
            f"SSLSocket.{name}": OLD_SSL
            for name in ("ca_certs", "cert_reqs", "certfile", "ciphers", "keyfile", "ssl_version")
        },
        "orig_SSLContext": HELPER,
    },
    "gevent.subprocess": {
        "GenericAlias": "use `types.GenericAlias`",
        "MAXFD": "use `os.sysconf('SC_OPEN_MAX')`",
        "Popen.pipe_cloexec": "use `os.pipe()`, which has it by default",
        "Popen.result": "use `wait()`, `poll()` or `rawlink()`",
        "Popen.threadpool": HELPER,
        "_posixsubprocess": HELPER,
        "fork": "use `gevent.os.fork`",
        "mswindows": VERSION,
        "spawn": "use `gevent.spawn`",
    },
    "gevent.threading": {
        "PY313": VERSION,
        "Thread": "`patch_thread()` makes `threading.Thread` itself cooperative",
        "Timer": "`patch_thread()` makes `threading.Timer` itself cooperative",
        "main_native_thread": "use `threading.main_thread()`",
    },
    "gevent.threadpool": {
        "ThreadPool.adjust": HELPER + ": set `maxsize`",
        **{
            f"ThreadPool.{name}": NO_WATCHER
            for name in ("fork_watcher", "manager", "pid", "task_queue")
        },
        **{
            f"ThreadResult.{name}": HELPER
            for name in (
                "async_watcher",
                "context",
                "destroy_in_main_thread",
                "handle_error",
                "hub",
                "receiver",
            )
        },
    },
    "gevent.timeout": {"Timeout.timer": "a timeout is no watcher: ask `pending` and `seconds`"},
    "gevent.util": {"is_idle_threadpool_worker": HELPER},
}


BEHAVIOURS = [
    Behaviour(
        "Context variables",
        "a new greenlet does not see its spawner's",
        "it starts with a copy of its spawner's context, as a task of asyncio; requests of "
        "`pywsgi` each have a context of their own",
        "assign `gr_context = contextvars.Context()` before the start",
        ("gevent.greenlet.Greenlet",),
    ),
    Behaviour(
        "Fork",
        "all the parent's greenlets go on in the child",
        "only the one that forked does (the main one, if a signal handler forks while its "
        "greenlet waits), and nothing runs between fork and exec; "
        "`fork(keep=True)` takes the others along",
        "nothing, or `gevent.os.fork(keep=True)`",
        ("gevent.os.fork", "gevent.os.forkpty"),
    ),
    Behaviour(
        "Two readers of one socket",
        "the second gets ConcurrentObjectUseError",
        "they queue, and so do writers",
        "nothing; wait for no such error",
        ("gevent.exceptions.ConcurrentObjectUseError", "gevent.socket.wait_read"),
    ),
    Behaviour(
        "`os.close()` of a descriptor that somebody waits for",
        "who waits, waits for ever",
        "who waits gets OSError (EBADF), patched or by `gevent.os.close`",
        "nothing",
    ),
    Behaviour(
        "Nothing can wake the program any more",
        "LoopExit says so, and lists watchers",
        "LoopExit names each greenlet that waits and for what; not while another thread lives that "
        "might wake one, nor while a signal handler may",
        "nothing",
    ),
    Behaviour(
        "`select` under patching",
        "`select.epoll`, `kqueue` and `selectors.EpollSelector` are removed",
        "they stay, cooperatively; `DefaultSelector` is still the best of them",
        "nothing",
        ("gevent.monkey.patch_select", "gevent.select.select"),
    ),
    Behaviour(
        "Queues under patching",
        "the classes of `queue` are replaced by gevent's",
        "`queue.Queue` and its kin stay the standard library's, upon cooperative locks; "
        "`queue.SimpleQueue` is compiled",
        "nothing; use `gevent.queue` for `peek()`, `copy()` and the like",
        ("gevent.monkey.patch_queue",),
    ),
    Behaviour(
        "Threads under patching",
        "`threading.Thread`, `Timer`, `RLock`, `Event` and others are replaced",
        "they stay the standard library's classes, upon cooperative locks of `_thread`; what was "
        "made or imported before is repaired, and the rest is named in a warning",
        "nothing; `treadle doctor` lists what is left",
        ("gevent.monkey.patch_thread", "gevent.monkey.patch_all"),
    ),
    Behaviour(
        "What replaces a built-in function",
        "is a Python function, a method when a class keeps it",
        "does not become a method, as built-in functions do not",
        "nothing",
    ),
    Behaviour(
        "Looking names up",
        "in the hub's thread pool by default, beside the program's own tasks",
        "in threads of their own, of which more are made (`config.resolver` chooses, by the same "
        "names)",
        "nothing",
        ("gevent.resolver.thread.Resolver",),
    ),
    Behaviour(
        "The asking resolvers, `ares` and `dnspython`",
        "answers and errors of their own",
        "the C library's answers, order and errors, from the table of hosts and name servers "
        "alone; both need the extra `treadle[dns]`",
        "nothing",
    ),
    Behaviour(
        "Thread pools and threads",
        "`spawn()` from a thread other than the pool's raises InvalidThreadUseError",
        "any thread may use a pool in each way",
        "nothing",
        ("gevent.threadpool.ThreadPool", "gevent.exceptions.InvalidThreadUseError"),
    ),
    Behaviour(
        "HTTP requests that could pass for two",
        "are taken: a Content-Length beside chunks, lines that end in LF alone",
        "`pywsgi` refuses them (400), or ends the connection if the application is at work already",
        "mend the client; `treadle serve` is stricter still; `treadle.http.policy` has each choice",
        ("gevent.pywsgi.WSGIServer", "gevent.pywsgi.WSGIHandler"),
    ),
    Behaviour(
        "The spawner's stack",
        "ten frames of it are kept for each greenlet",
        "ten frames under the alias, none without it, for memory's sake",
        "set `config.spawning_stack_limit`, or TREADLE_SPAWNING_STACK_LIMIT",
        ("gevent.greenlet.Greenlet.spawning_stack",),
    ),
    Behaviour(
        "Whom `Event.set()` wakes",
        "runs in the same turn of the loop",
        "runs in the next, in the same order",
        "nothing",
        ("gevent.event.Event.set",),
    ),
    Behaviour(
        "`concurrent.futures.wait()` with the futures of a pool",
        "fails: it takes locks of native threads",
        "waits, and `as_completed()` too, whether patched or not",
        "nothing",
        ("gevent.threadpool.ThreadPoolExecutor",),
    ),
    Behaviour(
        "Errors in a SIGCHLD handler",
        "are printed by the hub",
        "reach the main greenlet, as those of any signal handler",
        "catch them in the handler",
        ("gevent.signal.signal",),
    ),
    Behaviour(
        "Files on descriptors",
        "`FileObjectPosix` makes the descriptor non-blocking, for all processes that share it",
        "it stays a blocking one, and only who waits looks first whether it is ready",
        "nothing",
        ("gevent.fileobject.FileObjectPosix",),
    ),
    Behaviour(
        "Children",
        "gevent's own `Popen`, which forks in Python, in the main thread alone",
        "the standard library's `Popen`, in C, from any thread, waited for by pidfd",
        "nothing",
        ("gevent.subprocess.Popen",),
    ),
    Behaviour(
        "Destroying a hub",
        "the next one of the thread may take the loop over",
        "a loop ends with its hub",
        "nothing",
        ("gevent.hub.Hub.destroy", "gevent.hub.Hub"),
    ),
    Behaviour(
        "Handlers of a server without a pool",
        "may not wait: `spawn=None` runs them in the hub",
        "run in the accepting greenlet, where they may wait",
        "nothing",
        ("gevent.baseserver.BaseServer",),
    ),
]
