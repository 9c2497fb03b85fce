"""Functions of neural networks against torch, which has them under other names: ours, and those of ``numpy_programs.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import numpy_programs
import pytest
from tolerances import assert_close

from blockfuse import npx
from blockfuse.array.ndarray import ndarray

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = numpy.random.default_rng(3)
X, Y, W = (RNG.normal(size=shape) * 3 for shape in ((4, 5), (3, 4, 5), (2, 5)))
EDGES = numpy.array([[-80.0, -20.0, -1.0, -0.0, 1e-8], [0.5, 1.0, 3.0, 20.0, 80.0]])
SCALE, SHIFT = RNG.normal(size=5), RNG.normal(size=5)
PLACES = RNG.integers(0, 4, (2, 3))

# what we call -> what torch calls, operands
PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
    "relu": (lambda n, x: n.relu(x), F.relu, (X,)),
    "sigmoid": (lambda n, x: n.sigmoid(x), torch.sigmoid, (X,)),
    "erf": (lambda n, x: n.erf(x), torch.erf, (X,)),
    "softplus": (lambda n, x: n.softplus(x), lambda x: F.softplus(x, threshold=800), (X,)),
    "silu": (lambda n, x: n.silu(x), F.silu, (X,)),
    "gelu": (lambda n, x: n.gelu(x), F.gelu, (X,)),
    "gelu by tanh": (
        lambda n, x: n.gelu(x, approximation="tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        (X,),
    ),
    "mish": (lambda n, x: n.mish(x), F.mish, (X,)),
    "softsign": (lambda n, x: n.softsign(x), F.softsign, (X,)),
    "log_sigmoid": (lambda n, x: n.log_sigmoid(x), F.logsigmoid, (X,)),
    "leaky": (lambda n, x: n.leaky_relu(x), lambda x: F.leaky_relu(x, 0.25), (X,)),
    "elu": (lambda n, x: n.leaky_relu(x, act_type="elu", slope=1.0), F.elu, (X,)),
    "selu": (lambda n, x: n.leaky_relu(x, act_type="selu"), F.selu, (X,)),
    "smooth_l1": (
        lambda n, x: n.smooth_l1(x),
        lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none"),
        (X,),
    ),
    "softmax": (lambda n, x: n.softmax(x, axis=0), lambda x: F.softmax(x, 0), (X,)),
    "log_softmax": (lambda n, x: n.log_softmax(x), lambda x: F.log_softmax(x, -1), (X,)),
    "logsumexp": (lambda n, x: n.logsumexp(x, axis=1), lambda x: torch.logsumexp(x, 1), (X,)),
    "norm": (lambda n, x: n.norm(x, axis=0), lambda x: torch.linalg.vector_norm(x, dim=0), (X,)),
    "layer_norm": (
        lambda n, x, g, b: n.layer_norm(x, g, b, axis=-1, eps=1e-3),
        lambda x, g, b: F.layer_norm(x, (5,), g, b, 1e-3),
        (X, SCALE, SHIFT),
    ),
    "rms_norm": (
        lambda n, x, g: n.rms_norm(x, g, eps=1e-3),
        lambda x, g: F.rms_norm(x, (5,), g, 1e-3),
        (X, SCALE),
    ),
    "group_norm": (
        lambda n, x, g, b: n.group_norm(x, g, b, 2, eps=1e-3),
        lambda x, g, b: F.group_norm(x, 2, g, b, 1e-3),
        (X.T, SCALE[:4], SHIFT[:4]),
    ),
    "instance_norm": (
        lambda n, x, g, b: n.instance_norm(x, g, b, eps=1e-3),
        lambda x, g, b: F.instance_norm(x, weight=g, bias=b, eps=1e-3),
        (Y, SCALE[:4], SHIFT[:4]),
    ),
    "instance_norm of the last axis": (
        lambda n, x, g, b: n.instance_norm(x, g, b, eps=1e-3, axis=-1),
        lambda x, g, b: F.instance_norm(x.transpose(1, 2), weight=g, bias=b, eps=1e-3).transpose(1, 2),
        (Y, SCALE, SHIFT),
    ),
    "batch_norm": (
        lambda n, x, g, b: n.batch_norm(x, g, b, b, g * g, eps=1e-3, fix_gamma=False, axis=-1),
        lambda x, g, b: F.batch_norm(x, b, g * g, g, b, eps=1e-3),
        (X, SCALE, SHIFT),
    ),
    "batch_norm without a scale": (
        lambda n, x, g, b: n.batch_norm(x, g, b, b, g * g, eps=1e-3, axis=-1),
        lambda x, g, b: F.batch_norm(x, b, g * g, None, b, eps=1e-3),
        (X, SCALE, SHIFT),
    ),
    "fully_connected": (
        lambda n, x, w, b: n.fully_connected(x, w, b),
        F.linear,
        (X, W, SCALE[:2]),
    ),
    "batch_dot": (
        lambda n, x: n.batch_dot(x, x, transpose_b=True),
        lambda x: torch.bmm(x, x.transpose(1, 2)),
        (Y,),
    ),
    "embedding": (lambda n, i, w: n.embedding(i, w), F.embedding, (PLACES, X)),
    "one_hot": (lambda n, i: n.one_hot(i, 4), lambda i: F.one_hot(i, 4).float(), (PLACES,)),
    "topk": (lambda n, x: n.topk(x, k=2, ret_typ="value"), lambda x: torch.topk(x, 2).values, (X,)),
}
ACTIVATIONS = tuple(PAIRS)[:16]


def held(name: str, operands: tuple[Any, ...]) -> None:
    call, theirs, _ = PAIRS[name]
    wanted = theirs(*map(torch.from_numpy, operands)).numpy()
    assert_close(call(npx, *map(ndarray, operands)).asnumpy(), wanted)
    assert_close(numpy.asarray(call(numpy_programs.npx, *operands)), wanted)


@pytest.mark.parametrize("name", PAIRS)
def test_function_gives_what_torch_gives(name: str) -> None:
    held(name, PAIRS[name][2])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_function_gives_what_torch_gives_at_the_edges(name: str) -> None:
    with numpy.errstate(all="ignore"):
        held(name, (EDGES,))
