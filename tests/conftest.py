"""Options of the tests, and a folder of compiled code of their own: no test reads or fills the user's."""

import tempfile

import pytest

pytest_plugins = ["golden_plugin"]

_FOLDER = tempfile.TemporaryDirectory(prefix="blockfuse-tests-", ignore_cleanup_errors=True)
_ENVIRONMENT = pytest.MonkeyPatch()
_ENVIRONMENT.setenv("BLOCKFUSE_CACHE", _FOLDER.name)  # read at every use; subprocesses inherit it


def pytest_unconfigure() -> None:
    _ENVIRONMENT.undo()
    _FOLDER.cleanup()
