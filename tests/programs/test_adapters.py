"""Tests that every module must pass, for the adapters, which other tests cannot import."""

from collections.abc import Callable

import pytest
from adapters import ADAPTERS


@pytest.mark.parametrize("module", ADAPTERS)
def test_it_can_be_imported_first_and_is_the_home_of_its_names(
    module: str, fresh: Callable[..., str]
) -> None:
    homes = fresh(
        "import importlib, sys; module = importlib.import_module(sys.argv[1])\n"
        "print(*{getattr(module, name).__module__ for name in module.__all__})",
        module,
    )
    assert homes.split() == [module]
