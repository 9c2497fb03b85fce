"""Images from files: pixels of one, and a dataset of a folder of them. Needs Pillow (``pip install blockfuse[images]``)."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError
from blockfuse.nn.data.dataset import Dataset
from blockfuse.nn.data.vision.datasets import Folder, Transform
from blockfuse.nn.data.vision.resampling import checked_interpolation, checked_size, image_of, resized

_MODES = {0: "L", 1: "RGB"}  # Gluon's flag -> Pillow's name for the pixels
_ENDINGS = (".jpg", ".jpeg", ".png")
_ARRAYS = ".npy"


def imread(filename: str | os.PathLike[str], flag: int = 1) -> ndarray:
    """The pixels of the file ``filename``: uint8, (height, width, 3) in the order red, green, blue.

    flag: 1, or 0 for grey pixels (height, width, 1).

    Raises UsageError where the file is no image, or Pillow is not installed, and for another flag; FileNotFoundError where
    there is no file.

    >>> import tempfile
    >>> from PIL import Image
    >>> from blockfuse import image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (8, 6)).save(f"{folder}/black.png")
    ...     image.imread(f"{folder}/black.png").shape
    (6, 8, 3)
    """
    interpreter.current().impure("reads a file")
    if flag not in _MODES:
        raise UsageError(f"flag={flag!r}; use 1 for colours or 0 for grey")
    pillow = _pillow()
    try:
        with pillow.open(filename) as image:
            pixels = numpy.array(image.convert(_MODES[flag]))
    except pillow.UnidentifiedImageError as error:
        raise UsageError(f"{filename} is no image that Pillow can read") from error
    return ndarray(pixels if pixels.ndim == 3 else pixels[..., None])


def _pillow() -> Any:
    """``PIL.Image``, which nothing but reading files needs."""
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise UsageError(
            "images are read by Pillow, which is not installed: pip install blockfuse[images]"
        ) from error


def imresize(src: Any, w: int, h: int, interp: int = 1) -> ndarray:
    """The image ``src``, (height, width, channels) of any dtype, which it keeps, in the size (h, w, channels).

    interp: 0 nearest, 1 bilinear, as ``transforms.Resize`` has them; UsageError for another, ShapeError for an image
    without channels.

    >>> from blockfuse import image, np
    >>> image.imresize(np.zeros((12, 8, 3), dtype="uint8"), 4, 6).shape
    (6, 4, 3)
    """
    width, height = checked_size((w, h))
    return resized(image_of(src, "imresize"), width, height, checked_interpolation(interp))


class ImageFolderDataset(Dataset):
    """Images in folders, one for each class: samples ``(image, label)``, read when they are asked for.

    root: the folder of the classes' folders, which are labelled 0, 1, ... in the order of their names, as ``synsets`` lists
    them.
    flag: see ``imread``, which gives the images.
    transform: ``transform(image, label)`` of each sample.

    ``items`` lists the paths and labels: those of ``.jpg``, ``.jpeg`` and ``.png``, and arrays in ``.npy``. Other files are
    left out with a warning. Raises UsageError where there is no such folder, or it has no folders with images.

    >>> import os, tempfile
    >>> from PIL import Image
    >>> from blockfuse import gluon
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/cats")
    ...     Image.new("RGB", (8, 6)).save(f"{folder}/cats/black.png")
    ...     data = gluon.data.vision.ImageFolderDataset(folder)
    ...     data.synsets, data[0][0].shape, data[0][1]
    (['cats'], (6, 8, 3), 0)
    """

    def __init__(self, root: Folder, flag: int = 1, transform: Transform | None = None) -> None:
        self._root, self._flag, self._transform = Path(root).expanduser(), flag, transform
        interpreter.current().impure("reads files")
        if not self._root.is_dir():
            raise UsageError(
                f"ImageFolderDataset reads the folders in {self._root}, and there is no such folder"
            )
        self.synsets: list[str] = []
        self.items: list[tuple[str, int]] = []
        for folder in sorted(self._root.iterdir()):
            if folder.is_dir():
                self._add(folder)
            else:
                warnings.warn(f"{folder} is no folder of a class, and is left out", UserWarning, stacklevel=2)
        if not self.items:
            raise UsageError(
                f"the folders in {self._root} have no images: expected {self._root}/CLASS/NAME with one of the endings "
                f"{', '.join((*_ENDINGS, _ARRAYS))}"
            )

    def _add(self, folder: Path) -> None:
        label = len(self.synsets)
        self.synsets.append(folder.name)
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in (*_ENDINGS, _ARRAYS):
                self.items.append((str(path), label))
            else:
                warnings.warn(f"{path} is no image, and is left out", UserWarning, stacklevel=3)

    def __getitem__(self, index: int) -> Any:
        path, label = self.items[index]
        image = ndarray(numpy.load(path)) if path.endswith(_ARRAYS) else imread(path, self._flag)
        return (image, label) if self._transform is None else self._transform(image, label)

    def __len__(self) -> int:
        return len(self.items)
