"""Options of the tests, and a folder of compiled code of their own: no test reads or fills the user's."""

import tempfile

import pytest

pytest_plugins = ["golden_plugin"]

_FOLDER = tempfile.TemporaryDirectory(prefix="blockfuse-tests-", ignore_cleanup_errors=True)
_ENVIRONMENT = pytest.MonkeyPatch()
_ENVIRONMENT.setenv("BLOCKFUSE_CACHE", _FOLDER.name)  # read at every use; subprocesses inherit it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-minutes", type=float, default=0.0, metavar="N", help="let tests/test_fuzz.py run N minutes"
    )


def pytest_unconfigure() -> None:
    _ENVIRONMENT.undo()
    _FOLDER.cleanup()
