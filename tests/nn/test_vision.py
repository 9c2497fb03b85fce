"""Transforms of images against plain NumPy, and datasets read from files of their formats."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import nn, np
from blockfuse.gluon import data
from blockfuse.gluon.data.vision import CIFAR10, CIFAR100, MNIST, FashionMNIST, transforms
from blockfuse.ir.errors import ShapeError, UsageError

RANDOM = numpy.random.default_rng(3)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(5)


def image(height: int = 6, width: int = 8, dtype: str = "uint8", *batch: int) -> numpy.ndarray:
    return RANDOM.integers(0, 256, (*batch, height, width, 3)).astype(dtype)


# -- transforms ----------------------------------------------------------------------------------------------


def resized_by_hand(x: numpy.ndarray, width: int, height: int) -> numpy.ndarray:
    """Bilinear, one element at a time."""
    rows, columns = x.shape[:2]
    out = numpy.empty((height, width, x.shape[2]))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            z = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(z)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            v, w = y - top, z - left
            out[i, j] = (1 - v) * ((1 - w) * x[top, left] + w * x[top, right]) + v * (
                (1 - w) * x[below, left] + w * x[below, right]
            )
    return out


@pytest.mark.parametrize(("width", "height"), [(8, 6), (16, 12), (5, 4), (1, 1), (3, 13)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bilinear_resizing_of_floats(width: int, height: int, dtype: str) -> None:
    x = image(dtype=dtype)
    found = transforms.Resize((width, height))(np.array(x))
    assert found.dtype == dtype
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    numpy.testing.assert_allclose(
        found.asnumpy(), resized_by_hand(x.astype("float64"), width, height), atol=tolerance
    )


def test_bilinear_resizing_of_bytes_rounds() -> None:
    x = image()
    found = transforms.Resize((5, 9))(np.array(x)).asnumpy()
    assert found.dtype == numpy.uint8
    assert abs(found - resized_by_hand(x.astype("float64"), 5, 9)).max() <= 0.5 + 1e-4


def test_nearest_resizing() -> None:
    x = image(4, 6)
    found = transforms.Resize((3, 8), interpolation=0)(np.array(x)).asnumpy()
    numpy.testing.assert_array_equal(found, x[numpy.arange(8) // 2][:, ::2])


def test_sizes() -> None:
    x = np.array(image(6, 12))
    assert transforms.Resize(4)(x).shape == (4, 4, 3)
    assert transforms.Resize((4, 5))(x).shape == (5, 4, 3)
    assert transforms.Resize(3, keep_ratio=True)(x).shape == (3, 6, 3)
    assert transforms.Resize(3, keep_ratio=True)(np.array(image(12, 6))).shape == (6, 3, 3)
    assert transforms.Resize((6, 6))(np.array(image(6, 12, "uint8", 2))).shape == (2, 6, 6, 3)
    for size in (0, (1, 2, 3), (0, 1), -1):
        with pytest.raises(UsageError, match="size="):
            transforms.Resize(size)
    with pytest.raises(UsageError, match="interpolation=2"):
        transforms.Resize(3, interpolation=2)


def test_center_crop() -> None:
    x = image(7, 9)
    numpy.testing.assert_array_equal(transforms.CenterCrop((5, 3))(np.array(x)).asnumpy(), x[2:5, 2:7])
    numpy.testing.assert_array_equal(transforms.CenterCrop(7)(np.array(x)).asnumpy(), x[:, 1:8])
    larger = transforms.CenterCrop((18, 18))(np.array(x.astype("float64"))).asnumpy()
    numpy.testing.assert_allclose(larger, resized_by_hand(x[:, 1:8].astype("float64"), 18, 18))


@pytest.mark.parametrize(
    ("flip", "axis"), [(transforms.RandomFlipLeftRight, 1), (transforms.RandomFlipTopBottom, 0)]
)
def test_flips(flip: Callable[..., Any], axis: int) -> None:
    x = image()
    numpy.testing.assert_array_equal(flip(1)(np.array(x)).asnumpy(), numpy.flip(x, axis))
    numpy.testing.assert_array_equal(flip(0)(np.array(x)).asnumpy(), x)
    flipped = [bool((flip()(np.array(x)).asnumpy() != x).any()) for _ in range(100)]
    assert 25 < sum(flipped) < 75
    with pytest.raises(UsageError):
        flip(1.5)


def test_random_resized_crop_is_a_part_and_follows_the_seed() -> None:
    rows, columns = numpy.mgrid[:20, :30]
    x = np.array(numpy.stack([rows, columns], -1), dtype="float32")
    crop = transforms.RandomResizedCrop((5, 6), scale=(0.1, 0.5))
    np.random.seed(1)
    first = [crop(x).asnumpy() for _ in range(20)]
    np.random.seed(1)
    assert all((crop(x).asnumpy() == one).all() for one in first)
    assert all(one.shape == (6, 5, 2) for one in first)
    assert all((numpy.diff(one[..., 0], axis=0) > 0).all() for one in first)
    assert len({one.tobytes() for one in first}) == 20
    never = transforms.RandomResizedCrop(4, ratio=(100, 200))
    assert never(x).tolist() == transforms.CenterCrop(4)(x).tolist()
    with pytest.raises(UsageError):
        transforms.RandomResizedCrop(4, scale=(0.5, 0.1))


def test_to_tensor_and_normalize() -> None:
    x = image(4, 5, "uint8", 2)
    tensor = transforms.ToTensor()(np.array(x))
    assert tensor.dtype == numpy.float32
    numpy.testing.assert_array_equal(tensor.asnumpy(), x.transpose(0, 3, 1, 2).astype("float32") / 255)
    mean, std = numpy.array([0.1, 0.2, 0.3], "float32"), numpy.array([0.5, 0.6, 0.7], "float32")
    found = transforms.Normalize(tuple(mean.tolist()), std.tolist())(tensor)
    wanted = (tensor.asnumpy() - mean[:, None, None]) / std[:, None, None]
    numpy.testing.assert_array_equal(found.asnumpy(), wanted)
    assert found.dtype == numpy.float32
    assert transforms.Normalize(0.5, 2)(np.ones((3, 1, 1))).tolist() == [[[0.25]]] * 3


def test_images_that_are_none() -> None:
    for transform in (transforms.ToTensor(), transforms.Resize(2), transforms.CenterCrop(2)):
        for shape in ((4, 4), (0, 4, 3)):
            with pytest.raises(ShapeError, match=r"\(height, width, channels\)"):
                transform(np.zeros(shape))
    with pytest.raises(ShapeError, match="3 channels"):
        transforms.Normalize([1, 2, 3], 1)(np.zeros((2, 4, 4)))
    with pytest.raises(ShapeError, match="3 channels"):
        transforms.Normalize([1, 2, 3], 1)(np.zeros((4, 4)))
    with pytest.raises(UsageError, match="floats"):
        transforms.Normalize(0, 1)(np.zeros((3, 4, 4), dtype="uint8"))
    with pytest.raises(UsageError, match="must not be 0"):
        transforms.Normalize(0, [1, 0, 1])


def test_compose_takes_blocks_and_functions() -> None:
    class Halve(nn.Block):
        def forward(self, x: Any) -> Any:
            return x / 2

    steps = transforms.Compose([transforms.Cast("float32"), Halve(), lambda x: x + 1, transforms.Resize(2)])
    assert steps(np.ones((4, 4, 1), dtype="uint8")).tolist() == [[[1.5]] * 2] * 2
    assert len(steps) == 4
    assert transforms.Compose([])(3) == 3


def test_numpy_arrays_are_taken_and_kept() -> None:
    x = image()
    before = x.copy()
    for transform in (transforms.ToTensor(), transforms.Resize(3), transforms.RandomFlipLeftRight(1)):
        assert type(transform(x)) is numpy.ndarray  # as every block gives NumPy's arrays for NumPy's
    assert (x == before).all()


def test_transforms_compile() -> None:
    steps = transforms.Compose(
        [transforms.Resize((5, 4)), transforms.ToTensor(), transforms.Normalize(0.1, 0.2)]
    )
    inputs = [np.array(image()) for _ in range(4)]
    wanted = [steps(x).asnumpy() for x in inputs]
    steps.hybridize()
    for x, one in zip(inputs, wanted, strict=True):
        numpy.testing.assert_allclose(steps(x).asnumpy(), one, atol=1e-6)


def test_random_transforms_draw_the_same_hybridized() -> None:
    flip = transforms.RandomFlipLeftRight()
    compiled = blockfuse.hybridize(lambda x: flip(x))
    x = np.array(image(dtype="float32"))
    np.random.seed(2)
    wanted = [flip(x).tolist() for _ in range(10)]
    np.random.seed(2)
    assert [compiled(x).tolist() for _ in range(10)] == wanted


def test_augmented_batches_follow_the_seed_whoever_makes_them() -> None:
    augment = transforms.Compose(
        [transforms.RandomResizedCrop(4), transforms.RandomFlipTopBottom(), transforms.ToTensor()]
    )
    images = data.ArrayDataset(np.array(image(6, 8, "uint8", 10)), list(range(10))).transform_first(augment)
    found = []
    for options in ({}, {"num_workers": 2}, {"num_workers": 2, "thread_pool": True}):
        np.random.seed(9)
        loader = data.DataLoader(images, 4, shuffle=True, **options)
        found.append([(x.tolist(), y.tolist()) for x, y in loader])
    assert found[0] == found[1] == found[2]


# -- datasets ------------------------------------------------------------------------------------------------


def idx(values: numpy.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def digits(tmp_path: Path) -> tuple[Path, numpy.ndarray, numpy.ndarray]:
    images, labels = RANDOM.integers(0, 256, (7, 28, 28), "uint8"), RANDOM.integers(0, 10, 7, "uint8")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path, images, labels


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_mnist_is_read(kind: Any, digits: Any) -> None:
    folder, images, labels = digits
    found = kind(folder)
    assert len(found) == 7
    x, y = found[-1]
    assert (x.shape, x.dtype, y.dtype) == ((28, 28, 1), numpy.uint8, numpy.int32)
    assert (x.asnumpy()[..., 0] == images[-1]).all()
    assert y == labels[-1]
    assert found[2:5][0].shape == (3, 28, 28, 1)
    X, Y = next(iter(data.DataLoader(found, 7)))
    assert (X.asnumpy()[..., 0] == images).all()
    assert Y.tolist() == labels.tolist()
    transformed = kind(str(folder), transform=lambda x, y: (x.astype("float32"), y + 1))
    X, Y = next(iter(data.DataLoader(transformed, 7)))
    assert X.dtype == numpy.float32
    assert Y.tolist() == (labels + 1).tolist()


def test_missing_files_are_named(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, _ = digits
    with pytest.raises(
        UsageError, match=r"MNIST reads t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte .* put them there"
    ):
        MNIST(folder, train=False)
    monkeypatch.setenv("HOME", str(folder))
    for kind, name in (
        (FashionMNIST, "fashion-mnist"),
        (CIFAR10, "data_batch_5.bin"),
        (CIFAR100, "train.bin"),
    ):
        with pytest.raises(UsageError, match=name):
            kind()


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08\x03", b"\0\0\x08\x01\0\0\0\x05abc", b"\0\0\x0d\x01\0\0\0\0"]
)
def test_files_that_are_not_whole(content: bytes, digits: Any) -> None:
    folder, _, _ = digits
    (folder / "train-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(UsageError, match=r"labels-idx1-ubyte is not an IDX file"):
        MNIST(folder)


def test_cifar_is_read(tmp_path: Path) -> None:
    records = RANDOM.integers(0, 256, (10, 3073), "uint8")
    for n in range(5):
        (tmp_path / f"data_batch_{n + 1}.bin").write_bytes(records[2 * n : 2 * n + 2].tobytes())
    found = CIFAR10(tmp_path)
    x, y = found[9]
    assert (len(found), x.shape, y) == (10, (32, 32, 3), records[9, 0])
    assert (x.asnumpy() == records[9, 1:].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    pairs = RANDOM.integers(0, 256, (4, 3074), "uint8")
    (tmp_path / "test.bin").write_bytes(pairs.tobytes())
    for fine in (False, True):
        assert CIFAR100(tmp_path, fine_label=fine, train=False)[1][1] == pairs[1, int(fine)]
    (tmp_path / "test.bin").write_bytes(b"short")
    with pytest.raises(UsageError, match="not whole"):
        CIFAR100(tmp_path, train=False)
