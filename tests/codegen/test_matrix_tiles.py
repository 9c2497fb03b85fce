"""Products with weights of bfloat16 in registers of matrices: see NOTE [matrix tiles].

Graph, kernel and source are held together everywhere; native code only where a processor has such registers.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from graphs import graph, whole
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled
from stages import hold_program, hold_together

import blockfuse
from blockfuse import frozen, nn
from blockfuse.array import np, npx
from blockfuse.codegen.cpu.native import isa, tile_permission
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.ir.errors import OtherMachineError
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import movement, narrow, neural, pointwise
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.passes import products
from blockfuse.runtime import config

HERE = isa.machine(config.isa_level(), 1, "bf16")
# One whose kernels have such tiles, whatever this one has.
ANY = replace(HERE, vector_bytes=64, accumulators=28, weights="bf16", matrix_tiles=True)

native = pytest.mark.skipif(not HERE.matrix_tiles, reason="the processor has no registers of matrices")
pytestmark = pytest.mark.spread(3)


def recorded_dense(
    rows: int, inner: int, units: int, then: Callable[..., Any] = lambda total, z: total
) -> Graph:
    types = {
        "x": f"float32[{rows}, {inner}]",
        "z": f"float32[{rows}, {units}]",
        "w": f"float32[{units}, {inner}]",
        "b": f"float32[{units}]",
    }
    return graph(lambda x, z, w, b: then(dense(x, w, b), z), parameters="w b", **types)


def held(recorded: Graph, rows: int, inner: int, units: int, machine: Machine = ANY) -> None:
    """Whole numbers are sums of the same bits in any order, and of eight bits, so that nothing is rounded."""
    arguments = [whole(rows, inner), whole(rows, units, seed=1)]
    parameters = [whole(units, inner, seed=2), whole(units, seed=3)]
    compiled = machine.matrix_tiles and HERE.matrix_tiles
    schedule = hold_together(recorded, arguments, parameters, machine, source=True, compiled=compiled)
    kernels = [k for k in (launch.kernel for launch in schedule.launches) if isinstance(k, ProductKernel)]
    assert [k.in_matrix_tiles for k in kernels] == [machine.matrix_tiles]


# -- what they compute -----------------------------------------------------------------------------------------


SHAPES = [
    (8, 64, 32),
    (16, 64, 32),
    (17, 65, 33),
    (32, 96, 64),
    (33, 127, 100),
    (48, 130, 32),
    (65, 300, 47),
    (70, 64, 1100),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_stage_gives_the_same(shape: tuple[int, int, int], threads: int) -> None:
    held(recorded_dense(*shape), *shape, replace(ANY, threads=threads))


THEN: dict[str, Callable[..., Any]] = {
    "relu": lambda total, z: neural.relu(total),
    "residual": lambda total, z: z + neural.relu(total),
    "truths": lambda total, z: pointwise.greater(total, z),
    "float64": lambda total, z: pointwise.cast(total, dtype="float64") * pointwise.cast(z, dtype="float64"),
    "two results": lambda total, z: (neural.relu(total), pointwise.greater(total, z)),
}


@pytest.mark.parametrize("then", THEN)
def test_what_follows_runs_on_the_sums(then: str) -> None:
    held(recorded_dense(40, 70, 50, THEN[then]), 40, 70, 50)


def test_a_left_operand_that_lies_across_is_copied() -> None:
    recorded = graph(
        lambda x, w: matmul(movement.transpose(x, axes=(1, 0)), w),
        parameters="w",
        x="float32[80, 40]",
        w="float32[80, 64]",
    )
    hold_together(
        recorded, [whole(80, 40)], [whole(80, 64, seed=1)], ANY, source=True, compiled=HERE.matrix_tiles
    )


@pytest.mark.parametrize("shape", [(7, 64, 32), (8, 63, 32), (8, 64, 31)], ids=str)
def test_small_products_stay_in_vectors(shape: tuple[int, int, int]) -> None:
    recorded, machine = recorded_dense(*shape), replace(ANY, matrix_tiles=False)
    rows, inner, units = shape
    values = (
        [whole(rows, inner), whole(rows, units, seed=1)],
        [whole(units, inner, seed=2), whole(units, seed=3)],
    )
    schedules = [hold_together(recorded, *values, one, compiled=False) for one in (machine, ANY)]
    assert [str(s.launches) for s in schedules[:1]] == [str(s.launches) for s in schedules[1:]]


# -- how near --------------------------------------------------------------------------------------------------


def layer(weight: numpy.ndarray, bias: numpy.ndarray | None = None, threads: int = 1) -> Any:
    net = nn.Dense(*weight.shape[:1], in_units=weight.shape[1], use_bias=bias is not None)
    net.initialize()
    net.weight.set_data(np.array(weight))
    if bias is not None:
        net.bias.set_data(np.array(bias))
    net.hybridize(precision="bf16", threads=threads)
    return net


def compiled(net: Any, x: numpy.ndarray) -> numpy.ndarray:
    """What a program with such tiles gives."""
    net(np.array(x))
    found: numpy.ndarray = net(np.array(x)).asnumpy()
    assert "weights in bf16" in net.explain()
    return found


def rounded(weight: numpy.ndarray) -> numpy.ndarray:
    values: numpy.ndarray = narrow.rounded.meaning(weight, form="bf16", axis=1)
    return values.astype("float64")


def random(seed: int, *shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(size=shape).astype("float32")


@native
@given(st.integers(16, 80), st.integers(64, 400), st.integers(32, 130), st.integers(0, 99))
@sampled(3, 60)
def test_they_are_as_near_as_sums_in_float32(rows: int, inner: int, units: int, seed: int) -> None:
    x, w, b = random(seed, rows, inner), random(seed + 1, units, inner), random(seed + 2, units)
    found = compiled(layer(w, b), x)
    exact = x.astype("float64") @ rounded(w).T + b
    size = numpy.abs(x).astype("float64") @ numpy.abs(rounded(w)).T + numpy.abs(b)
    assert (numpy.abs(found - exact) <= 2.0**-24 * numpy.sqrt(inner) * 2 * size).all()


@native
@pytest.mark.parametrize("bits", range(24))
def test_no_bit_of_an_activation_is_lost(bits: int) -> None:
    """A single summand is exact, so that one more bit below shows."""
    x = numpy.zeros((20, 64), "float32")
    x[:, 5] = 1 + 2.0 ** -numpy.arange(4, 24) + 2.0**-bits
    w = numpy.ones((32, 64), "float32")
    numpy.testing.assert_array_equal(compiled(layer(w), x), numpy.repeat(x[:, 5:6], 32, axis=1))


SPECIAL = {
    "infinity": numpy.inf,
    "minus infinity": -numpy.inf,
    "nan": numpy.nan,
    "largest": numpy.finfo("float32").max,
    "denormal": 1e-42,
    "zero": 0.0,
}


@native
@pytest.mark.parametrize("place", ["activation", "weight", "both"])
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_numbers_are_what_they_are_in_vectors(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = numpy.abs(random(1, 35, 70)) + 1, random(2, 40, 70)
    if place != "weight":
        x[[3, 20, 34], [0, 69, 33]] = SPECIAL[name]
    if place != "activation":
        w[[0, 39], [0, 69]] = SPECIAL[name]
    found = compiled(layer(w), x)
    monkeypatch.setattr(tile_permission, "granted", lambda: False)
    wanted = in_vectors(lambda: compiled(layer(w), x), monkeypatch)
    odd = ~numpy.isfinite(wanted)
    numpy.testing.assert_array_equal(found[odd], wanted[odd])
    usual = numpy.where(odd, 0, wanted)
    assert numpy.isfinite(found[~odd]).all()
    near = numpy.abs(numpy.where(odd, 0, found) - usual)
    assert (near <= 1e-5 * numpy.abs(usual).max(axis=1, keepdims=True)).all()


def in_vectors(run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What it gives on a processor without such registers."""
    from blockfuse.runtime.programs import backend

    monkeypatch.setattr(tile_permission, "granted", lambda: False)
    for known in (isa.machine, backend._processor):
        known.cache_clear()
    try:
        return run()
    finally:
        monkeypatch.undo()
        for known in (isa.machine, backend._processor):
            known.cache_clear()


@native
@pytest.mark.parametrize("exponent", [-30, -60, -64, -70, -100, -120, -130, -145])
@pytest.mark.parametrize("weights", [0, 60])
def test_small_rows_are_as_near_as_large_ones(exponent: int, weights: int) -> None:
    """In rows below 2^-64 parts of numbers would be zeros; those beside them are not touched."""
    x, w = random(1, 20, 70), random(2, 32, 70) * numpy.float32(2.0**weights)
    x[::2] = (x[::2] * 2.0**exponent).astype("float32")
    found = compiled(layer(w), x)
    exact = x.astype("float64") @ rounded(w).T
    size = numpy.abs(x).astype("float64") @ numpy.abs(rounded(w)).T
    assert (numpy.abs(found - exact) <= 2.0**-20 * size + 70 * 2.0**-149).all()


@native
def test_a_program_for_every_batch_size_takes_vectors_for_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of tiles read the same panels."""
    net = layer(whole(70, 99, seed=2), whole(70, seed=3))
    for rows in (5, 9, 11, 13):
        net(np.array(whole(rows, 99)))
    for rows in (*range(1, 20), 33, 70):
        x = whole(rows, 99)
        found = net(np.array(x)).asnumpy()
        numpy.testing.assert_array_equal(found, x @ whole(70, 99, seed=2).T + whole(70, seed=3))
    (program,) = {case.program for case in net._hybrid.cases.values() if case.program.schedule.batch}
    (launch,) = program.schedule.launches
    assert launch.kernel.in_matrix_tiles
    assert [tile.rows for tile in launch.kernel.tiles] == [8, 4, 2, 1]
    monkeypatch.setattr(products, "MIN_PAIRED_ROWS", 1)  # graphs for these sizes read such panels, too
    for rows in (1, 3, 7, 8, 31):
        hold_program(program, [whole(rows, 99)], source=True)


# -- threads, processes, machines ------------------------------------------------------------------------------


@native
def test_threads_and_a_child_have_registers_of_their_own() -> None:
    x, w = random(1, 300, 200), random(2, 150, 200)
    nets = [layer(w, threads=n) for n in (1, 2)]
    wanted = compiled(nets[0], x)
    numpy.testing.assert_array_equal(compiled(nets[1], x), wanted)
    found: list[bool] = []

    def call() -> None:
        found.extend((net(np.array(x)).asnumpy() == wanted).all() for net in nets for _ in range(5))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 40
    assert all(found)
    child = os.fork()
    if not child:
        os._exit(0 if (nets[1](np.array(x)).asnumpy() == wanted).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@native
def test_a_thread_with_a_small_stack_has_room_for_sums() -> None:
    x, w = random(1, 70, 200), random(2, 2000, 200)
    net = layer(w)
    wanted, found = compiled(net, x), []
    before = threading.stack_size(256 << 10)
    try:
        thread = threading.Thread(target=lambda: found.append(net(np.array(x)).asnumpy()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    numpy.testing.assert_array_equal(found[0], wanted)


def test_fewer_instructions_another_precision_or_no_permission_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machines = [
        *(isa.machine(level, 1, "bf16") for level in ("avx2", "baseline")),
        *(isa.machine("", 1, weights) for weights in ("float32", "int8")),
        in_vectors(lambda: isa.machine("", 1, "bf16"), monkeypatch),
    ]
    assert not any(m.matrix_tiles or "+amx" in m.features for m in machines)


@native
def test_with_registers_the_features_say_so() -> None:
    assert all(f"+{name}" in HERE.features for name in isa.MATRIX_TILES)


@native
def test_a_frozen_net_asks_for_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, path = random(1, 40, 70), str(tmp_path / "net.frozen")
    net = layer(random(2, 50, 70), random(3, 50))
    wanted = compiled(net, x)
    blockfuse.freeze(net, path)
    numpy.testing.assert_array_equal(frozen.load(path)(x), wanted)
    monkeypatch.setattr(tile_permission, "granted", lambda: False)
    with pytest.raises(OtherMachineError, match="registers of matrices"):
        frozen.load(path)


@native
def test_layers_one_behind_the_other_and_activations_of_many_instructions() -> None:
    net = nn.HybridSequential()
    for inner, units in ((80, 96), (96, 64), (64, 10)):
        net.add(nn.Dense(units, in_units=inner))
        net.add(nn.HybridLambda(lambda F, x: npx.gelu(x)))
    net.initialize()
    x = random(4, 50, 80)
    net.hybridize(precision="bf16", audit=1)
    for _ in range(3):
        net(np.array(x))  # raises AuditError where it differs
    assert net.explain().count("weights in bf16") == 3
    assert net.explain().count("tiles of 32 x 32, weights in bf16") == 2
