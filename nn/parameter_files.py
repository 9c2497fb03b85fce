"""Parameter files: arrays by name in NumPy's ``.npz`` format, without pickle, or in safetensors where the name ends so."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import IO

import numpy

from blockfuse.ir.errors import MissingParameterError, ParameterFileError
from blockfuse.nn import safetensors_files
from blockfuse.nn.whole_file import written_whole


def write(filename: str | os.PathLike[str], arrays: Mapping[str, numpy.ndarray]) -> None:
    """Write ``arrays`` to a file beside ``filename``, then put it there: readers see old or new."""
    with written_whole(filename) as file:
        (safetensors_files.write if _is_safetensors(filename) else _write_npz)(file, arrays)


def _write_npz(file: IO[bytes], arrays: Mapping[str, numpy.ndarray]) -> None:
    """As numpy.savez, which would refuse an array called "file", and append ".npz" to the name."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, array, allow_pickle=False)


def _is_safetensors(filename: str | os.PathLike[str]) -> bool:
    return os.fspath(filename).endswith(".safetensors")


def read(filename: str | os.PathLike[str]) -> dict[str, numpy.ndarray]:
    """The arrays of a file that ``write``, ``numpy.savez`` or another writer of safetensors made.

    Raises ParameterFileError if it is none, is cut short or damaged, or holds Python objects.
    """
    kind = "safetensors" if _is_safetensors(filename) else ".npz without pickle"
    try:
        with open(filename, "rb") as raw:  # numpy.load would leave a broken file open
            if _is_safetensors(filename):
                return safetensors_files.read(raw)
            file = numpy.load(raw, allow_pickle=False)
            if not isinstance(file, numpy.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, LookupError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        raise ParameterFileError(f"{os.fspath(filename)} is no parameter file ({kind}): {error}") from error


def refuse(source: str, faults: list[str], missing: bool) -> None:
    """Raise for the faults that were found between a net and ``source``, if there are any."""
    if not faults:
        return
    message = "\n".join([f"{source} does not fit the net, and nothing was loaded:", *faults])
    if missing:
        raise MissingParameterError(f"{message}\nallow_missing=True leaves missing parameters as they are")
    raise ParameterFileError(message)
