"""Tests of many cases: `make test` runs some of them, `make test-long` all.

The marker ``spread(n)``, of a test or of all in a file: every n-th of the parameters runs, or all where
``--all-examples`` is given; what has no parameters runs always.
``@sampled(few, many)``: so many cases are generated, likewise; ``rounds(few, many)``: so many times a test goes round,
which is marked ``sampled``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

_ALL = False


def sampled(few: int, many: int, **options: Any) -> Callable[[Any], Any]:
    """Hypothesis settings; ``options`` are others of them."""
    chosen = settings(max_examples=many if _ALL else few, **options)
    return lambda test: pytest.mark.sampled(chosen(test))


def rounds(few: int, many: int) -> int:
    """How often a test does what it does, for one that Hypothesis does not drive."""
    return many if _ALL else few


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-examples", action="store_true", help="run all cases of tests of which some run otherwise"
    )


def pytest_configure(config: pytest.Config) -> None:
    global _ALL
    _ALL = config.getoption("--all-examples")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before ``-m`` is looked at."""
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("spread")
        if marker is not None and hasattr(item, "callspec"):
            name = item.nodeid.partition("[")[0]
            if _ALL:
                item.add_marker(pytest.mark.sampled)
            elif seen[name] % marker.args[0]:
                item.add_marker(pytest.mark.long)
            seen[name] += 1
