"""Options of the tests, and a folder of compiled code of their own: no test reads or fills the user's.

Generated inputs are the same in every run, so that what passed once passes on every machine; ``--fuzz-minutes`` looks for
new ones.
"""

import gc
import os
import tempfile
from pathlib import Path

import numpy.testing  # noqa: F401 - NumPy imports it at first use: a child forked meanwhile waits for ever
import pytest
from hypothesis import settings

pytest_plugins = ["golden_plugin", "mutants", "repeatable", "sampling", "turns"]

_FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()
_ENVIRONMENT = pytest.MonkeyPatch()

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-minutes",
        type=float,
        default=0.0,
        metavar="N",
        help="let tests/runtime/test_fuzz.py run N minutes",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # NumPy's: the one that needs nothing else.
    os.environ.setdefault("KERAS_BACKEND", "numpy")  # noqa: TID251 - Keras reads it when it is imported
    if hasattr(config, "workerinput"):
        return  # one of several processes: it inherits the folder, and finds there what the others have compiled
    folder = tempfile.TemporaryDirectory(prefix="blockfuse-tests-", ignore_cleanup_errors=True)
    config.stash[_FOLDER] = folder
    cache = Path(folder.name) / "cache"
    _ENVIRONMENT.setenv("BLOCKFUSE_CACHE", str(cache))  # read at every use; subprocesses inherit it


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests, and libraries that they import, stay to the end: no search for garbage looks at them again."""
    if not session.config.getoption("--mutants"):  # which look for our functions among all that there is
        gc.collect()
        gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    _ENVIRONMENT.undo()
    if _FOLDER in config.stash:
        config.stash[_FOLDER].cleanup()
