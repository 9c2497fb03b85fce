"""``load``: a file of a frozen net becomes a function, checked, mapped and joined; nothing is compiled."""

from __future__ import annotations

import os

from blockfuse.frozen import file_format, machine, mapping
from blockfuse.frozen.frozen_net import FrozenCall, FrozenNet
from blockfuse.frozen.program import LoadedProgram
from blockfuse.ir.errors import FrozenFileError
from blockfuse.runtime import config


def load(path: str | os.PathLike[str], threads: int | None = None) -> FrozenNet:
    """The net that ``blockfuse.freeze`` wrote to ``path``. threads: of large launches, else ``BLOCKFUSE_THREADS``.

    Load only files of people whom you trust: their native code runs in this process. Raises FrozenFileError, having mapped
    nothing, where the file is damaged, or made for another processor, interpreter or layout of NumPy's objects.

    >>> import tempfile
    >>> import blockfuse
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     blockfuse.frozen.load(file.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.FrozenFileError: ...
    """
    return loaded(os.fspath(path), threads, None)


def loaded(name: str, threads: int | None, identity: str | None) -> FrozenNet:
    """The net of a file, which must have this identity, if any is asked for: that of a net that was pickled."""
    description = file_format.read(name)
    with file_format.naming(name):
        if identity not in (None, description["identity"]):
            raise FrozenFileError("another file lies there now than the one of the net that was pickled")
        machine.require_fits(description["machine"])
        base = mapping.mapped(name, description)
        around = description["process"], base, threads or config.threads(), config.kept_bytes()
        programs = [LoadedProgram(data, *around) for data in description["programs"]]
        calls = [FrozenCall(data, programs[data["program"]]) for data in description["calls"]]
    return FrozenNet(os.path.abspath(name), threads, description["identity"], calls)
