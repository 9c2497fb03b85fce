"""Arrays in files: NumPy's ``.npy`` and ``.npz`` formats, without pickle."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy

from blockfuse.array.functions.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError

_UNNAMED_PREFIX = "arr_"  # how NumPy names arrays that are saved without a name


def save(file: str | os.PathLike[str], arr: Any) -> None:
    """Write an array, a list of arrays, or a dict from names to arrays to exactly the path given.

    arr: of any shapes and dtypes. An array alone is written as NumPy's ``save`` does, if the path does not end in ``.npz``.
    file: the path.

    Returns None. Raises UsageError for several arrays and a path that ends in ``.npy``.

    >>> import tempfile
    >>> from blockfuse import np, npx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     npx.save(f"{folder}/array", np.arange(3))
    ...     npx.load(f"{folder}/array")
    array([0., 1., 2.])
    """
    several = isinstance(arr, dict | list | tuple)
    if several and _ends_in(file, ".npy"):
        raise UsageError(f"{file} would hold one array, not a {type(arr).__name__}; call it .npz")
    if not several and not _ends_in(file, ".npz"):
        data = asarray(arr)._leave("save()")
        with open(file, "wb") as stream:
            numpy.lib.format.write_array(stream, data, allow_pickle=False)
    elif isinstance(arr, dict):
        savez(file, **arr)
    else:
        savez(file, *(arr if several else (arr,)))


def _ends_in(file: str | os.PathLike[str], ending: str) -> bool:
    return os.fspath(file).endswith(ending)


def savez(file: str | os.PathLike[str], /, *arrays: Any, **named: Any) -> None:
    """Write arrays of any shapes and dtypes to one file, those without a name by their place.

    Returns None. Raises UsageError for the name of an array without one, such as ``arr_0``.

    >>> import tempfile
    >>> from blockfuse import np, npx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     npx.savez(f"{folder}/arrays.npz", np.ones(2), bias=np.zeros(1))
    ...     sorted(npx.load(f"{folder}/arrays.npz"))
    ['arr_0', 'bias']
    """
    unnamed = {f"{_UNNAMED_PREFIX}{n}": x for n, x in enumerate(arrays)}
    clash = unnamed.keys() & named.keys()
    if clash:
        raise UsageError(f"the name {min(clash)!r} is that of an array without a name")
    contents = {name: asarray(x)._leave("save()") for name, x in {**unnamed, **named}.items()}
    with open(file, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, data in contents.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, data, allow_pickle=False)


def load(file: str | os.PathLike[str]) -> Any:
    """What ``save`` wrote. Never runs pickled code.

    file: a path.

    Returns an array, a dict, or a list where no array had a name, of the shapes and dtypes that were written.

    >>> import tempfile
    >>> from blockfuse import np, npx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     npx.save(f"{folder}/arrays", {"a": np.ones(2), "b": np.zeros(1)})
    ...     npx.load(f"{folder}/arrays")
    {'a': array([1., 1.]), 'b': array([0.])}
    """
    interpreter.current().impure("reads a file")
    with open(file, "rb") as stream:
        contents = numpy.load(stream, allow_pickle=False)
        if isinstance(contents, numpy.ndarray):
            return ndarray(contents)
        arrays = {name: ndarray(contents[name]) for name in contents.files}
    names = [f"{_UNNAMED_PREFIX}{n}" for n in range(len(arrays))]
    return [arrays[name] for name in names] if list(arrays) == names else arrays
