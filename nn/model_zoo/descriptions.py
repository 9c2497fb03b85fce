"""What help says of the nets of the zoo: one text for each name, made of what its maker takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from inspect import Parameter
from typing import Any

# name -> learned numbers with the maker's defaults, for pictures of the shape that the net is made for
LEARNED = {
    "lenet": 61_706,
    "alexnet": 61_100_840,
    "nin": 7_439_608,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "googlenet": 6_998_552,
    "inception_v3": 23_834_568,
    "resnet20": 272_474,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "resnet18_v1": 11_689_512,
    "resnet18_v2": 11_687_848,
    "resnet34_v1": 21_797_672,
    "resnet34_v2": 21_796_008,
    "resnet50_v1": 25_557_032,
    "resnet50_v2": 25_549_480,
    "resnet101_v1": 44_549_160,
    "resnet101_v2": 44_541_608,
    "resnet152_v1": 60_192_808,
    "resnet152_v2": 60_185_256,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "mobilenet1_0": 4_231_976,
    "mobilenet0_75": 2_585_560,
    "mobilenet0_5": 1_331_592,
    "mobilenet0_25": 470_072,
    "mobilenet_v2_1_0": 3_504_872,
    "mobilenet_v2_0_75": 2_636_424,
    "mobilenet_v2_0_5": 1_968_680,
    "mobilenet_v2_0_25": 1_519_112,
}
# name -> the shape of pictures that the net is made for, where that is not the usual one
MADE_FOR = {"lenet": (1, 28, 28), "resnet20": (3, 32, 32), "inception_v3": (3, 299, 299)}
USUAL = (3, 224, 224)

OPTIONS = {
    "classes": "how many there are.",
    "units": "of the two wide layers before the output.",
    "width": "channels of the first stage.",
    "share": "one of so many channels, to try the net.",
    "last": "channels before the output.",
}
# option -> a small value, with which the example takes milliseconds
SMALL = {"classes": 10, "units": 8, "width": 4, "share": 16}
# name -> the least side of pictures that its windows fit into, rounded up, where 32 is too small
SIDES = {"lenet": 28, "alexnet": 64, "nin": 68, "squeezenet1_0": 36, "squeezenet1_1": 36, "inception_v3": 76}


def made_for(name: str) -> tuple[int, int, int]:
    """The channels, height and width of the pictures that a net is made for."""
    return MADE_FOR.get(name, USUAL)


def described(name: str, make: Callable[..., Any]) -> str:
    """The docstring of the constructor ``name``."""
    return "\n\n".join(
        (
            f"{_first_line(make)}{_settled(make)}.",
            f"Called with pictures (batch, channels, height, width) of float32, made for {made_for(name)} each, it gives\n"
            f"scores (batch, classes), before any softmax. By default it learns {LEARNED[name]:,} numbers.",
            "\n".join(f"{option}: {OPTIONS[option]}" for option in _free(make)),
            "pretrained: True raises UsageError: there are no trained weights, but ``load_parameters`` reads yours.\n"
            "ctx, device, root: taken for Gluon's sake.",
            "Raises TypeError for other options; a call raises ShapeError for pictures that its windows do not fit into.",
            _example(name, make),
        )
    )


def signature(make: Callable[..., Any], common: inspect.Signature) -> inspect.Signature:
    """That of a constructor: the options of its maker, and what all constructors take."""
    own = [inspect.signature(make).parameters[option] for option in _free(make)]
    free = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in own]
    shared = [p for p in common.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    return common.replace(parameters=[*shared, *free])


def _first_line(make: Callable[..., Any]) -> str:
    maker = make.func if isinstance(make, partial) else make
    return (maker.__doc__ or "").split("\n")[0].rstrip(".")


def _settled(make: Callable[..., Any]) -> str:
    """The arguments of the maker that the name settles."""
    if not isinstance(make, partial):
        return ""
    bound = inspect.signature(make.func).bind_partial(*make.args).arguments
    return "; here " + ", ".join(f"{option} {value}" for option, value in bound.items())


def _free(make: Callable[..., Any]) -> list[str]:
    """The options of the maker that are left to callers, the number of classes first."""
    listed = list(inspect.signature(make).parameters)
    return sorted(listed, key=lambda option: option != "classes")


def _example(name: str, make: Callable[..., Any]) -> str:
    """A small net of the kind on a small picture; of one that cannot be made small, its depth."""
    small = ", ".join(f"{option}={SMALL[option]}" for option in _free(make) if option in SMALL)
    begin = (">>> from blockfuse import gluon, np", f">>> net = gluon.model_zoo.vision.{name}({small})")
    return "\n".join((*begin, *(_depth(name) if name.startswith("densenet") else _call(name))))


def _depth(name: str) -> tuple[str, ...]:
    names = 'sum(key.endswith("weight") for key in net.collect_params())'
    return f">>> {names}  # convolutions, and the output", name.removeprefix("densenet")


def _call(name: str) -> tuple[str, ...]:
    side = SIDES.get(name, 32)
    call = f"net(np.ones((1, {made_for(name)[0]}, {side}, {side})))"
    return ">>> net.initialize()", f">>> {call}.shape", "(1, 10)"
