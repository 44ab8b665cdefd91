"""The tests that are known to fail when patched, with CPython versions and the reason."""

import sys

ALL = "3.11 3.12 3.13"
NATIVE_ID = "greenlets share the operating system's thread, and native_id says which one that is"
NEVER_WAITS = "nothing takes the processor from a greenlet that loops without ever waiting"
OUR_CLASS = (
    "the class is treadle's: it can be instantiated, and subclassed, and says where it is from"
)
NON_BLOCKING = (
    "the descriptor of a patched socket is non-blocking whatever its timeout, as gevent's is, so "
    "that C libraries which work on it do not block the thread"
)

#: test id -> (versions, reason)
LOSSES: dict[str, tuple[str, str]] = {
    "test.test_selectors.DefaultSelectorTestCase.test_modify_unregister": (
        ALL,
        "it knows selectors by name, and the default one has the name it has in gevent",
    ),
    "test.test_socket.NonBlockingTCPTests.testSetBlocking": (ALL, NON_BLOCKING),
    "test.test_socket.NonBlockingTCPTests.testSetBlocking_overflow": (ALL, NON_BLOCKING),
    "test.test_socket.NonblockConstantTest.test_SOCK_NONBLOCK": (ALL, NON_BLOCKING),
    "test.test_threading.ThreadTests.test_disallow_instantiation": ("3.11 3.12", OUR_CLASS),
    "test.test_threading.ThreadTests.test_lock_no_subclass": ("3.13", OUR_CLASS),
    "test.test_threading.MiscTestCase.test__all__": (ALL, OUR_CLASS),
    "test.test_threading.ThreadTests.test_various_ops": (ALL, NATIVE_ID),
    "test.test_threading.ThreadTests.test_various_ops_large_stack": (ALL, NATIVE_ID),
    "test.test_threading.ThreadTests.test_various_ops_small_stack": (ALL, NATIVE_ID),
    "test.test_threading.ThreadTests.test_PyThreadState_SetAsyncExc": (
        ALL,
        "the interpreter addresses the operating system's thread, not a greenlet",
    ),
    "test.test_threading.InterruptMainTests.test_can_interrupt_tight_loops": (ALL, NEVER_WAITS),
    "test.test_signal.StressTest.test_stress_modifying_handlers": (ALL, NEVER_WAITS),
}


def expected(module: str) -> list[str]:
    """Return the known losses of *module* for the running interpreter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        test
        for test, (versions, _why) in LOSSES.items()
        if version in versions and test.startswith(f"test.{module}.")
    ]
