"""Gradients of rows against torch's, at zeros, ties, infinities, nan, and shapes that are broadcast or empty."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from program_coverage import rows_of

from blockfuse import autograd
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operator import TABLE
from blockfuse.ir.operators.movement import numpy_index
from blockfuse.ir.operators.pointwise import FLAT

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = numpy.random.default_rng(8)
NAN, INF = math.nan, math.inf
EDGES = numpy.array([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 30.0, -30.0])
TIES = numpy.array([[1.0, 2.0, 2.0, 0.0], [0.0, -0.0, 0.0, 3.0], [-1.0, -1.0, 2.0, 2.0]])
ZEROS = numpy.array([[0.0, 2.0, 3.0, -0.5], [0.0, 1.0, 0.0, 3.0], [1.0, -1.0, 2.0, 2.0]])
ODD = numpy.array([[NAN, 2.0, INF, 0.0], [-INF, -INF, -INF, -INF], [1.0, INF, INF, 2.0]])
EQUAL = numpy.full((3, 4), 2.0)
PLAIN = RNG.normal(size=(3, 4))
PLACES = numpy.array([[0, 3], [1, 1], [2, -4]])
MASK = numpy.array([[True, False, True, True], [False] * 4, [True] * 4])


def both(
    name: str, theirs: Callable[..., Any], operands: tuple[Any, ...], attrs: dict[str, Any]
) -> list[tuple[Any, Any]]:
    """For each float operand its gradient here and in torch, behind a head whose elements differ."""
    arrays = [ndarray(numpy.array(x)) for x in operands]
    tensors = [torch.tensor(x) for x in operands]
    asked = [n for n, x in enumerate(operands) if x.dtype.kind == "f"]
    for n in asked:
        arrays[n].attach_grad()
        tensors[n].requires_grad_()
    with numpy.errstate(all="ignore"), autograd.record():
        out = TABLE[name](*arrays, **attrs)
    head = numpy.arange(1, out.size + 1, dtype="float64").reshape(out.shape)
    with numpy.errstate(all="ignore"):
        out.backward(ndarray(head))
    wanted = theirs(*tensors)
    assert tuple(wanted.shape) == out.shape
    theirs_head = torch.tensor(head).to(wanted.dtype)
    grads = torch.autograd.grad(wanted, [tensors[n] for n in asked], theirs_head, materialize_grads=True)
    return [(arrays[n].grad, g) for n, g in zip(asked, grads, strict=True)]


def held(
    name: str, theirs: Callable[..., Any], operands: tuple[Any, ...], attrs: dict[str, Any], but: Any = None
) -> None:
    for found, wanted in both(name, theirs, operands, attrs):
        assert found is not None
        mine, other = found.asnumpy(), wanted.numpy()
        if but is not None:
            shown = numpy.broadcast_to(but(*operands), mine.shape)
            mine, other = mine[~shown], other[~shown]
        numpy.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-14, err_msg=name)


# -- elementwise ---------------------------------------------------------------------------------------------

# row -> torch's function of the same
UNARY: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(torch, name)
        for name in (
            *("negative", "positive", "square", "sqrt", "reciprocal", "absolute"),
            *(
                "exp",
                "exp2",
                "expm1",
                "log",
                "log2",
                "log10",
                "log1p",
                "sin",
                "cos",
                "tan",
                "arcsin",
                "arccos",
                "arctan",
            ),
            *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "relu", "sigmoid", "erf"),
        )
    },
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "fabs": torch.abs,
    "degrees": torch.rad2deg,
    "radians": torch.deg2rad,
    "softplus": lambda x: F.softplus(x, threshold=800),
    "silu": F.silu,
    "gammaln": torch.lgamma,
    "erfinv": torch.erfinv,
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "power": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "hypot": torch.hypot,
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "arctan2": torch.arctan2,
    "logaddexp": torch.logaddexp,
}
# row -> where it has another gradient than torch, and why
DIFFERENT: dict[str, tuple[Callable[..., Any], str]] = {
    "absolute": (numpy.isnan, "nan stays to be seen; torch gives 0"),
    "fabs": (numpy.isnan, "nan stays to be seen; torch gives 0"),
    "cbrt": (lambda x: x == 0, "torch has none, and the power that stands for it has no limit"),
    "fmax": (
        lambda x, y: (x == y) | (numpy.isnan(x) & numpy.isnan(y)),
        "equal ones share, as in maximum; in torch the first has all",
    ),
    "fmin": (
        lambda x, y: (x == y) | (numpy.isnan(x) & numpy.isnan(y)),
        "equal ones share, as in minimum; in torch the first has all",
    ),
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_operand(name: str) -> None:
    but = DIFFERENT[name][0] if name in DIFFERENT else None
    held(name, UNARY[name], (EDGES,), {}, but)
    for shape in ((), (0,), (2, 0, 3)):
        held(name, UNARY[name], (numpy.full(shape, 0.5),), {})


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_operands(name: str) -> None:
    but = DIFFERENT[name][0] if name in DIFFERENT else None
    x, y = (part.copy() for part in numpy.broadcast_arrays(EDGES[:, None], EDGES))
    held(name, BINARY[name], (x, y), {}, but)
    positive = numpy.abs(PLAIN) + 0.5
    for shapes in (((3, 4), (4,)), ((3, 1), (1, 4)), ((), (3, 4)), ((0, 4), (4,)), ((1, 4), (0, 1))):
        sizes = [math.prod(s) for s in shapes]
        operands = tuple(
            positive.ravel()[:size].reshape(shape) + 0.3 * n
            for n, (size, shape) in enumerate(zip(sizes, shapes, strict=True))
        )
        held(name, BINARY[name], operands, {})


ROUNDING = ("sign", "floor", "ceil", "trunc", "rint", "argmax", "isnan", "signbit")


@pytest.mark.parametrize("name", ROUNDING)
def test_steps_have_no_gradient(name: str) -> None:
    x = ndarray(PLAIN.copy())
    x.attach_grad()
    attrs = {"axis": None} if name == "argmax" else {}
    with autograd.record():
        y = x * 2 + TABLE[name](x, **attrs)
    y.backward()
    assert x.grad is not None
    assert (x.grad.asnumpy() == 2).all()


# -- all others ----------------------------------------------------------------------------------------------


def variance(x: Any, axis: Any, keepdims: bool, ddof: float) -> Any:
    return torch.var(x, dim=axis, keepdim=keepdims, correction=ddof)


def eigen(x: Any, uplo: str) -> Any:
    """With NumPy's signs, and with a symmetric gradient."""
    values, vectors = torch.linalg.eigh((x + x.mT) / 2, UPLO=uplo)
    signs = torch.sign(
        (vectors * torch.tensor(numpy.linalg.eigh(x.detach().numpy())[1])).sum(-2, keepdim=True)
    )
    return torch.cat([values, (vectors * signs).flatten(-2)], -1)


def factored(x: Any) -> Any:
    return torch.cat([part.flatten(-2) for part in torch.linalg.qr(x)], -1)


def deviation(x: Any, axis: Any, keepdims: bool, ddof: float) -> Any:
    return torch.std(x, dim=axis, keepdim=keepdims, correction=ddof)


def product(x: Any, axis: Any, keepdims: bool) -> Any:
    for a in sorted(axis, reverse=True):
        x = torch.prod(x, dim=a, keepdim=keepdims)
    return x


def by_axis(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, keepdims: function(x, dim=axis, keepdim=keepdims)


def masked_softmax(x: Any, mask: Any, axis: int) -> Any:
    """Rows of which nothing counts are 0."""
    low = torch.where(mask, x, -1e30)
    return torch.where(mask, F.softmax(low, axis), 0)


def layer_norm(x: Any, gamma: Any, beta: Any, axis: Any, epsilon: float) -> Any:
    return F.layer_norm(x, [x.shape[a] for a in axis], gamma, beta, epsilon)


def rms_norm(x: Any, gamma: Any, axis: Any, epsilon: float) -> Any:
    return F.rms_norm(x, [x.shape[a] for a in axis], gamma, epsilon)


def batch_norm(x: Any, gamma: Any, beta: Any, average: Any, variance: Any, epsilon: float) -> Any:
    return (x - average) / torch.sqrt(variance + epsilon) * gamma + beta


def masked_log_softmax(x: Any, mask: Any, axis: int) -> Any:
    low = torch.where(mask, x, -1e30)
    return torch.where(mask, F.log_softmax(low, axis), -INF)


def written(x: Any, value: Any, index: Any) -> Any:
    result = x.clone()
    result[numpy_index(index)] = value
    return result


def expanded(x: Any, axis: tuple[int, ...]) -> Any:
    for a in axis:
        x = x.unsqueeze(a)
    return x


def layouts(x: Any, shape: tuple[int, ...]) -> Any:
    return torch.broadcast_to(x, shape)


ROWS_ONLY = (("array", 0),)
ALONG_ROWS = (("along", 0, 2), ("array", 0))
SQUARE = PLAIN[:, :3] + 3 * numpy.eye(3)
PART = (("slice", 2, -1, -1), None, ("slice", 0, 4, 2))
ONE_ROW = (1, ("slice", 0, 4, 1))
DEFINITE = PLAIN @ PLAIN.T + numpy.eye(3)
STACK = RNG.normal(size=(2, 3, 4))
OVER: tuple[dict[str, Any], ...] = tuple(
    {"axis": axis, "keepdims": keepdims} for axis in ((1,), (0, 1)) for keepdims in (False, True)
)
SPREAD = tuple({**attrs, "ddof": ddof} for attrs, ddof in zip(OVER, (0, 1, 0.5, 1), strict=True))
LAST = ({"axis": 1},)
Case = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def cases(
    theirs: Callable[..., Any], operands: tuple[Any, ...], attrs: tuple[dict[str, Any], ...]
) -> list[Case]:
    """``operands``: each one operand, or a tuple of them."""
    listed = [x if isinstance(x, tuple) else (x,) for x in operands]
    return [(theirs, x, a) for x in listed for a in attrs]


# row -> torch's function, operands, attributes
CASES: dict[str, list[Case]] = {
    "sum": cases(by_axis(torch.sum), (PLAIN, ODD, PLAIN[:0]), OVER),
    "mean": cases(by_axis(torch.mean), (PLAIN, ODD, PLAIN[:, :0]), OVER),
    "prod": cases(product, (PLAIN, ZEROS, PLAIN[:, :0]), OVER),
    "max": cases(by_axis(torch.amax), (PLAIN, TIES, EQUAL), OVER),
    "min": cases(by_axis(torch.amin), (PLAIN, TIES, EQUAL), OVER),
    "var": cases(variance, (PLAIN, EQUAL), SPREAD),
    "std": cases(deviation, (PLAIN, EQUAL), SPREAD),
    "logsumexp": cases(by_axis(torch.logsumexp), (PLAIN, TIES * 500), OVER),
    "softmax": cases(lambda x, axis: F.softmax(x, axis), (PLAIN, TIES * 500, ODD), LAST),
    "log_softmax": cases(lambda x, axis: F.log_softmax(x, axis), (PLAIN, TIES * 500, ODD), LAST),
    "masked_softmax": cases(masked_softmax, ((PLAIN, MASK), (TIES, MASK)), LAST),
    "masked_log_softmax": cases(masked_log_softmax, ((PLAIN, MASK), (TIES, MASK)), LAST),
    "layer_norm": cases(
        layer_norm,
        ((PLAIN, PLAIN[0], PLAIN[1]), (EQUAL, PLAIN[0], PLAIN[1]), (STACK, PLAIN[0], PLAIN[1])),
        ({"axis": (-1,), "epsilon": 1e-5},),
    ),
    "rms_norm": cases(
        rms_norm,
        ((PLAIN, PLAIN[0]), (EQUAL, PLAIN[0]), (STACK, PLAIN[0])),
        ({"axis": (-1,), "epsilon": 1e-5},),
    ),
    "batch_norm": cases(
        batch_norm,
        (
            (PLAIN, PLAIN[0], PLAIN[1], PLAIN[2], EQUAL[0]),
            (STACK, PLAIN[:, :1], PLAIN[:, 1:2], STACK[:1, :, :1], EQUAL[None, :, :1]),
            (PLAIN, PLAIN[0, 0], PLAIN[:, :1], PLAIN, EQUAL[:1]),
            (ODD, PLAIN[0], PLAIN[1], PLAIN[2], TIES[0]),
            (PLAIN[:0], PLAIN[0], PLAIN[1], PLAIN[2], EQUAL[0]),
        ),
        ({"epsilon": 1e-5},),
    ),
    "leaky_relu": cases(lambda x, slope: F.leaky_relu(x, slope), (EDGES,), ({"slope": 0.25},)),
    "elu": cases(lambda x, alpha: F.elu(x, alpha), (EDGES[1:],), ({"alpha": 1.0},)),
    "gelu": cases(
        lambda x, approximate: F.gelu(x, approximate="tanh" if approximate else "none"),
        (PLAIN * 5,),
        ({"approximate": True}, {"approximate": False}),
    ),
    "cumsum": cases(
        lambda x, axis: torch.cumsum(x, axis), (PLAIN, ZEROS, PLAIN[:0]), ({"axis": 0}, {"axis": 1})
    ),
    "cumprod": cases(
        lambda x, axis: torch.cumprod(x, axis), (PLAIN, ZEROS, PLAIN[:0]), ({"axis": 0}, {"axis": 1})
    ),
    "sort": cases(
        lambda x, axis: torch.sort(x, dim=axis, stable=True).values,
        (PLAIN, TIES, ODD),
        ({"axis": 0}, {"axis": 1}),
    ),
    "where": cases(torch.where, ((MASK, PLAIN, ODD), (MASK, PLAIN[0], PLAIN[:, :1])), ({},)),
    "matmul": cases(
        torch.matmul,
        (
            (PLAIN, PLAIN.T),
            (STACK, PLAIN.T),
            (PLAIN[0], PLAIN.T),
            (PLAIN, PLAIN[0]),
            (PLAIN[0], PLAIN[1]),
            (PLAIN, STACK.swapaxes(1, 2)),
            (PLAIN[:0], PLAIN.T),
            (PLAIN[:, :0], PLAIN.T[:0]),
            (PLAIN[0], STACK.swapaxes(1, 2)),
            (STACK, PLAIN[0]),
        ),
        ({},),
    ),
    "dense": cases(
        F.linear,
        (
            (PLAIN, PLAIN, PLAIN[:, 0]),
            (STACK, PLAIN),
            (PLAIN[0], PLAIN, PLAIN[:, 0]),
            (PLAIN[:0], PLAIN, PLAIN[:, 0]),
        ),
        ({},),
    ),
    "dot": cases(torch.matmul, ((PLAIN, PLAIN.T), (STACK, PLAIN[0])), ({},)),
    "tensordot": cases(
        lambda x, y, axes: torch.tensordot(x, y, axes),
        ((STACK, PLAIN),),
        ({"axes": ((1, 2), (0, 1))}, {"axes": ((2,), (1,))}),
    ),
    "outer": cases(
        lambda x, y: torch.outer(x.ravel(), y.ravel()),
        ((PLAIN[0], PLAIN[:, 0]), (PLAIN, PLAIN[:, :0])),
        ({},),
    ),
    "einsum": cases(
        lambda *x, subscripts: torch.einsum(subscripts, *x),
        ((STACK, STACK),),
        ({"subscripts": "bij,bkj->bik"}, {"subscripts": "bij,bij->"}, {"subscripts": "bij,cij->cb"}),
    ),
    "det": cases(torch.linalg.det, (SQUARE,), ({},)),
    "inverse": cases(torch.linalg.inv, (SQUARE,), ({},)),
    "solve": cases(torch.linalg.solve, ((SQUARE, PLAIN),), ({},)),
    "solve_lower": cases(
        lambda x, y: torch.linalg.solve_triangular(x, y, upper=False), ((SQUARE, PLAIN),), ({},)
    ),
    "solve_upper": cases(
        lambda x, y: torch.linalg.solve_triangular(x, y, upper=True), ((SQUARE, PLAIN),), ({},)
    ),
    "cholesky": cases(torch.linalg.cholesky, (DEFINITE, numpy.stack([DEFINITE, SQUARE @ SQUARE.T])), ({},)),
    "eigh": cases(eigen, (DEFINITE, numpy.stack([DEFINITE, numpy.diag([1.0, 3, 2])])), ({"uplo": "L"},)),
    "eigvalsh": cases(
        lambda x, uplo: torch.linalg.eigvalsh(x, UPLO=uplo), (DEFINITE, numpy.eye(3)), ({"uplo": "U"},)
    ),
    "qr": cases(factored, (PLAIN.T, SQUARE, PLAIN, STACK), ({},)),
    "broadcast_to": cases(layouts, (PLAIN[:, :1], PLAIN[:1], PLAIN[0], PLAIN[0, 0]), ({"shape": (2, 3, 4)},)),
    "cast": cases(lambda x, dtype: x.to(torch.float32), (PLAIN, PLAIN[:0]), ({"dtype": "float32"},)),
    "reshape": cases(lambda x, shape: x.reshape(shape), (PLAIN, PLAIN.T), ({"shape": (2, 6)},)),
    "expand_dims": cases(expanded, (PLAIN, PLAIN[:0]), ({"axis": (1,)}, {"axis": (0, 3)})),
    "squeeze": cases(lambda x, axis: x.squeeze(axis), (PLAIN[:, :1], PLAIN[:0, :1]), ({"axis": (1,)},)),
    "transpose": cases(lambda x, axes: x.permute(axes), (STACK, STACK[:0]), ({"axes": (2, 0, 1)},)),
    "flip": cases(lambda x, axis: x.flip(axis), (PLAIN, PLAIN[:0]), ({"axis": (0,)}, {"axis": (0, 1)})),
    "get_item": [
        *cases(lambda x, index: x[1], (PLAIN,), ({"index": ONE_ROW},)),
        *cases(lambda x, index: x.flip(0)[:, None, ::2], (PLAIN,), ({"index": PART},)),
    ],
    "set_item": cases(written, ((PLAIN, PLAIN[0]), (PLAIN, PLAIN[0, 0])), ({"index": ONE_ROW},)),
    "concatenate": cases(
        lambda *x, axis: torch.cat(x, axis), ((PLAIN, TIES), (PLAIN, PLAIN[:, :0], PLAIN)), ({"axis": 1},)
    ),
    "take_at": [
        *cases(
            lambda x, i, pattern: x[i],
            ((PLAIN, numpy.array([[0, 2], [2, -1]])), (PLAIN, numpy.zeros((0,), "int64"))),
            ({"pattern": ROWS_ONLY},),
        ),
        *cases(
            lambda x, i, pattern: x.gather(1, i % 4),
            ((PLAIN, PLACES), (PLAIN, PLACES[:, :1])),
            ({"pattern": ALONG_ROWS},),
        ),
    ],
    "put_at": [
        *cases(
            lambda x, y, i, pattern: x.index_copy(0, i, y.expand(len(i), 4)),
            (
                (PLAIN, PLAIN[:2], numpy.array([2, 0])),
                (PLAIN, PLAIN[0], numpy.array([2, 0])),
                (PLAIN, PLAIN[:0], numpy.zeros((0,), "int64")),
            ),
            ({"pattern": ROWS_ONLY},),
        ),
        *cases(
            lambda x, y, i, pattern: x.scatter(1, i % 4, y),
            ((PLAIN, PLAIN[:, :1], PLACES[:, :1]), (PLAIN, ODD[:, 1:2], PLACES[:, :1])),
            ({"pattern": ALONG_ROWS},),
        ),
    ],
    "add_at": [
        *cases(
            lambda x, y, i, pattern: x.index_add(0, i, y.expand(len(i), 4)),
            (
                (PLAIN, PLAIN, numpy.array([2, 0, 2])),
                (PLAIN, PLAIN[0], numpy.array([2, 0, 2])),
                (PLAIN, PLAIN[:0], numpy.zeros((0,), "int64")),
            ),
            ({"pattern": ROWS_ONLY},),
        ),
        *cases(
            lambda x, y, i, pattern: x.scatter_add(1, i % 4, y),
            ((PLAIN, PLAIN[:, :2], PLACES), (PLAIN, ODD[:, 1:3], PLACES)),
            ({"pattern": ALONG_ROWS},),
        ),
    ],
}


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize("name", CASES)
def test_rows_with_attributes(name: str) -> None:
    for theirs, operands, attrs in CASES[name]:
        held(name, lambda *x, theirs=theirs, attrs=attrs: theirs(*x, **attrs), operands, attrs)


ELSEWHERE = frozenset(("checked", "drawn", "gamma"))  # which torch does not have
WINDOWS = rows_of("convolution", "pooling")  # ``test_windows.py`` holds them against torch


def test_every_row_with_a_gradient_is_compared() -> None:
    rows = {
        name
        for name, row in TABLE.items()
        if row.examples and row.gradient not in (None, FLAT) and not row.random
    }
    rows -= {name for name in rows if not TABLE[name].examples[0].shapes}
    assert rows - UNARY.keys() - BINARY.keys() - CASES.keys() - ELSEWHERE - WINDOWS == set()
