"""``load``: a file of a frozen net becomes a function, checked, mapped and joined; nothing is compiled unless asked for."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from blockfuse.frozen import file_format, machine, mapping
from blockfuse.frozen.frozen_net import Call, FrozenNet, NativeCall, Source
from blockfuse.frozen.program import LoadedProgram
from blockfuse.ir.errors import FrozenFileError, OtherMachineError
from blockfuse.runtime import config

Data = Any  # of JSON


def load(
    path: str | os.PathLike[str], threads: int | None = None, *, allow_compile: bool = False
) -> FrozenNet:
    """The net that ``blockfuse.freeze`` wrote to ``path``.

    threads: of large launches, else ``BLOCKFUSE_THREADS``; at most as many as the net had when it was frozen.
    allow_compile: where the native code of the file does not run, compile its graphs anew, if ``freeze(..., portable=True)``
    put them there. It takes seconds and needs Numba, and one warning says so; results are the same to rounding.

    Load only files of people whom you trust: their native code runs in this process. Raises FrozenFileError, having mapped
    nothing, where the file is damaged, and OtherMachineError, which is one, where it was made for another processor,
    interpreter or layout of NumPy's objects; UsageError where threads is no whole number from 1 on.

    >>> import tempfile
    >>> import blockfuse
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     blockfuse.frozen.load(file.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.FrozenFileError: ...
    """
    config.require_threads(threads)
    return loaded(Source(os.fspath(path), threads, allow_compile))


def loaded(source: Source) -> FrozenNet:
    """The net of a file, which must have the identity that is asked for, if any: that of a net that was pickled."""
    description = file_format.read(source.path)
    with file_format.naming(source.path):
        if source.identity not in (None, description["identity"]):
            raise FrozenFileError("another file lies there now than the one of the net that was pickled")
        calls = _calls(source, description)
    known = replace(source, path=os.path.abspath(source.path), identity=description["identity"])
    return FrozenNet(known, calls)


def _calls(source: Source, description: Data) -> Sequence[Call]:
    try:
        return _native_calls(source, description)
    except OtherMachineError as error:
        if not source.allow_compile or description["portable"] is None:
            raise OtherMachineError(f"{error}{_cure(source, description)}") from None
        return _compiled_calls(source, description, str(error))


def _native_calls(source: Source, description: Data) -> list[NativeCall]:
    machine.require_fits(description["machine"])
    base = mapping.mapped(source.path, description)
    around = description["process"], base, config.threads(source.threads), config.kept_bytes()
    programs = [LoadedProgram(data, *around) for data in description["programs"]]
    return [NativeCall(data, programs[data["program"]]) for data in description["calls"]]


def _cure(source: Source, description: Data) -> str:
    if description["portable"] is not None:
        return "; load(path, allow_compile=True) compiles it here, which takes seconds"
    also = "; it cannot be compiled here" if source.allow_compile else ""
    return f"{also}; freeze(net, path, portable=True) makes files that load(path, allow_compile=True) compiles anywhere"


def _compiled_calls(source: Source, description: Data, problem: str) -> Sequence[Call]:
    from blockfuse.frozen.compiled_calls import compiled_calls  # which loads the rest of the package

    started = time.perf_counter()
    try:
        calls = compiled_calls(source, description)
    except OtherMachineError as error:
        raise OtherMachineError(f"{problem}; {error}") from None
    seconds = time.perf_counter() - started
    warnings.warn(f"{source.path}: {problem}. It was compiled anew, in {seconds:.1f} s", stacklevel=5)
    return calls
