"""Well-known datasets of images, read from the files that their authors publish. Nothing is downloaded."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError
from blockfuse.nn.data.dataset import ArrayDataset, Rows

Folder = str | os.PathLike[str]
Transform = Callable[[Any, Any], Any]


class _Images(ArrayDataset):
    """Images (uint8, height x width x channels) and their labels (int32)."""

    def __init__(self, images: numpy.ndarray, labels: numpy.ndarray, transform: Transform | None) -> None:
        super().__init__(ndarray(images), labels.astype(numpy.int32))
        self._transform = transform

    def __getitem__(self, index: Any) -> Any:
        sample = super().__getitem__(index)
        return sample if self._transform is None else self._transform(*sample)

    def _rows(self) -> Rows | None:
        plain = type(self).__getitem__ is _Images.__getitem__ and self._transform is None
        return self._rows_of_parts() if plain else None


class MNIST(_Images):
    """Handwritten digits (LeCun et al. 1998): 60000 images of 28 x 28 x 1, uint8, and labels 0 to 9, int32.

    root: the folder of ``train-images-idx3-ubyte`` and the other three files, packed (``.gz``) or not; by default
    ``~/.mxnet/datasets/mnist``.
    train: False takes the 10000 images to test with.
    transform: ``transform(image, label)`` of each sample.

    Raises UsageError where files are missing, for nothing is downloaded, or not whole.

    >>> from blockfuse import gluon
    >>> gluon.data.vision.MNIST(root="pictures")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    blockfuse.ir.errors.UsageError: MNIST reads train-images-idx3-ubyte, ...
    """

    _name = "mnist"

    def __init__(
        self, root: Folder | None = None, train: bool = True, transform: Transform | None = None
    ) -> None:
        folder = _folder(root, self._name)
        names = [
            f"{'train' if train else 't10k'}-{part}" for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        images, labels = (_idx(path) for path in _found(type(self), folder, names))
        super().__init__(images[..., None], labels, transform)


class FashionMNIST(MNIST):
    """Articles of clothing in the format of ``MNIST`` (Xiao et al. 2017), whose arguments and errors it has.

    root: by default ``~/.mxnet/datasets/fashion-mnist``.

    >>> from blockfuse import gluon
    >>> gluon.data.vision.FashionMNIST(root="pictures")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    blockfuse.ir.errors.UsageError: FashionMNIST reads train-images-idx3-ubyte, ...
    """

    _name = "fashion-mnist"


class CIFAR10(_Images):
    """Photographs of ten kinds of things (Krizhevsky 2009): 50000 images of 32 x 32 x 3, uint8, and labels 0 to 9, int32.

    root: the folder of the binary version, ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, packed
    (``.gz``) or not; by default ``~/.mxnet/datasets/cifar10``.
    train: False takes the 10000 images to test with.
    transform: ``transform(image, label)`` of each sample.

    Raises UsageError where files are missing, for nothing is downloaded, or not whole.

    >>> from blockfuse import gluon
    >>> gluon.data.vision.CIFAR10(root="pictures")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    blockfuse.ir.errors.UsageError: CIFAR10 reads data_batch_1.bin, ...
    """

    def __init__(
        self, root: Folder | None = None, train: bool = True, transform: Transform | None = None
    ) -> None:
        names = [f"data_batch_{n}.bin" for n in range(1, 6)] if train else ["test_batch.bin"]
        records = _records(_found(CIFAR10, _folder(root, "cifar10"), names), labels=1)
        super().__init__(_cifar_images(records, 1), records[:, 0], transform)


class CIFAR100(_Images):
    """Photographs of 100 kinds of things in 20 groups, as those of ``CIFAR10``, whose other arguments and errors it has.

    root: the folder of the binary version, ``train.bin`` and ``test.bin``; by default ``~/.mxnet/datasets/cifar100``.
    fine_label: label by kind, 0 to 99, rather than by group, 0 to 19.

    >>> from blockfuse import gluon
    >>> gluon.data.vision.CIFAR100(root="pictures")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    blockfuse.ir.errors.UsageError: CIFAR100 reads train.bin (or the same with .gz) from pictures, ...
    """

    def __init__(
        self,
        root: Folder | None = None,
        fine_label: bool = False,
        train: bool = True,
        transform: Transform | None = None,
    ) -> None:
        names = ["train.bin" if train else "test.bin"]
        records = _records(_found(CIFAR100, _folder(root, "cifar100"), names), labels=2)
        super().__init__(_cifar_images(records, 2), records[:, int(fine_label)], transform)


# -- files ---------------------------------------------------------------------------------------------------


def _folder(root: Folder | None, name: str) -> Path:
    """The folder that the user names, or else where Gluon keeps its downloads."""
    return Path("~/.mxnet/datasets", name).expanduser() if root is None else Path(root).expanduser()


def _found(dataset: type, folder: Path, names: Sequence[str]) -> list[Path]:
    """The path of each file, packed or not. Raises UsageError naming those that are missing."""
    interpreter.current().impure("reads files")
    paths = [
        next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)
        for name in names
    ]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise UsageError(
            f"{dataset.__name__} reads {', '.join(missing)} (or the same with .gz) from {folder}, where they are not; "
            f"blockfuse downloads nothing: put them there, or write root= for another folder"
        )
    return [path for path in paths if path is not None]


def _bytes_of(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        return stream.read()


def _idx(path: Path) -> numpy.ndarray:
    """An array of bytes in the IDX format: 0, 0, type 8, the number of axes, a big-endian size for each, the data."""
    content = _bytes_of(path)
    kind, axes = content[2:4] if content[:2] == b"\0\0" and len(content) > 3 else (0, 0)
    shape = tuple(int(n) for n in numpy.frombuffer(content[4 : 4 + 4 * axes], ">u4"))
    if kind != 8 or len(content) != 4 + 4 * axes + int(numpy.prod(shape)):
        raise UsageError(f"{path} is not an IDX file of bytes, or not whole: get it again")
    return numpy.frombuffer(content, numpy.uint8, offset=4 + 4 * axes).reshape(shape).copy()


_PIXELS = 3 * 32 * 32


def _records(paths: Sequence[Path], labels: int) -> numpy.ndarray:
    """Rows of labels and then pixels."""
    contents = [_bytes_of(path) for path in paths]
    for path, content in zip(paths, contents, strict=True):
        if len(content) % (labels + _PIXELS):
            raise UsageError(f"{path} is no file of CIFAR's binary version, or not whole: get it again")
    return numpy.frombuffer(b"".join(contents), numpy.uint8).reshape(-1, labels + _PIXELS)


def _cifar_images(records: numpy.ndarray, labels: int) -> numpy.ndarray:
    return records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()
