"""The marker ``alone``: while such a test runs, the other processes of a run by several (``-n``) start none.

It is for tests that measure time.
"""

import fcntl
from collections.abc import Generator
from typing import IO

import pytest

from blockfuse.runtime.config import cache_folder

_LOCKS = pytest.StashKey[tuple[IO[str], IO[str]]]()  # whoever begins a test, whoever runs one


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        folder = cache_folder().parent  # of the whole run: conftest.py makes it
        config.stash[_LOCKS] = (folder / "begins").open("w"), (folder / "runs").open("w")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    locks = item.config.stash.get(_LOCKS, None)
    if locks is None:
        return (yield)
    begins, runs = locks
    fcntl.flock(begins, fcntl.LOCK_EX)  # nobody begins while somebody waits to be alone
    fcntl.flock(runs, fcntl.LOCK_SH if item.get_closest_marker("alone") is None else fcntl.LOCK_EX)
    fcntl.flock(begins, fcntl.LOCK_UN)
    try:
        return (yield)
    finally:
        fcntl.flock(runs, fcntl.LOCK_UN)
