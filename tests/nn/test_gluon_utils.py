"""Slices for devices, gradients clipped by their norm, and files that are not downloaded."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import np, npx
from blockfuse.gluon import utils
from blockfuse.ir.errors import ShapeError, UsageError


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("count", range(1, 5))
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_uneven_slices_are_those_of_numpy(size: int, count: int, axis: int) -> None:
    x = numpy.arange(2 * size).reshape((size, 2) if axis == 0 else (2, size))
    if size < count:
        with pytest.raises(ShapeError, match="too small"):
            utils.split_data(x, count, axis, even_split=False)
        return
    wanted = numpy.array_split(x, count, axis)
    found = utils.split_data(np.array(x), count, axis, even_split=False)
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted]


def test_slices_that_must_be_even() -> None:
    assert [part.tolist() for part in utils.split_data([1, 2, 3, 4], 2)] == [[1, 2], [3, 4]]
    with pytest.raises(ShapeError, match=r"shape \(5,\) cannot be split into 2 equal slices"):
        utils.split_data(np.zeros(5), 2)
    for count in (0, -1):
        with pytest.raises(UsageError):
            utils.split_data(np.zeros(4), count)


def test_slices_share_memory() -> None:
    x = np.zeros(4)
    utils.split_data(x, 2)[1][:] = 1
    assert x.tolist() == [0, 0, 1, 1]


def test_a_slice_for_each_device() -> None:
    devices = [npx.cpu(0), npx.gpu(1)]
    x = np.arange(4)
    for found in (utils.split_and_load(x, devices), utils.split_and_load(x, device_list=devices)):
        assert [part.tolist() for part in found] == [[0, 1], [2, 3]]
    assert utils.split_and_load(x, [npx.cpu()])[0] is x
    assert [
        part.shape for part in utils.split_and_load(numpy.zeros((3, 5)), devices, 1, even_split=False)
    ] == [
        (3, 3),
        (3, 2),
    ]
    with pytest.raises(UsageError, match="one device or more"):
        utils.split_and_load(x, [])
    with pytest.raises(UsageError, match="not a device"):
        utils.split_and_load(x, ["here"])


# -- the global norm -----------------------------------------------------------------------------------------


def gradients(dtype: str = "float32") -> list[Any]:
    draws = numpy.random.default_rng(2)
    return [np.array(draws.normal(size=shape), dtype=dtype) for shape in ((3, 4), (5,), ())]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("check", [True, False])
def test_arrays_are_scaled_together(dtype: str, check: bool) -> None:
    arrays = gradients(dtype)
    before = [x.asnumpy().astype("float64") for x in arrays]
    norm = math.sqrt(sum((x**2).sum() for x in before))
    found = utils.clip_global_norm(arrays, 0.5, check_isfinite=check)
    assert type(found) is (float if check else np.ndarray)
    eps = float(numpy.finfo(dtype).eps)
    assert float(found) == pytest.approx(norm, rel=8 * max(eps, 1e-7) if dtype != "float64" else 1e-14)
    for x, old in zip(arrays, before, strict=True):
        assert x.dtype == dtype
        numpy.testing.assert_allclose(x.asnumpy(), old * 0.5 / (norm + 1e-8), rtol=4 * eps, atol=eps)


def test_small_arrays_keep_their_bits() -> None:
    arrays = gradients()
    before = [x.copy() for x in arrays]
    for max_norm in (100.0, 1e30):
        utils.clip_global_norm(arrays, max_norm)
    assert all((x == old).all() for x, old in zip(arrays, before, strict=True))
    zeros = [np.zeros(3)]
    assert utils.clip_global_norm(zeros, 1.0) == 0
    assert zeros[0].tolist() == [0, 0, 0]


def test_squares_of_float16_do_not_overflow() -> None:
    arrays = [np.full((4,), 1000.0, dtype="float16")]
    assert utils.clip_global_norm(arrays, 1.0) == 2000
    numpy.testing.assert_allclose(arrays[0].asnumpy(), 0.5, rtol=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(value: float) -> None:
    arrays = [np.array([value, 1.0]), np.array([2.0])]
    with pytest.warns(UserWarning, match="nan or inf"):
        utils.clip_global_norm(arrays, 1.0)
    assert arrays[0][1].item() == 1
    assert arrays[1].tolist() == [2]
    with pytest.raises(UsageError):
        utils.clip_global_norm([], 1.0)


def test_clipping_compiles() -> None:
    def clipped(x: Any, y: Any) -> Any:
        arrays = [x * 1, y * 1]
        norm = utils.clip_global_norm(arrays, 1.0, check_isfinite=False)
        return (norm, *arrays)

    compiled = blockfuse.hybridize(clipped)
    for scale in (0.1, 1.0, 3.0, 0.2):
        x, y, _ = (scale * g for g in gradients())
        for found, wanted in zip(compiled(x, y), clipped(x, y), strict=True):
            numpy.testing.assert_allclose(found.asnumpy(), wanted.asnumpy(), rtol=1e-6)
    assert "1 of them eager" in str(compiled.explain())


# -- files ---------------------------------------------------------------------------------------------------


def test_files_are_checked_and_not_downloaded(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"abc")
    digest = hashlib.sha1(b"abc").hexdigest()
    assert utils.check_sha1(file, digest.upper())
    assert not utils.check_sha1(file, "0" * 40)
    url = "https://example.org/weights.bin"
    assert utils.download(url, tmp_path) == str(file)
    assert utils.download(url, str(file), sha1_hash=digest) == str(file)
    with pytest.raises(
        UsageError, match=r"downloads nothing: get .*weights.bin and put it at .* has not SHA-1"
    ):
        utils.download(url, tmp_path, sha1_hash="0" * 40)
    with pytest.raises(UsageError, match="it is not there"):
        utils.download("https://example.org/other.bin", tmp_path)
