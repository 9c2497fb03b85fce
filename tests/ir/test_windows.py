"""Convolution and pooling against torch: strides, dilations, borders, groups and layouts; ties; what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import autograd, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError

torch = pytest.importorskip("torch")
F = torch.nn.functional

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
CHANNELS_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "float16": 2e-3}


def held(
    ours: Callable[..., ndarray],
    theirs: Callable[..., Any],
    operands: list[numpy.ndarray],
    dtype: str = "float64",
) -> None:
    """Results and gradients are torch's, in float64; those of narrower dtypes are near torch's in float64."""
    arrays = [ndarray(x.astype(dtype)) for x in operands]
    tensors = [torch.tensor(x.astype(dtype).astype("float64"), requires_grad=True) for x in operands]
    for x in arrays:
        x.attach_grad()
    with autograd.record():
        out = ours(*arrays)
    wanted = theirs(*tensors)
    head = numpy.random.default_rng(1).uniform(0.5, 1.5, out.shape).astype(dtype)
    out.backward(ndarray(head))
    wanted.backward(torch.tensor(head.astype("float64")))
    assert out.dtype == dtype
    near(out, wanted.detach(), dtype)
    for x, tensor in zip(arrays, tensors, strict=True):
        near(x.grad, tensor.grad, dtype)


def near(found: ndarray, wanted: Any, dtype: str) -> None:
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    numpy.testing.assert_allclose(found.asnumpy(), wanted.numpy(), rtol=0, atol=TOLERANCE[dtype] * scale)


class Drawn:
    """Settings of a window along one to three axes, and an input that it fits into."""

    def __init__(self, seed: int) -> None:
        self.rng, draw = numpy.random.default_rng(seed), random.Random(seed)
        self.axes = n = draw.choice([1, 2, 2, 3])
        self.groups = draw.choice([1, 1, 2, 3])
        self.channels, self.units = self.groups * draw.choice([1, 2]), self.groups * draw.choice([1, 2, 3])
        self.kernel = tuple(draw.randint(1, 3) for _ in range(n))
        self.stride = tuple(draw.randint(1, 3) for _ in range(n))
        self.dilation = tuple(draw.randint(1, 2) for _ in range(n))
        self.pad = tuple(draw.randint(0, 2) for _ in range(n))
        self.batch, self.ceil, self.counts_pad = (
            draw.choice([1, 2, 3]),
            draw.random() < 0.5,
            draw.random() < 0.5,
        )
        self.extra = tuple(draw.randint(0, s - 1) for s in self.stride)
        self.last = draw.random() < 0.5
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        self.sizes = tuple(
            max(draw.randint(1, 7), span - 2 * p, k)
            for span, p, k in zip(spans, self.pad, self.kernel, strict=True)
        )

    def array(self, *shape: int) -> numpy.ndarray:
        return self.rng.normal(size=shape)

    def there(self, x: numpy.ndarray) -> numpy.ndarray:
        """An array in the layout that is drawn."""
        return numpy.moveaxis(x, 1, -1) if self.last else x

    def back(self, x: Any) -> Any:
        return torch.movedim(x, -1, 1) if self.last else x

    @property
    def layout(self) -> str | None:
        return CHANNELS_LAST[self.axes] if self.last else None


SEEDS = [pytest.param(seed, id=str(seed)) for seed in range(120)]
drawn = pytest.mark.parametrize("seed", SEEDS)


@pytest.mark.spread(12)
@drawn
def test_convolution_and_its_gradients_are_those_of_torch(seed: int) -> None:
    d = Drawn(seed)
    weight = d.array(d.units, d.channels // d.groups, *d.kernel)
    settings = {"stride": d.stride, "padding": d.pad, "dilation": d.dilation, "groups": d.groups}

    def theirs(x: Any, w: Any, b: Any) -> Any:
        found = CONVOLUTIONS[d.axes](d.back(x), d.back(w), b, **settings)
        return torch.movedim(found, 1, -1) if d.last else found

    def ours(x: ndarray, w: ndarray, b: ndarray) -> ndarray:
        return npx.convolution(
            *(x, w, b, d.kernel),
            stride=d.stride,
            dilate=d.dilation,
            pad=d.pad,
            num_filter=d.units,
            num_group=d.groups,
            layout=d.layout,
        )

    x = d.array(d.batch, d.channels, *d.sizes)
    held(ours, theirs, [d.there(x), d.there(weight), d.array(d.units)])


@pytest.mark.spread(12)
@drawn
def test_deconvolution_and_its_gradients_are_those_of_torch(seed: int) -> None:
    d = Drawn(seed)
    reach = [
        (n - 1) * s + (k - 1) * step + 1 - 2 * p + e
        for n, s, k, step, p, e in zip(d.sizes, d.stride, d.kernel, d.dilation, d.pad, d.extra, strict=True)
    ]
    if min(reach) < 1:
        pytest.skip("nothing is left of it")
    weight = d.array(d.channels, d.units // d.groups, *d.kernel)
    held(
        lambda x, w, b: npx.deconvolution(
            *(x, w, b, d.kernel),
            stride=d.stride,
            dilate=d.dilation,
            pad=d.pad,
            adj=d.extra,
            num_filter=d.units,
            num_group=d.groups,
            no_bias=False,
        ),
        lambda x, w, b: TRANSPOSED[d.axes](x, w, b, d.stride, d.pad, d.extra, d.groups, d.dilation),
        [d.array(d.batch, d.channels, *d.sizes), weight, d.array(d.units)],
    )


@pytest.mark.spread(12)
@drawn
def test_pooling_and_its_gradients_are_those_of_torch(seed: int) -> None:
    d = Drawn(seed)
    x = d.array(d.batch, 2, *d.sizes).round(0)  # with ties
    pad = tuple(min(p, k // 2) for p, k in zip(d.pad, d.kernel, strict=True))
    settings: dict[str, Any] = {
        "kernel": d.kernel,
        "stride": d.stride,
        "pad": pad,
        "pooling_convention": "full" if d.ceil else "valid",
    }
    window = (d.kernel, d.stride, pad)
    held(lambda x: npx.pooling(x, **settings), lambda x: MAXIMA[d.axes](x, *window, ceil_mode=d.ceil), [x])
    held(
        lambda x: npx.pooling(x, pool_type="avg", count_include_pad=d.counts_pad, **settings),
        lambda x: AVERAGES[d.axes](x, *window, ceil_mode=d.ceil, count_include_pad=d.counts_pad),
        [x],
    )
    wanted = tuple(reversed(d.kernel))
    held(lambda x: npx.adaptive_avg_pooling(x, wanted), lambda x: ADAPTIVE[d.axes](x, wanted), [x])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_narrow_floats_are_near_torch(dtype: str) -> None:
    rng = numpy.random.default_rng(3)
    x, w, b = rng.normal(size=(2, 3, 9, 8)), rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4)
    held(
        lambda x, w, b: npx.convolution(x, w, b, stride=2, pad=1),
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1),
        [x, w, b],
        dtype,
    )
    held(
        lambda x: npx.pooling(x, (3, 3), 2, pool_type="avg"),
        lambda x: F.avg_pool2d(x, 3, 2),
        [x],
        dtype,
    )
    held(lambda x: npx.pooling(x, (3, 3), 2), lambda x: F.max_pool2d(x, 3, 2), [x], dtype)


@pytest.mark.parametrize("kernel", [(2, 2), (9, 9), (12, 1)])
def test_windows_of_every_size_and_global_ones_are_those_of_torch(kernel: tuple[int, int]) -> None:
    x = numpy.random.default_rng(4).normal(size=(2, 3, 12, 9)).round(1)
    held(lambda x: npx.pooling(x, kernel), lambda x: F.max_pool2d(x, kernel, 1), [x])
    held(lambda x: npx.pooling(x, kernel, pool_type="avg"), lambda x: F.avg_pool2d(x, kernel, 1), [x])
    held(lambda x: npx.pooling(x, global_pool=True), lambda x: F.adaptive_max_pool2d(x, 1), [x])
    held(lambda x: npx.pooling(x, kernel, pool_type="lp"), lambda x: F.lp_pool2d(x, 2, kernel, 1), [x])


def test_a_nan_wins_a_maximum_and_takes_the_gradient() -> None:
    x = numpy.array([[[1.0, numpy.nan, 3.0, 2.0], [numpy.nan, 4.0, -numpy.inf, -numpy.inf]]])
    held_with_nan(lambda x: npx.pooling(x, (2,), 2), lambda x: F.max_pool1d(x, 2), x)
    held_with_nan(lambda x: npx.pooling(x, global_pool=True), lambda x: F.max_pool1d(x, 4), x)


def held_with_nan(ours: Callable[..., ndarray], theirs: Callable[..., Any], x: numpy.ndarray) -> None:
    array, tensor = ndarray(x), torch.tensor(x, requires_grad=True)
    array.attach_grad()
    with autograd.record():
        out = ours(array)
    out.backward()
    wanted = theirs(tensor)
    wanted.sum().backward()
    numpy.testing.assert_array_equal(out.asnumpy(), wanted.detach().numpy())
    numpy.testing.assert_array_equal(array.grad.asnumpy(), tensor.grad.numpy())


def test_an_infinity_in_a_border_of_a_maximum_is_no_element() -> None:
    x = np.full((1, 1, 2), -numpy.inf)
    assert npx.pooling(x, (2,), 1, pad=1).asnumpy().tolist() == [[[-numpy.inf] * 3]]


def test_the_root_of_nothing_has_no_infinite_gradient() -> None:
    x = np.zeros((1, 1, 4))
    x.attach_grad()
    with autograd.record():
        out = npx.pooling(x, (2,), 2, pool_type="lp")
    out.backward()
    assert not x.grad.asnumpy().any()


def test_batches_may_be_empty() -> None:
    x, w = np.zeros((0, 3, 8, 8)), np.ones((4, 3, 3, 3))
    for array in (x, w):
        array.attach_grad()
    with autograd.record():
        out = npx.pooling(npx.convolution(x, w, pad=1), (2, 2), 2)
    out.backward()
    assert out.shape == (0, 4, 4, 4)
    assert x.grad.shape == x.shape
    assert not w.grad.asnumpy().any()


def test_large_batches_are_convolved_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockfuse.ir.operators.convolution._MAX_COPIED_ELEMENTS", 100)
    rng = numpy.random.default_rng(3)
    held(
        lambda x, w: npx.convolution(x, w, num_group=2),
        lambda x, w: F.conv2d(x, w, groups=2),
        [rng.normal(size=(5, 2, 4, 4)), rng.normal(size=(2, 1, 3, 3))],
    )


def test_target_shape_decides_what_is_cut_off() -> None:
    x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 4, 4))
    assert npx.deconvolution(x, w, stride=2, target_shape=(6, 6)).shape == (1, 1, 6, 6)


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x, w: npx.convolution(x, w),
            ShapeError,
            "windows of 5 x 5 do not fit into 4 x 4 elements: the input has 4 x 4",
        ),
        (
            lambda x, w: npx.convolution(x[:, :2], w, pad=1),
            ShapeError,
            "2 channels, and the weight expects 3",
        ),
        (lambda x, w: npx.convolution(x[0], w), ShapeError, "expects an input of layout NCHW"),
        (lambda x, w: npx.convolution(x, w, np.ones(3), pad=1), ShapeError, "the bias has shape"),
        (lambda x, w: npx.convolution(x, w, pad=(1, 1, 1)), UsageError, "pad needs 2 numbers from 0 on"),
        (lambda x, w: npx.convolution(x, w, pad=1, stride=0), UsageError, "stride needs 2 numbers from 1 on"),
        (lambda x, w: npx.convolution(x, w, pad=1, stride=1.5), UsageError, "stride must be an int"),
        (lambda x, w: npx.convolution(x, w, layout="NWC"), UsageError, "is not one of NCHW, NHWC"),
        (lambda x, w: npx.convolution(x, w, num_filter=3), ShapeError, "not one of num_filter=3"),
        (lambda x, w: npx.deconvolution(x, w), ShapeError, "the input needs 2 channels"),
        (lambda x, w: npx.pooling(x, (5, 5)), ShapeError, "windows of 5 x 5 do not fit"),
        (lambda x, w: npx.pooling(x, (2, 2), pad=2), UsageError, "a window needs an element"),
        (lambda x, w: npx.pooling(x, (2, 2), pool_type="mean"), UsageError, "there are max, avg, sum, lp"),
        (lambda x, w: npx.pooling(x[0, 0]), ShapeError, "1 to 3 sizes"),
    ],
)
def test_what_does_not_fit_is_told(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(np.ones((2, 3, 4, 4)), np.ones((2, 3, 5, 5)))
