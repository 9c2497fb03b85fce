"""Nets and functions that pick by index arrays: what eager gives, for every batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import Native, graph, graph_for
from patterns import beyond, case_of, columns_of, rows_of

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.batch_items import rows_per_item_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.operators import indexing, movement
from blockfuse.ir.types import tensor

pytestmark = pytest.mark.spread(3)


class Tokens(nn.Block):
    """Embeddings with positions, then a layer."""

    def __init__(self, length: int = 7) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 6), nn.Embedding(length, 6)
        self.out, self.order = nn.Dense(5, flatten=False), np.array(numpy.arange(length))

    def forward(self, i: Any) -> Any:
        return npx.log_softmax(self.out(self.words(i) * 2 + self.places(self.order)))


FORMS: dict[str, Callable[..., Any]] = {
    "take": lambda x, i: np.take(x, i, axis=1) * 2,
    "take clip": lambda x, i: np.take(x, i * 3, axis=1, mode="clip"),
    "take wrap": lambda x, i: np.take(x, i * 3, axis=1, mode="wrap") + 1,
    "take flat": lambda x, i: np.take(x, i) - 1,
    "float indices": lambda x, i: x[:, i.astype("float32")] * 2,
    "along": lambda x, i: np.take_along_axis(x, np.argsort(x, axis=1), 1),
    "along the first": lambda x, i: np.take_along_axis(x, np.argsort(x, axis=0), 0) + 1,
    "pick": lambda x, i: npx.pick(x, np.argmax(x, axis=1)) * 2,
    "pick first": lambda x, i: npx.pick(x, np.argmax(x, axis=0), axis=0, keepdims=True),
    "pairs": lambda x, i: x[i, i] * 3,
    "mixed": lambda x, i: x[None, ::-1, i, ...] + x[0, i],
    "lists": lambda x, i: x[[0, -1]] * x[:, [1]][:2],
    "one hot": lambda x, i: npx.one_hot(i, 4) @ x[:4],
    "bools": lambda x, i: (x > 0.5)[i],
    "float16": lambda x, i: x.astype("float16")[i],
    "a mask": lambda x, i: x[x > 0.5].sum() + x[i].sum(),
}


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", FORMS)
def test_forms_of_picking_give_what_eager_gives(name: str) -> None:
    rng = numpy.random.default_rng(6)
    compiled = blockfuse.hybridize(FORMS[name])
    for n in range(4):
        x, i = np.array(rng.random((5, 5)).astype("float32")), np.array(rng.integers(-4, 4, 4))
        found, wanted = compiled(x, i).asnumpy(), FORMS[name](x, i).asnumpy()
        numpy.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=f"call {n}")
        assert found.dtype == wanted.dtype
    program = case_of(compiled).program
    assert (program is None) == (name == "a mask")
    if program is not None:
        host = {s.operator.name for s in program.schedule.steps if isinstance(s, HostCall)}
        assert host <= {"argsort", "argmax", "cast"}


@pytest.mark.spread(7)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "bool"])
@pytest.mark.parametrize("numbers", [(1.0, 0.0), (2.7, -1.0)])
def test_one_hot_is_that_of_numpy_for_every_index(dtype: str, numbers: tuple[float, float]) -> None:
    attrs = {"depth": 3, "on_value": numbers[0], "off_value": numbers[1], "dtype": dtype}
    for values in ([-1, 0, 2, 3], [0.0, 1.9, -0.5, 7.0], [True, False, True, True]):
        x = numpy.array(values)
        recorded = graph_for(lambda v: indexing.one_hot(v, **attrs), [x])
        numpy.testing.assert_array_equal(
            Native(recorded)(x)[0], indexing.one_hot.meaning(x, **attrs), strict=True
        )


def test_one_program_serves_every_batch_size() -> None:
    net = Tokens()
    net.initialize()
    rng, sizes = numpy.random.default_rng(7), (3, 5, 1, 2, 64, 9)
    batches = [np.array(rng.integers(-11, 11, (n, 7))) for n in sizes]
    wanted = [net(b).asnumpy() for b in batches]
    net.hybridize()
    for _ in range(2):
        for batch, value in zip(batches, wanted, strict=True):
            numpy.testing.assert_allclose(net(batch).asnumpy(), value, rtol=1e-5, atol=1e-6)
    assert "any" in net.explain()
    assert len(net._hybrid.cases) == 1
    wrong = np.array(rng.integers(0, 11, (4, 7)))
    wrong[3, 6] = 11
    beyond(net, wrong)


@pytest.mark.parametrize("function", [npx.pick, lambda x, i: np.take(x, i, axis=0, mode="raise") + x[:, :1]])
def test_items_picked_by_their_own_indices_have_one_program(function: Callable[..., Any]) -> None:
    compiled, rng = blockfuse.hybridize(function), numpy.random.default_rng(11)
    for n in (4, 7, 5, 2):
        x = np.array(rng.random((n, 3)).astype("float32"))
        index = np.array(rng.integers(0, 2, n))
        numpy.testing.assert_allclose(compiled(x, index).asnumpy(), function(x, index).asnumpy(), rtol=1e-6)
    assert ("no program for every size" in compiled.explain()) == (function is not npx.pick)


@pytest.mark.parametrize(
    ("function", "types", "share"),
    [
        (rows_of, {"w": (5, 3), "i": (61, 4)}, 1),
        (lambda fixed, i: indexing.along_axis(fixed, i, 1), {"fixed": (61, 3), "i": (61, 2)}, None),
        (lambda w, i: rows_of(w, movement.reshape(i, shape=(244,))), {"w": (5, 3), "i": (61, 4)}, 4),
        (lambda w, i: indexing.along_axis(w, i, 1), {"w": (61, 3), "i": (61, 2)}, 1),
        (columns_of, {"w": (61, 3), "i": (4,)}, 1),
        (rows_of, {"w": (61, 3), "i": (61, 4)}, None),
        (rows_of, {"w": (61, 3), "i": (4,)}, None),
        (lambda w, i: indexing.along_axis(w, i, 0), {"w": (61, 3), "i": (61, 3)}, None),
        (columns_of, {"w": (5, 3), "i": (61,)}, None),
    ],
)
def test_items_that_pick_by_themselves(function: Any, types: Any, share: int | None) -> None:
    given_types = {n: tensor(s, "int64" if n == "i" else "float32") for n, s in types.items()}
    recorded = graph(function, **given_types)
    growing = {i for i in recorded.inputs if i.shape[0] == 61 and i.attrs["name"] != "fixed"}
    if share is None:
        with pytest.raises(TraceError, match="take_at"):
            rows_per_item_of(recorded, growing, 61)
    else:
        assert rows_per_item_of(recorded, growing, 61)[recorded.outputs[0]] == share


def test_audits_see_picked_values() -> None:
    net = Tokens()
    net.initialize()
    net.hybridize(audit=1.0)
    index = np.array(numpy.random.default_rng(8).integers(0, 11, (4, 7)))
    for _ in range(4):
        net(index)
    assert "audited" in net.explain()
    index[0, 0] = 11
    beyond(net, index)


def test_nothing_is_clipped_into_an_empty_axis_by_unsigned_indices() -> None:
    x = np.zeros((0, 3), dtype="uint8")
    assert np.take(x, np.zeros((0, 2), dtype="uint8"), axis=0, mode="clip").shape == (0, 2, 3)
