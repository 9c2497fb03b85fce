"""The gradient of every row of the operator table in a compiled step against the same step in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from linear_algebra import definite
from program_coverage import rows_of

import blockfuse
from blockfuse import autograd, gluon, nn, np
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.lowering import Fused
from blockfuse.ir.operator import TABLE, Example, Operator
from blockfuse.ir.operators import contractions
from blockfuse.ir.operators.pointwise import FLAT
from blockfuse.nn.parameter import Parameter

# Rows between the passes and the kernels, of which nobody asks for a gradient, and one that looks at values.
WITHOUT = {
    *(contractions.pack, contractions.packed_product, contractions.window_product),
    *(TABLE["sliding_windows"], TABLE["checked"]),
    *map(TABLE.__getitem__, rows_of("narrow")),
}
ROWS = [
    row
    for row in TABLE.values()
    if not (row.random or row.gradient is FLAT or row in WITHOUT or isinstance(row.lowering, Fused))
]
CASES = [(row, example) for row in ROWS for example in row.examples if example.shapes and row.name != "drawn"]
IDS = [f"{row.name}-{row.examples.index(example)}" for row, example in CASES]

# NumPy gathers and adds windows, and LAPACK finds eigenvalues.
HOSTED = {"picked", "routed", "eigh", "eigvalsh"}


def values_of(example: Example, seed: int) -> list[numpy.ndarray]:
    rng = numpy.random.default_rng(seed)
    return [
        rng.integers(0, int(example.high), shape)
        if position in example.integers
        else _floats(example, rng.uniform(example.low, example.high, shape)).astype("float32")
        for position, shape in enumerate(example.shapes)
    ]


def _floats(example: Example, drawn: numpy.ndarray) -> numpy.ndarray:
    return definite(drawn) if example.definite else drawn


class Held:
    """The float operands as parameters, and a step that moves them against the gradient of what a row makes of them."""

    def __init__(self, row: Operator, example: Example, values: list[numpy.ndarray]) -> None:
        self.row, self.attrs = row, example.attrs
        self.operands = [self._held(f"x{n}", value) for n, value in enumerate(values)]
        self.parameters = [x for x in self.operands if isinstance(x, Parameter)]

    def _held(self, name: str, value: numpy.ndarray) -> Any:
        if value.dtype.kind != "f":
            return ndarray(value)
        parameter = Parameter(name, shape=value.shape, dtype=value.dtype.name)
        parameter.initialize()
        parameter.set_data(ndarray(value))
        return parameter

    def step(self) -> Callable[[ndarray], ndarray]:
        def step(head: ndarray) -> ndarray:
            with autograd.record():
                taken = (x.data() * 1.0 if isinstance(x, Parameter) else x for x in self.operands)
                out = self.row(*taken, **self.attrs)
            out.backward(head)
            for parameter in self.parameters:
                data = parameter.data()
                data -= parameter.grad() * 1e-3
            return out.detach() * head

        return step

    @property
    def state(self) -> list[numpy.ndarray]:
        return [a.asnumpy() for p in self.parameters for a in (p.data(), p.grad())]


def result_of(row: Operator, example: Example, values: list[numpy.ndarray]) -> Any:
    with numpy.errstate(all="ignore"):
        return numpy.asarray(row.meaning(*values, **example.attrs))


@pytest.mark.spread(160)
@pytest.mark.parametrize(("row", "example"), CASES, ids=IDS)
def test_compiled_gradients_are_those_of_python(row: Operator, example: Example) -> None:
    values = values_of(example, 5)
    try:
        out = result_of(row, example, values)
    except TypeError:
        pytest.skip("no meaning for floats")
    if out.dtype != "float32":
        pytest.skip("not a function to floats")
    plain, other = Held(row, example, values), Held(row, example, values)
    eager, compiled = plain.step(), blockfuse.hybridize(other.step())
    rng = numpy.random.default_rng(6)
    for _ in range(3):
        head = ndarray(rng.uniform(0.5, 1.5, out.shape).astype("float32"))
        numpy.testing.assert_allclose(compiled(head).asnumpy(), eager(head).asnumpy(), rtol=5e-5, atol=1e-5)
        for found, wanted in zip(other.state, plain.state, strict=True):
            numpy.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    programs = [case.program for case in compiled._hybrid.cases.values()]  # type: ignore[attr-defined]
    assert programs[0] is not None, compiled.explain()  # type: ignore[attr-defined]
    assert hosted(programs[0]) <= HOSTED


def test_a_step_through_an_embedding_is_native_and_raises_before_it_writes() -> None:
    def trained(compile_it: bool) -> tuple[Any, Any]:
        np.random.seed(3)
        net = nn.Sequential(nn.Embedding(20, 8), nn.Dense(3))
        net.initialize()
        net(np.zeros((2, 4), dtype="int64"))
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})

        def step(tokens: ndarray, labels: ndarray) -> ndarray:
            with autograd.record():
                loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(tokens), labels)
            loss.backward()
            trainer.step(len(tokens))
            return loss.detach()

        return blockfuse.hybridize(step) if compile_it else step, net

    (compiled, net), (eager, plain) = trained(True), trained(False)
    rng = numpy.random.default_rng(4)
    for _ in range(4):
        tokens, labels = np.array(rng.integers(-20, 20, (6, 4))), np.array(rng.integers(0, 3, 6))
        numpy.testing.assert_allclose(
            compiled(tokens, labels).asnumpy(), eager(tokens, labels).asnumpy(), rtol=1e-5
        )
    held = [p.data().asnumpy() for p in net.collect_params().values()]
    for mine, other in zip(held, plain.collect_params().values(), strict=True):
        numpy.testing.assert_allclose(mine, other.data().asnumpy(), rtol=1e-5, atol=1e-6)
    (program,) = (case.program for case in compiled._hybrid.cases.values())
    assert any(isinstance(launch.kernel, ScatterKernel) for launch in program.schedule.launches)
    assert not hosted(program)
    tokens[2, 1] = 20
    with pytest.raises(IndexError):
        compiled(tokens, labels)
    for before, now in zip(held, net.collect_params().values(), strict=True):
        numpy.testing.assert_array_equal(now.data().asnumpy(), before)


def hosted(program: Any) -> set[str]:
    return {step.operator.name for step in program.schedule.steps if isinstance(step, HostCall)}
