"""The nets of the model zoo against torch on the same weights, made of its functions layer by layer."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import gluon, nn
from blockfuse.array import np
from blockfuse.ir.errors import UsageError
from blockfuse.nn.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from blockfuse.nn.model_zoo import inception, joined, plain, residual
from blockfuse.nn.model_zoo.descriptions import LEARNED, made_for
from blockfuse.nn.model_zoo.models import MODELS
from blockfuse.nn.model_zoo.vision_net import VisionNet

torch = pytest.importorskip("torch")
F = torch.nn.functional


def value(parameter: Any) -> Any:
    return None if parameter is None else torch.from_numpy(parameter.data().asnumpy().copy())


ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, None: lambda x: x}


def convolution(b: Any, x: Any) -> Any:
    y = F.conv2d(x, value(b.weight), value(b.bias), b._strides, b._padding, b._dilation, b._groups)
    return ACTIVATIONS[b._activation](y)


def dense(b: Any, x: Any) -> Any:
    return ACTIVATIONS[b._activation](F.linear(x.flatten(1), value(b.weight), value(b.bias)))


def batch_norm(b: Any, x: Any) -> Any:
    mean, var, gamma, beta = map(value, (b.running_mean, b.running_var, b.gamma, b.beta))
    return F.batch_norm(x, mean, var, gamma, beta, eps=b.epsilon)


def chained(b: Any, x: Any) -> Any:
    for child in b._children.values():
        x = in_torch(child, x)
    return x


def preactivated(b: Any, x: Any) -> Any:
    a = torch.relu(batch_norm(b.norm, x))
    return in_torch(b.body, a) + (x if b.shortcut is None else in_torch(b.shortcut, a))


def added(b: Any, x: Any) -> Any:
    total = in_torch(b.body, x) + (x if b.shortcut is None else in_torch(b.shortcut, x))
    return torch.relu(total) if b.activate else total


IN_TORCH: dict[type, Callable[[Any, Any], Any]] = {
    nn.Conv2D: convolution,
    nn.Dense: dense,
    nn.BatchNorm: batch_norm,
    nn.Dropout: lambda _, x: x,
    nn.Flatten: lambda _, x: x.flatten(1),
    nn.Activation: lambda b, x: ACTIVATIONS[b._act_type](x) if hasattr(b, "_act_type") else torch.relu(x),
    MaxPool2D: lambda b, x: F.max_pool2d(x, b._kernel, b._strides, b._padding, ceil_mode=b._ceil_mode),
    AvgPool2D: lambda b, x: F.avg_pool2d(x, b._kernel, b._strides, b._padding),
    GlobalAvgPool2D: lambda _, x: x.mean((2, 3), keepdim=True),
    nn.HybridSequential: chained,
    nn.HybridConcatenate: lambda b, x: torch.cat([in_torch(c, x) for c in b._children.values()], 1),
    VisionNet: lambda b, x: in_torch(b.output, in_torch(b.features, x)),
    residual.Residual: added,
    residual.Preactivated: preactivated,
    residual.Relu6: lambda _, x: F.relu6(x),
    joined.Growing: lambda b, x: torch.cat([x, in_torch(b.body, x)], 1),
}


def in_torch(block: Any, x: Any) -> Any:
    return IN_TORCH[type(block)](block, x)


# name -> a small net of the kind, and the side of its pictures
NETS: dict[str, tuple[Callable[[], VisionNet], int]] = {
    "lenet": (plain.lenet, 28),
    "alexnet": (lambda: plain.alexnet(10, units=32), 67),
    "vgg11": (lambda: plain.vgg(11, classes=10, units=32, width=8), 32),
    "vgg11_bn": (lambda: plain.vgg(11, batch_norm=True, classes=10, units=32, width=8), 32),
    "nin": (lambda: plain.nin(10, width=12), 67),
    "squeezenet1_0": (lambda: plain.squeezenet("1.0", 10), 39),
    "squeezenet1_1": (lambda: plain.squeezenet("1.1", 10), 35),
    "googlenet": (lambda: joined.googlenet(10, share=8), 32),
    "inception_v3": (lambda: inception.inception_v3(10, share=16), 76),
    "resnet20": (lambda: residual.resnet20(width=4), 16),
    "resnet18_v1": (lambda: residual.resnet(18, 1, 10, width=8), 32),
    "resnet18_v2": (lambda: residual.resnet(18, 2, 10, width=8), 32),
    "resnet50_v1": (lambda: residual.resnet(50, 1, 10, width=4), 32),
    "resnet50_v2": (lambda: residual.resnet(50, 2, 10, width=4), 32),
    "densenet": (lambda: joined.densenet_of(8, 4, (2, 3), 10), 32),
    "mobilenet0_25": (lambda: residual.mobilenet(0.25, 10), 32),
    "mobilenet_v2_0_25": (lambda: residual.mobilenet_v2(0.25, 10, last=64), 32),
}
COMPILED_IN_SHORT = ("lenet",)


def begun(make: Callable[[], VisionNet], x: np.ndarray) -> VisionNet:
    """With weights, and running statistics that differ from channel to channel."""
    np.random.seed(0)
    net = make()
    net.initialize(init="xavier")
    net(x)
    draw = numpy.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        low = {"running_var": 0.5, "gamma": 0.5, "beta": -0.2, "running_mean": -0.2}.get(name.split(".")[-1])
        if low is not None:
            values = draw.uniform(low, low + 0.7, parameter.shape).astype("float32")
            parameter.set_data(np.array(values))
    return net


def pictures(side: int, batch: int = 2) -> np.ndarray:
    channels = 1 if side == 28 else 3
    return np.array(numpy.random.default_rng(1).normal(size=(batch, channels, side, side)).astype("float32"))


def check(name: str, compiled: bool) -> None:
    make, side = NETS[name]
    x = pictures(side)
    net = begun(make, x)
    expected = in_torch(net, torch.from_numpy(x.asnumpy())).numpy()
    if compiled:
        net.hybridize()
        net(x)
    found = net(x).asnumpy()
    scale = abs(expected).max()
    assert scale > 0
    numpy.testing.assert_allclose(found / scale, expected / scale, 0, 2e-5)
    if compiled:
        assert ": compiled" in net.explain().splitlines()[0]


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", NETS)
def test_a_net_gives_what_torch_gives(name: str) -> None:
    check(name, compiled=False)


def test_lenet_gives_it_compiled_too() -> None:
    check("lenet", compiled=True)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in NETS if name != "lenet"])
def test_a_net_gives_it_compiled_too(name: str) -> None:
    check(name, compiled=True)


def count(net: VisionNet) -> int:
    return sum(int(numpy.prod(p.shape)) for p in net.collect_params().values() if p.grad_req != "null")


# learned numbers at 1000 classes, as the papers' tables and torchvision's documentation of the same nets give them
SIZES = {
    "resnet18_v1": 11_689_512,
    "resnet50_v1": 25_557_032,
    "densenet121": 7_978_856,
    "mobilenet_v2_1_0": 3_504_872,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "googlenet": 6_998_552,
    "inception_v3": 23_834_568,
    "vgg11": 132_863_336,
    "alexnet": 61_100_840,
}


def test_help_says_the_sizes_of_the_papers() -> None:
    assert {name: LEARNED[name] for name in SIZES} == SIZES
    assert "learns 25,557,032 numbers" in gluon.model_zoo.vision.resnet50_v1.__doc__


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_net_has_as_many_weights_as_help_says(name: str) -> None:
    net = gluon.model_zoo.vision.get_model(name)
    net.initialize(init="zeros")
    net(np.zeros((1, *made_for(name))))
    assert count(net) == LEARNED[name]


def test_help_shows_the_options_of_each_net() -> None:
    shown = inspect.signature(gluon.model_zoo.vision.vgg16_bn).parameters
    assert list(shown) == ["pretrained", "ctx", "device", "root", "classes", "units", "width"]
    assert shown["classes"].default == 1000
    assert "here depth 16, batch_norm True." in gluon.model_zoo.vision.vgg16_bn.__doc__


def test_constructors_have_gluons_names_and_options() -> None:
    vision = gluon.model_zoo.vision
    net = vision.resnet18_v1(classes=7)
    assert net.output._units == 7
    assert vision.get_model("ResNet18_v2").features is not None
    assert {"alexnet", "vgg16_bn", "resnet152_v2", "densenet201", "mobilenet1_0", "mobilenet_v2_0_5"} <= set(
        MODELS
    )
    assert set(MODELS) <= set(vision.__all__)
    with pytest.raises(UsageError, match="no trained weights of resnet18_v1: make it with pretrained=False"):
        vision.resnet18_v1(pretrained=True)
    with pytest.raises(UsageError, match="there is no model 'resnet19'; there are alexnet, densenet121"):
        vision.get_model("resnet19")
    with pytest.raises(AttributeError, match="resnext50"):
        vision.resnext50()
