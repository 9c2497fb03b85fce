"""The nets by Gluon's names: ``resnet18_v1(classes=10)``, ``get_model("vgg16")``. There are no trained weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from blockfuse.ir.errors import UsageError
from blockfuse.nn.model_zoo import inception, joined, plain, residual
from blockfuse.nn.model_zoo.descriptions import described, signature
from blockfuse.nn.model_zoo.vision_net import VisionNet

_SCALES = (1.0, 0.75, 0.5, 0.25)  # of the channels of a MobileNet

# name -> what makes the net, of classes=
MODELS: dict[str, Callable[..., VisionNet]] = {
    "lenet": plain.lenet,
    "alexnet": plain.alexnet,
    "nin": plain.nin,
    **{f"squeezenet{v}".replace(".", "_"): partial(plain.squeezenet, v) for v in plain.SQUEEZENET_STAGES},
    "googlenet": joined.googlenet,
    "inception_v3": inception.inception_v3,
    "resnet20": residual.resnet20,
    **{f"vgg{d}{end}": partial(plain.vgg, d, bool(end)) for d in plain.VGG_STAGES for end in ("", "_bn")},
    **{f"resnet{d}_v{v}": partial(residual.resnet, d, v) for d in residual.RESNET_STAGES for v in (1, 2)},
    **{f"densenet{d}": partial(joined.densenet, d) for d in joined.DENSENET_STAGES},
    **{f"mobilenet{s}".replace(".", "_"): partial(residual.mobilenet, s) for s in _SCALES},
    **{f"mobilenet_v2_{s}".replace(".", "_"): partial(residual.mobilenet_v2, s) for s in _SCALES},
}


def get_model(name: str, **options: Any) -> VisionNet:
    """The net of this name, in upper or lower case, also with points for ``_``.

    options: ``classes``, how many there are, and what else the net takes: see the function of the name in
    ``gluon.model_zoo.vision``.

    Raises UsageError for a name that there is none of and for ``pretrained=True``, TypeError for options that the net
    does not take.

    >>> from blockfuse import gluon, np
    >>> net = gluon.model_zoo.get_model("lenet", classes=10)
    >>> net.initialize()
    >>> net(np.ones((1, 1, 28, 28))).shape
    (1, 10)
    """
    make = MODELS.get(name.lower().replace(".", "_"))
    if make is None:
        raise UsageError(f"there is no model {name!r}; there are {', '.join(sorted(MODELS))}")
    return _made(name, make, **options)


@cache
def constructor(name: str) -> Callable[..., VisionNet]:
    """``make(pretrained=False, ctx=None, root=None, classes=1000)``, which raises UsageError for ``pretrained=True``."""
    make = partial(_made, name, MODELS[name])
    shown = {
        "__doc__": described(name, MODELS[name]),
        "__signature__": signature(MODELS[name], inspect.signature(make)),
    }
    vars(make).update(shown, __name__=name, __module__=__name__)
    return make


def _made(
    name: str,
    make: Callable[..., VisionNet],
    pretrained: bool = False,
    ctx: Any = None,  # noqa: ARG001 - Gluon's, as the next two
    device: Any = None,  # noqa: ARG001
    root: Any = None,  # noqa: ARG001
    **options: Any,
) -> VisionNet:
    if pretrained:
        raise UsageError(
            f"blockfuse has no trained weights of {name}: make it with pretrained=False, and load yours by load_parameters()"
        )
    return make(**options)
