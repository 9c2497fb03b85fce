"""Layers of convolution and pooling: shapes, what the first call tells them, how they print, what they refuse; and nets
of them, eager, compiled, and trained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, gluon, nn, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.spread(3)

RNG = numpy.random.default_rng(5)


def image(*shape: int) -> ndarray:
    return np.array(RNG.normal(size=shape).astype("float32"))


# layer, shape of an input, that of the result, that of the weight
SHAPES: list[tuple[nn.Block, tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]] = [
    (nn.Conv1D(4, 3), (2, 3, 9), (2, 4, 7), (4, 3, 3)),
    (nn.Conv2D(4, (3, 2), strides=2, padding=1), (2, 3, 9, 8), (2, 4, 5, 5), (4, 3, 3, 2)),
    (nn.Conv2D(4, 3, groups=2, dilation=2), (2, 6, 9, 8), (2, 4, 5, 4), (4, 3, 3, 3)),
    (nn.Conv2D(4, 3, layout="NHWC"), (2, 9, 8, 3), (2, 7, 6, 4), (4, 3, 3, 3)),
    (nn.Conv3D(4, 3, padding=1), (1, 2, 4, 5, 6), (1, 4, 4, 5, 6), (4, 2, 3, 3, 3)),
    (nn.Conv1DTranspose(4, 3, strides=2, output_padding=1), (2, 3, 4), (2, 4, 10), (3, 4, 3)),
    (nn.Conv2DTranspose(4, 4, strides=2, padding=1), (2, 3, 4, 5), (2, 4, 8, 10), (3, 4, 4, 4)),
    (nn.Conv2DTranspose(4, 2, groups=2, layout="NHWC"), (2, 4, 5, 6), (2, 5, 6, 4), (6, 2, 2, 2)),
    (nn.Conv3DTranspose(2, 2), (1, 3, 2, 2, 2), (1, 2, 3, 3, 3), (3, 2, 2, 2, 2)),
    (nn.MaxPool1D(), (2, 3, 9), (2, 3, 4), None),
    (nn.MaxPool2D(3, 2, ceil_mode=True), (2, 3, 8, 8), (2, 3, 4, 4), None),
    (nn.MaxPool2D(2, layout="NHWC"), (2, 8, 6, 3), (2, 4, 3, 3), None),
    (nn.MaxPool3D(2, strides=1), (1, 2, 3, 3, 3), (1, 2, 2, 2, 2), None),
    (nn.AvgPool1D(4), (2, 3, 9), (2, 3, 2), None),
    (nn.AvgPool2D((2, 1), padding=(1, 0)), (2, 3, 8, 8), (2, 3, 5, 8), None),
    (nn.AvgPool3D(), (1, 2, 4, 4, 4), (1, 2, 2, 2, 2), None),
    (nn.GlobalMaxPool1D(), (2, 3, 9), (2, 3, 1), None),
    (nn.GlobalMaxPool2D(), (2, 3, 9, 8), (2, 3, 1, 1), None),
    (nn.GlobalMaxPool3D(), (2, 3, 9, 2, 2), (2, 3, 1, 1, 1), None),
    (nn.GlobalAvgPool1D(), (2, 3, 9), (2, 3, 1), None),
    (nn.GlobalAvgPool2D(layout="NHWC"), (2, 9, 8, 3), (2, 1, 1, 3), None),
    (nn.GlobalAvgPool3D(), (2, 3, 9, 2, 2), (2, 3, 1, 1, 1), None),
    (nn.ReflectionPad2D(2), (2, 3, 4, 5), (2, 3, 8, 9), None),
    (nn.PixelShuffle1D(3), (2, 6, 4), (2, 2, 12), None),
    (nn.PixelShuffle2D((2, 3)), (2, 12, 4, 5), (2, 2, 8, 15), None),
    (nn.PixelShuffle3D(2), (1, 8, 2, 2, 2), (1, 1, 4, 4, 4), None),
]


@pytest.mark.parametrize(
    ("layer", "given", "made", "weight"),
    SHAPES,
    ids=[str(n) + type(s[0]).__name__ for n, s in enumerate(SHAPES)],
)
def test_layers_learn_their_channels_and_give_shapes(
    layer: nn.Block, given: tuple[int, ...], made: tuple[int, ...], weight: tuple[int, ...] | None
) -> None:
    layer.initialize()
    assert layer(image(*given)).shape == made
    assert weight is None or layer.weight.shape == weight


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2D(6, 5, padding=2), "Conv2D(None -> 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))"),
        (
            nn.Conv1D(4, 3, dilation=2, groups=2, use_bias=False, activation="relu", in_channels=2),
            "Conv1D(2 -> 4, kernel_size=(3,), stride=(1,), dilation=(2,), groups=2, bias=False, Activation(relu))",
        ),
        (
            nn.Conv2DTranspose(3, 4, strides=2, output_padding=1, in_channels=8),
            "Conv2DTranspose(8 -> 3, kernel_size=(4, 4), stride=(2, 2), output_padding=(1, 1))",
        ),
        (
            nn.AvgPool2D(2),
            "AvgPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), ceil_mode=False, global_pool=False, "
            "pool_type=avg, layout=NCHW)",
        ),
        (nn.ReflectionPad2D(1), "ReflectionPad2D(padding=((1, 1), (1, 1)))"),
        (nn.PixelShuffle2D(2), "PixelShuffle2D((2, 2))"),
    ],
)
def test_layers_print_as_in_gluon(layer: nn.Block, text: str) -> None:
    assert repr(layer) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2D(0, 3), "channels=0"),
        (lambda: nn.Conv2D(4, 3, groups=3), "multiples of groups"),
        (lambda: nn.Conv2D(4, (3, 3, 3)), "kernel_size needs 2 numbers"),
        (lambda: nn.Conv2D(4, 3, strides=0), "strides needs 2 numbers from 1 on"),
        (lambda: nn.Conv2D(4, 3, layout="NCW"), "is not one of NCHW, NHWC"),
        (lambda: nn.Conv2D(4, 3, activation="step"), "there is no activation 'step'"),
        (lambda: nn.Conv2DTranspose(4, 3, output_padding=1), "output_padding below its strides"),
        (lambda: nn.MaxPool2D(2, padding=2), "padding below its pool_size"),
        (lambda: nn.ReflectionPad2D((1, 1)), "8 numbers"),
        (lambda: nn.PixelShuffle2D(0), "factor needs 2 numbers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2D(4, 3), (3, 8, 8), r"expects an input of 4 axes, NCHW; found one of shape \(3, 8, 8\)"),
        (nn.Conv2D(4, 3, in_channels=2), (1, 3, 8, 8), "expects 2 channels along axis 1"),
        (nn.Conv2D(4, 3, groups=2), (1, 3, 8, 8), "expects a multiple of 2 channels"),
        (nn.Conv2D(4, 9), (1, 3, 8, 8), "windows of 9 x 9 do not fit into 8 x 8"),
        (nn.Conv2DTranspose(4, 3, in_channels=2), (1, 3, 8, 8), "expects 2 channels along axis 1"),
        (nn.MaxPool1D(), (1, 3, 8, 8), "expects an input of 3 axes, NCW"),
        (nn.PixelShuffle2D(2), (1, 3, 8, 8), "a multiple of 4 channels"),
    ],
)
def test_inputs_that_do_not_fit_are_told(layer: nn.Block, shape: tuple[int, ...], message: str) -> None:
    layer.initialize()
    with pytest.raises(ShapeError, match=message):
        layer(image(*shape))


def test_pixels_are_shuffled_from_channels() -> None:
    x = np.arange(8).reshape(1, 4, 1, 2)
    assert nn.PixelShuffle2D(2)(x).asnumpy().tolist() == [[[[0, 2, 1, 3], [4, 6, 5, 7]]]]


def test_borders_are_mirrored() -> None:
    x = np.arange(9).reshape(1, 1, 3, 3)
    wanted = numpy.pad(x.asnumpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    numpy.testing.assert_array_equal(nn.ReflectionPad2D(1)(x).asnumpy(), wanted)


# -- nets --------------------------------------------------------------------------------------------------------


def lenet() -> nn.Block:
    return nn.Sequential(
        nn.Conv2D(6, 5, padding=2, activation="sigmoid"),
        nn.AvgPool2D(2, 2),
        nn.Conv2D(16, 5, activation="sigmoid"),
        nn.AvgPool2D(2, 2),
        nn.Dense(24, activation="sigmoid"),
        nn.Dense(10),
    )


class Residual(nn.Block):
    def __init__(self, channels: int, strides: int) -> None:
        super().__init__()
        self.first = nn.Conv2D(channels, 3, padding=1, strides=strides)
        self.second = nn.Conv2D(channels, 3, padding=1)
        self.beside = nn.Conv2D(channels, 1, strides=strides)
        self.norm, self.other = nn.BatchNorm(), nn.BatchNorm()

    def forward(self, x: ndarray) -> ndarray:
        y = npx.relu(self.norm(self.first(x)))
        return npx.relu(self.other(self.second(y)) + self.beside(x))


class Inception(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2D(3, 1, activation="relu")
        self.b = nn.Sequential(nn.Conv2D(2, 1, activation="relu"), nn.Conv2D(4, 3, padding=1))
        self.c = nn.Sequential(nn.MaxPool2D(3, 1, 1), nn.Conv2D(2, 1))

    def forward(self, x: ndarray) -> ndarray:
        return np.concatenate((self.a(x), self.b(x), self.c(x)), axis=1)


def residual() -> nn.Block:
    return nn.Sequential(
        nn.Conv2D(4, 7, 2, 3), nn.MaxPool2D(3, 2, 1), Residual(6, 2), nn.GlobalAvgPool2D(), nn.Dense(10)
    )


def inception() -> nn.Block:
    return nn.Sequential(
        Inception(), nn.MaxPool2D(3, 2, ceil_mode=True), Inception(), nn.GlobalMaxPool2D(), nn.Dense(10)
    )


def mobile() -> nn.Block:
    return nn.Sequential(
        nn.Conv2D(6, 3, 2, 1, layout="NHWC", activation="relu"),
        nn.Conv2D(6, 3, 1, 1, groups=6, layout="NHWC", activation="relu"),
        nn.Conv2D(8, 3, 1, 1, groups=2, layout="NHWC"),
        nn.GlobalAvgPool2D(layout="NHWC"),
        nn.Dense(10),
    )


def decoder() -> nn.Block:
    return nn.Sequential(
        nn.Conv2D(8, 3, 2, 1, activation="relu"),
        nn.Conv2DTranspose(4, 4, 2, 1, activation="relu"),
        nn.Conv2DTranspose(2, 3, 2, 1, output_padding=1),
        nn.AvgPool2D(7),
        nn.Dense(10),
    )


NETS: dict[str, tuple[Callable[[], nn.Block], tuple[int, ...]]] = {
    "lenet": (lenet, (1, 28, 28)),
    "residual": (residual, (3, 32, 32)),
    "inception": (inception, (3, 12, 12)),
    "mobile": (mobile, (16, 16, 3)),
    "decoder": (decoder, (2, 14, 14)),
}


def initialized(name: str) -> nn.Block:
    np.random.seed(7)
    net = NETS[name][0]()
    net.initialize("xavier")
    net(image(2, *NETS[name][1]))
    return net


@pytest.mark.spread(5)
@pytest.mark.parametrize("name", NETS)
def test_compiled_nets_give_what_they_give_eagerly_for_every_batch(name: str) -> None:
    net, compiled = initialized(name), initialized(name)
    compiled.hybridize()
    for batch in (1, 3, 4, 5, 6, 2):
        x = image(batch, *NETS[name][1])
        numpy.testing.assert_allclose(compiled(x).asnumpy(), net(x).asnumpy(), rtol=1e-4, atol=1e-5)
    assert "NumPy" not in compiled.explain(), compiled.explain()


def trained(net: nn.Block, compile_it: bool) -> Callable[[ndarray, ndarray], ndarray]:
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.05})

    def step(x: ndarray, labels: ndarray) -> ndarray:
        with autograd.record():
            loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(x), labels)
        loss.backward()
        trainer.step(len(x))
        return loss.detach()

    return blockfuse.hybridize(step) if compile_it else step


@pytest.mark.long
@pytest.mark.spread(5)
@pytest.mark.parametrize("name", NETS)
def test_compiled_training_steps_go_where_eager_ones_go(name: str) -> None:
    net, other = initialized(name), initialized(name)
    eager, compiled = trained(net, False), trained(other, True)
    x, labels = image(4, *NETS[name][1]), np.array(RNG.integers(0, 10, 4))
    for _ in range(3):
        numpy.testing.assert_allclose(compiled(x, labels).asnumpy(), eager(x, labels).asnumpy(), rtol=1e-3)
    for mine, wanted in zip(other.collect_params().values(), net.collect_params().values(), strict=True):
        numpy.testing.assert_allclose(mine.data().asnumpy(), wanted.data().asnumpy(), rtol=1e-3, atol=1e-4)


def test_saved_parameters_come_back(tmp_path: Path) -> None:
    net, other = initialized("lenet"), lenet()
    net.save_parameters(str(tmp_path / "lenet.params"))
    other.load_parameters(str(tmp_path / "lenet.params"))
    x = image(2, 1, 28, 28)
    numpy.testing.assert_array_equal(net(x).asnumpy(), other(x).asnumpy())


@pytest.mark.parametrize("scale", [2, 3])
def test_up_sampling_is_torchs(scale: int) -> None:
    x = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
    theirs = torch.tensor(x)
    nearest, bilinear = nn.UpSampling(scale), nn.UpSampling(scale, "bilinear")
    bilinear.initialize()
    large = torch.nn.functional.interpolate(theirs, scale_factor=scale, mode="nearest")
    numpy.testing.assert_array_equal(nearest(np.array(x)).asnumpy(), large)
    found = bilinear(np.array(x)).asnumpy()
    assert bilinear.weight.shape == (3, 1, 2 * scale - scale % 2, 2 * scale - scale % 2)
    wanted = torch.nn.functional.interpolate(theirs, scale_factor=scale, mode="bilinear").numpy()
    inside = (
        slice(None),
        slice(None),
        slice(scale, -scale),
        slice(scale, -scale),
    )  # borders are next to zeros
    numpy.testing.assert_allclose(found[inside], wanted[inside], rtol=1e-5, atol=1e-6)


def test_up_sampling_has_the_gradients_of_torch_and_compiles() -> None:
    x = np.array(RNG.normal(size=(2, 3, 2, 3)))
    theirs = torch.tensor(x.asnumpy(), requires_grad=True)
    layer = nn.UpSampling(2)
    weights = RNG.normal(size=(2, 3, 4, 6)).astype("float32")
    wanted = torch.nn.functional.interpolate(theirs, scale_factor=2, mode="nearest")
    (wanted * torch.tensor(weights)).sum().backward()
    x.attach_grad()
    layer.hybridize()
    for _ in range(2):
        with autograd.record():
            loss = (layer(x) * np.array(weights)).sum()
        loss.backward()
        numpy.testing.assert_allclose(x.grad.asnumpy(), theirs.grad, rtol=1e-5, atol=1e-6)
    assert "compiled" in layer.explain()


def test_images_of_several_sizes_come_to_one() -> None:
    small, large = np.array(RNG.normal(size=(1, 2, 2, 3))), np.array(RNG.normal(size=(1, 2, 4, 6)))
    beside = npx.upsampling(large, small, scale=2)
    assert beside.shape == (1, 4, 8, 12)
    numpy.testing.assert_array_equal(beside[:, 2:].asnumpy(), npx.upsampling(small, scale=4).asnumpy())
    total = npx.upsampling(large, small, scale=2, multi_input_mode="sum")
    numpy.testing.assert_array_equal(total.asnumpy(), (beside[:, :2] + beside[:, 2:]).asnumpy())
    with pytest.raises(ShapeError, match=r"brings all images to \(4, 6\), which is no multiple of \(4, 5\)"):
        npx.upsampling(small, np.zeros((1, 2, 4, 5)), scale=2)
    with pytest.raises(UsageError, match="sample_type='cubic'"):
        npx.upsampling(small, scale=2, sample_type="cubic")
    with pytest.raises(ShapeError, match="UpSampling expects an input of 4 axes"):
        nn.UpSampling(2)(np.zeros((2, 3)))
