"""Options of the tests, and a folder of compiled code of their own: no test reads or fills the user's.

Generated inputs are the same in every run, so that what passed once passes on every machine; ``--fuzz-minutes`` looks for
new ones.
"""

import tempfile

import pytest
from hypothesis import settings

pytest_plugins = ["golden_plugin", "mutants"]

_FOLDER = tempfile.TemporaryDirectory(prefix="blockfuse-tests-", ignore_cleanup_errors=True)
_ENVIRONMENT = pytest.MonkeyPatch()
_ENVIRONMENT.setenv("BLOCKFUSE_CACHE", _FOLDER.name)  # read at every use; subprocesses inherit it

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-minutes", type=float, default=0.0, metavar="N", help="let tests/test_fuzz.py run N minutes"
    )


def pytest_unconfigure() -> None:
    _ENVIRONMENT.undo()
    _FOLDER.cleanup()
