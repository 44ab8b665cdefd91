"""The tests that may be lost, each with the CPython versions and the reason."""

import sys

#: test id -> (versions, why).
LOSSES: dict[str, tuple[str, str]] = {}


def expected(module: str) -> list[str]:
    """Those of *module* for the running interpreter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        test
        for test, (versions, _why) in LOSSES.items()
        if version in versions and test.startswith(f"test.{module}.")
    ]
