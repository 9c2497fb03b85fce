"""Regions: blocks of a flow that one launch runs. Which blocks, their source, and programs over kernels of the processor.

``tests/simulator/regions.py`` runs the same programs over kernels of a device.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from devices import FakeDevice, Tensor
from flows import same
from golden_plugin import golden
from region_programs import PROGRAMS, FixedHiddenMLP, calls_of, hybridized, plan_of, values
from structured import program
from test_cuda_source import bare_numbers
from test_random_programs import loaded, outcome

import blockfuse
from blockfuse import np
from blockfuse.codegen.cuda.program import region_choice, regions
from blockfuse.codegen.cuda.program.plan import Plan
from blockfuse.codegen.cuda.program.regions import END, Region
from blockfuse.runtime.programs import backend as backends
from blockfuse.runtime.programs import estimates

pytestmark = pytest.mark.spread(3)

__all__ = ["golden"]  # the fixture


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    made = FakeDevice()
    monkeypatch.setattr(backends, "cuda_device", lambda: made)
    return made


def plan_made(net: Any) -> Plan:
    plan: Plan = next(reversed(net._hybrid.cases.values())).program.executable.plan
    return plan


def agree(name: str) -> Any:
    """The net on the device, after every call has given what it gives in Python, three times."""
    make, _, _ = PROGRAMS[name]
    plain, net = make(), hybridized(make(), "cuda")
    for _ in range(3):
        for arguments in calls_of(name):
            wanted = plain(*(np.array(a) for a in arguments))
            same(net(*(np.array(a) for a in arguments)), wanted)
    return net


# -- results -----------------------------------------------------------------------------------------------------


@pytest.mark.spread(6)
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_region_takes_the_ways_that_python_takes(name: str) -> None:
    plan = plan_made(agree(name))
    (region,) = plan.regions
    assert region.blocks == tuple(range(len(plan.schedule.blocks)))
    assert plan.pieces == ()


@pytest.mark.spread(19)
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("decisions", [1, 2, 5])
@pytest.mark.parametrize("name", ["nested loops", "swapped", "a counter", "branches"])
def test_a_region_that_stopped_goes_on_where_it_was(
    name: str, decisions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "MAX_DECISIONS", decisions)
    agree(name)


@pytest.mark.spread(8)
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("seed", [14, 24, 26, 54, 57, 64, 66, 81])  # of those that have regions
def test_random_programs_agree_with_eager(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = program(seed)
    forward = loaded(source, str(tmp_path / f"program{seed}.py"))
    monkeypatch.setattr(regions, "MAX_DECISIONS", 1 + seed % 7)
    net = blockfuse.hybridize(forward, backend="cuda")
    draw = numpy.random.default_rng(seed)  # whole numbers, so that no decision hangs on rounding
    for arguments in draw.integers(-6, 30, (8, 2, 2)).astype("float64").tolist() * 2:
        (found, _), (wanted, _) = outcome(net, arguments), outcome(forward, arguments)
        for one, other in zip(found, wanted, strict=True):
            numpy.testing.assert_array_equal(one, other, f"program {seed}, {arguments}\n{source}")
    programs = [case.program for case in net._hybrid.cases.values() if case.program is not None]
    assert any(found.executable.plan.regions for found in programs)


# -- what a call asks of the device ------------------------------------------------------------------------------


def test_the_host_reads_one_word_whatever_the_rounds(device: FakeDevice) -> None:
    net = hybridized(FixedHiddenMLP(), "cuda")
    for scale in (1.0, 1e3, 30.0, 1e3, 1.0):
        x = values(2, 20) * numpy.float32(scale)
        wanted = net.forward(np.array(x)).asnumpy()
        net(np.array(x))
        given_there = Tensor(x, device)
        device.taken()
        found = net(given_there)
        assert [a for a in device.taken() if a in ("launch", "download")] == ["launch", "download"]
        numpy.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)


def test_nobody_waits_where_every_way_is_known_to_end(device: FakeDevice) -> None:
    make, _, x = PROGRAMS["a branch"]
    net = hybridized(make(), "cuda")
    for scale in (1, -1):
        net(np.array(x * numpy.float32(scale)))
    device.taken()
    found = net(Tensor(x, device))
    assert device.taken().count("download") == 0
    numpy.testing.assert_allclose(found.numpy(), make()(np.array(x)).asnumpy(), rtol=1e-6)


def test_a_way_that_nobody_has_taken_is_recorded_and_then_run(device: FakeDevice) -> None:
    make, _, x = PROGRAMS["a branch"]
    net = hybridized(make(), "cuda")
    net(np.array(x))
    (region,) = plan_made(net).regions
    assert None in region.exits
    case = next(iter(net._hybrid.cases.values()))
    for _ in range(3):
        device.taken()
        same(net(np.array(-x)), make()(np.array(-x)))
        assert case.attempts == 2
    assert device.taken().count("launch") == 1
    (region,) = plan_made(net).regions
    assert None not in region.exits


def test_a_region_follows_large_blocks_and_is_followed_by_them(device: FakeDevice) -> None:
    def mixed(x: Any, y: Any) -> Any:
        x = np.tanh(x)
        while y.sum() > 1:
            y = y * 0.5 if y.max() > 0.5 else y * 0.9
        return np.exp(x) + y.sum()

    net = blockfuse.hybridize(mixed, backend="cuda")
    x = values(200, 100)
    for _ in range(2):
        for scale in (1.0, 30.0, 0.1, 8.0):
            y = values(2, 3) * numpy.float32(scale)
            same(net(np.array(x), np.array(y)), mixed(np.array(x), np.array(y)))
    plan = plan_made(net)
    (region,) = plan.regions
    assert len(region.blocks) < len(plan.schedule.blocks)
    assert plan.pieces
    device.taken()
    net(Tensor(x, device), Tensor(values(2, 3) * 30, device))
    assert 1 <= device.taken().count("download") <= 3


def test_a_region_that_does_not_compile_is_launched_block_by_block(device: FakeDevice) -> None:
    device.refused = ("region",)
    net = agree("nested loops")
    plan = plan_made(net)
    assert plan.regions == ()
    assert plan.pieces
    assert "it does not compile: a test says so" in net.explain()


@pytest.mark.usefixtures("device")
def test_explain_tells_what_is_one_launch_and_what_the_host_reads() -> None:
    def sorted_twice(x: Any) -> Any:
        if x.sum() > 0:
            x = x * 2
        if x.max() > 3:
            x = x - 1
        x = np.sort(x)
        if x[0] > 0:
            x = x + 1
        return x * 1

    net = blockfuse.hybridize(sorted_twice, backend="cuda")
    for x in (values(40), -values(40), values(40) * 9, values(40)):
        net(np.array(x))
    text = net.explain()
    assert re.search(r"blocks \d.* are one launch, which decides between them on the device", text)
    assert re.search(r"reads the decision of block \d from .*, because numpy sort runs on the host", text)


# -- the choice --------------------------------------------------------------------------------------------------


def _one_block(size: int) -> tuple[str, ...]:
    """Why the blocks of a loop over so many elements are left to the host."""

    def halved(x: Any) -> Any:
        while np.abs(x).sum() > 1:
            x = x * 0.5
        return x + 1

    net = blockfuse.hybridize(halved, backend="cuda")
    net(np.array(values(size)))
    return tuple(plan_made(net).apart.values())


@pytest.mark.usefixtures("device")
def test_large_blocks_are_left_to_the_host() -> None:
    assert _one_block(1000) == ()
    assert any("one block of threads would take" in text for text in _one_block(100_000))


@pytest.mark.usefixtures("device")
def test_nothing_is_a_region_where_it_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_choice, "MAX_TIME_SHARE", 0.0)
    assert plan_made(agree("nested loops")).regions == ()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("limit", ["_MAX_LAUNCHES", "_MAX_BLOCKS"])
def test_a_region_has_only_so_many_launches_and_blocks(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_choice, limit, 6)
    plan = plan_made(agree("nested loops"))
    assert len(plan.regions) > 1
    taken = [number for region in plan.regions for number in region.blocks]
    assert len(taken) == len(set(taken))


@pytest.mark.long
def test_an_estimate_counts_a_region_as_one_decision() -> None:
    net = hybridized(PROGRAMS["nested loops"][0](), "cpu")
    for arguments in calls_of("nested loops"):
        net(np.array(arguments[0]))
    schedule = next(iter(net._hybrid.cases.values())).program.schedule
    assert sum(b.predicate is not None for b in schedule.blocks) > 2
    launches = len(schedule.launches) * estimates.BOUNDARY
    found = estimates.estimate(schedule, 1).device - estimates.CALL - launches
    assert estimates.ROUND_TRIP <= found < 2 * estimates.ROUND_TRIP


# -- the source --------------------------------------------------------------------------------------------------


def region_of(name: str) -> Region:
    (region,) = plan_of(name).regions
    return region


def test_the_source_of_a_region_is_that_of_the_golden_file(golden: Callable[[str, str], None]) -> None:
    source = region_of("FixedHiddenMLP").source
    (stage,) = source.stages
    golden("regions/fixed_hidden_mlp.txt", f"# {stage.threads} threads\n{source.text}")


every_program = pytest.mark.parametrize("name", PROGRAMS)


@pytest.mark.spread(6)
@every_program
def test_numbers_have_dtypes_and_arrays_names_of_their_own(name: str) -> None:
    text = region_of(name).source.text
    allowed = re.compile(r"\w+\[[\w *+]+\]|[\w *+]+")  # places in arrays that are registers
    assert all(allowed.fullmatch(found) for found in bare_numbers(text))
    for function in text.split("\n\n"):
        declared = re.findall(r"^ *(\w+) = cuda\.(?:local|shared)\.array\(", function, flags=re.MULTILINE)
        assert len(declared) == len(set(declared)) == function.count(".array(")
    assert "float64" not in text
    assert "blockIdx" not in text
    assert "ldv4(" not in text  # what a region reads may have been written by it


@pytest.mark.spread(6)
@every_program
def test_all_threads_reach_all_barriers(name: str) -> None:
    """In a region, and in the kernels that it calls, conditions around barriers are the same for all threads."""
    for function in ast.parse(region_of(name).source.text).body:
        for node in ast.walk(function):
            if isinstance(node, ast.If) and "syncthreads" in ast.unparse(node):
                assert isinstance(node.test, ast.Compare)
                assert ast.unparse(node.test.left) == "at"
            returns = isinstance(node, ast.Return)
            assert not (returns and "syncthreads" in ast.unparse(function))


def waits(line: ast.stmt) -> bool:
    """Whether the last that a statement does is to wait for all threads."""
    if isinstance(line, ast.For):
        return waits(line.body[-1])
    return ast.unparse(line) == "cuda.syncthreads()"


@pytest.mark.spread(17)
@every_program
def test_a_barrier_follows_every_kernel_and_every_decision(name: str) -> None:
    function = ast.parse(region_of(name).source.text).body[-1]
    (loop,) = (node for node in ast.walk(function) if isinstance(node, ast.While))
    assert waits(loop.body[-1])
    lines, (at,) = [], [line for line in loop.body if isinstance(line, ast.If)]
    while at:
        lines += at.body
        at = at.orelse[0] if at.orelse else None
    kernels = [n for n, line in enumerate(lines) if re.search(r"_part\d+\(", ast.unparse(line))]
    assert kernels
    assert all(waits(lines[n]) or waits(lines[n + 1]) for n in kernels)


@pytest.mark.usefixtures("device")
def test_names_of_arguments_are_not_taken_for_those_of_the_source() -> None:
    def named(at: Any, thread: Any, uint32: Any, scratch_0: Any, x_from2: Any, größe: Any) -> Any:
        while at.sum() > 1:
            at = at * 0.5 + thread * 0
        return at + thread + uint32 + scratch_0 + x_from2[2:] + größe

    net = blockfuse.hybridize(named, backend="cuda")
    for scale in (3.0, 0.1, 30.0, 3.0):
        arguments = [values(3) * numpy.float32(scale)] + [values(3)] * 3 + [values(5), values(3)]
        same(net(*map(np.array, arguments)), named(*map(np.array, arguments)))
    assert plan_made(net).regions


def test_words_tell_what_follows() -> None:
    region = Region((4, 7), (), (), (END, None, 2), frozenset(), region_of("a branch").source)
    assert [region.following(word) for word in range(5)] == [4, 7, END, None, 2]
