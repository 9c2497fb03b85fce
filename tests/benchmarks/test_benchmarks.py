"""The benchmark measures what it says, flags what is wrong and reports what is missing; it needs no peer for that."""

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from rich.console import Console

from benchmarks import nets, report, rounds, starts
from benchmarks.contender import (
    CONTENDERS,
    MACHINE,
    OTHER_WAYS,
    OURS,
    PEERS,
    Contender,
    UnsupportedNetError,
    Way,
)
from benchmarks.contenders import blockfuse as ours
from benchmarks.contenders import machine as the_machine
from benchmarks.contenders import numpy as by_hand
from benchmarks.figures import Figure, best_peer, by_key, figures, ratio, ratio_of_quickest
from benchmarks.processes import SilentWorkerError, Worker, command
from benchmarks.training import TRAININGS, Training
from benchmarks.worker import built, difference_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    net
    for net in nets.NETS
    if numpy.prod(net.shape) < 2000 and "1024" not in net.name and net.group != "sequences"
] + [nets.net_named("transformer feed-forward, 128x256")]
SEED = nets.net_named(starts.NET)


def expected(net: nets.Net) -> numpy.ndarray:
    return net.expected(*net.draw())


def run(**changes: Any) -> report.Run:
    cells = [
        rounds.Cell(SEED.name, "numpy", 1, (8.0, 9.0, 10.0), (8.0, 8.5, 9.0)),
        rounds.Cell(SEED.name, "jax", 1, (4.0, 4.0, 4.0), (4.0, 3.0, 4.0)),
        rounds.Cell(SEED.name, OURS, 1, (1.0, 1.0, 1.0), (0.5, 1.0, 1.0)),
    ]
    return replace(report.Run({}, {}, cells, [], []), **changes)


def shown(finished: report.Run) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    with console.capture() as text:
        console.print(*report.tables(finished))
    return text.get()


@pytest.mark.spread(7)
@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_blocks_and_numpy_agree_with_float64(net: nets.Net) -> None:
    (way,) = built(OURS, net, 1)
    assert difference_of(way, expected(net)) <= net.tolerance
    assert way.complaint() == ""
    try:
        (way,) = built("numpy", net, 1)
        assert difference_of(way, expected(net)) <= net.tolerance
    except UnsupportedNetError as reason:
        assert str(reason) == "NumPy has no erf"  # noqa: PT017 - most nets raise nothing


@pytest.mark.long
@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
@pytest.mark.parametrize("name", ["numba", "c"])
def test_programs_by_hand_agree_with_float64(name: str, net: nets.Net) -> None:
    if CONTENDERS[name].missing:
        pytest.skip(CONTENDERS[name].missing)
    try:
        (way,) = built(name, net, 1)
    except UnsupportedNetError as reason:
        pytest.skip(str(reason))
    assert difference_of(way, expected(net)) <= net.tolerance


@pytest.mark.parametrize("name", [OURS, "numpy"])
def test_nets_with_numpy_take_and_give_its_arrays(name: str) -> None:
    net = nets.net_named(f"{SEED.name}, NumPy in and out")
    (way,) = built(name, net, 1)
    assert type(way.scope["x"]) is type(eval(way.statement, way.scope)) is numpy.ndarray
    assert way.complaint() == ""


def test_a_contender_without_a_way_for_numpy_says_so() -> None:
    with pytest.raises(UnsupportedNetError, match="arrays that are numpy"):
        built(MACHINE, replace(SEED, arrays="numpy"), 1)


def test_fresh_processes_are_told_apart() -> None:
    ((cell,),) = rounds.measured([SEED], [("numpy", 1)], 2, fresh=True)
    assert len(cell.processes) == 2
    assert min(cell.processes) <= cell.median <= max(cell.processes)
    ours = replace(cell, contender=OURS, processes=(2.0, 3.0))
    (figure,) = (f for f in figures(by_key([ours]), [], []) if "of 2 processes" in f.text)
    assert (figure.value, figure.met) == (50, False)


def test_a_chain_of_operators_is_compiled_whole() -> None:
    net = nets.net_named("40 operators")
    (way,) = built(OURS, net, 1)
    assert difference_of(way, expected(net)) <= net.tolerance
    assert way.complaint() == ""


def test_a_net_that_runs_eagerly_is_told() -> None:
    net = replace(nets.chain(1), forward=lambda F, x, weight, bias: x * float(x.sum()))
    (way,) = built(OURS, net, 1)
    assert difference_of(way, expected(net)) <= net.tolerance
    assert "float" in way.complaint()


def test_the_machine_computes_for_every_floor() -> None:
    for net in (SEED, nets.net_named("3 layers of 1024, batch 1"), nets.net_named("elementwise chain, 1e3")):
        (way,) = the_machine.build(net, 1)
        assert difference_of(way, expected(net)) == 0


@pytest.mark.parametrize("wrong", [lambda y: y * 1.001, lambda y: y[:1], lambda y: y * numpy.nan])
def test_a_wrong_result_is_beyond_the_tolerance(wrong: Any) -> None:
    way = Way("call()", {"call": lambda: wrong(expected(SEED))})
    assert difference_of(way, expected(SEED)) > SEED.tolerance


def test_a_later_wrong_result_is_found() -> None:
    right = expected(SEED)
    results = iter([right, right, right + 1])
    assert difference_of(Way("next(results)", {"results": results}), right) > SEED.tolerance


SMALL_STEPS = [training for training in TRAININGS if training.name.startswith("64-64-10")]
CONVOLUTIONS = [
    pytest.param(t, marks=pytest.mark.long)
    for t in TRAININGS
    if t.name.startswith("LeNet") and t.optimizer == "sgd"
]


@pytest.mark.spread(2)
@pytest.mark.parametrize("training", [*SMALL_STEPS, *CONVOLUTIONS], ids=lambda training: training.name)
def test_steps_of_training_come_to_the_parameters_of_float64(training: Training) -> None:
    (step,) = ours.train(training, 1)
    assert training.drift(step) <= training.tolerance
    assert step.complaint() == ""
    (step,) = by_hand.train(training, 1)
    assert training.drift(step) <= training.tolerance


@pytest.mark.parametrize(
    "wrong", [lambda p: p * 1.001, lambda p: p[:1], lambda p: p * numpy.nan], ids=["size", "shape", "nan"]
)
def test_parameters_that_went_elsewhere_are_beyond_the_tolerance(wrong: Any) -> None:
    (step,) = by_hand.train(SMALL_STEPS[0], 1)
    elsewhere = replace(step, parameters=lambda: [wrong(p) for p in step.parameters()])
    assert SMALL_STEPS[0].drift(elsewhere) > SMALL_STEPS[0].tolerance


def test_a_contender_that_does_not_train_says_so() -> None:
    with pytest.raises(UnsupportedNetError, match="it does not train"):
        built("machine", SMALL_STEPS[0], 1)


def test_a_peer_with_an_environment_of_its_own_is_looked_for_there() -> None:
    peer = Contender("x", ("no_such_package",), "red", ".venv-nowhere")
    assert peer.missing == "no_such_package, in .venv-nowhere"
    assert peer.python.endswith(".venv-nowhere/bin/python")


def test_a_wrong_result_is_flagged_and_not_compared_with() -> None:
    numpys, jaxs, our = run().cells
    cells = [numpys, replace(jaxs, agrees=False, difference=0.5), our]
    assert ratio(by_key(run().cells), SEED.name, 1) == 4
    assert ratio_of_quickest(by_key(run().cells), SEED.name, 1) == 6
    assert ratio(by_key(cells), SEED.name, 1) == 9
    assert "WRONG" in shown(run(cells=cells))
    assert any("WRONG by 5.0e-01" in line for line in report.remarks(run(cells=cells)))
    cells = [numpys, jaxs, replace(our, agrees=False)]
    assert ratio(by_key(cells), SEED.name, 1) is None


def test_the_best_peer_is_neither_ours_nor_the_machine() -> None:
    cells = by_key([*run().cells, rounds.Cell(SEED.name, MACHINE, 1, (0.1,), (0.1,))])
    best = best_peer(cells, SEED.name, 1)
    assert best is not None
    assert best.contender == "jax"
    assert OURS not in PEERS
    assert MACHINE not in PEERS
    assert set(OTHER_WAYS).isdisjoint(PEERS)


def test_a_missing_peer_is_named() -> None:
    assert Contender("x", ("numpy", "no_such_package"), "red").missing == "no_such_package"
    (line,) = report.remarks(run(missing={"jax": "jaxlib"}))
    assert line == "JAX jit did not take part: not installed: jaxlib"


def test_every_contender_has_its_file() -> None:
    files = {path.stem for path in (ROOT / "benchmarks/contenders").glob("*.py")}
    assert files - {"__init__", "reference"} == set(CONTENDERS)


def test_a_process_that_ends_or_is_silent_costs_its_cell_only() -> None:
    worker = Worker("no_such_contender", 1)
    try:
        assert "ModuleNotFoundError" in worker.ask({"net": SEED.name}, 60)["failed"]
        with pytest.raises(SilentWorkerError, match="ended with code 1"):
            worker.ask({"net": "no such net"}, 60)
        with pytest.raises(SilentWorkerError, match="no answer in 0 s"):
            worker.ask({"net": SEED.name}, 0)
    finally:
        worker.stop()
    (cells,) = rounds.measured([SEED], [("no_such_contender", 1)], 1)
    assert "ModuleNotFoundError" in cells[0].reason
    assert not cells[0].counts


def test_figures_know_on_which_side_of_the_target_they_should_be() -> None:
    assert Figure("share", 90, "%", 85).met
    assert not Figure("share", 80, "%", 85).met
    assert not Figure("time", 90, "us", 85, at_least=False).met


@pytest.mark.long
def test_what_was_measured_is_drawn(tmp_path: Path) -> None:
    chains = [starts.Start(OURS, f"{n} operators", "empty", first=n / 100) for n in (100, 300)]
    batches = [
        rounds.Cell(f"784-256-128-10, batch {b}", OURS, t, (2.0 * b, 3.0 * b), (b, b))
        for b in (1, 8)
        for t in (1, 2)
    ]
    for number, finished in enumerate(
        (
            run(),
            run(cells=batches),
            run(cells=[], operators=chains),
            run(cells=[], starts=[starts.Start(OURS, SEED.name, "empty", all=0.5)]),
        )
    ):
        report.write(finished, tmp_path / str(number))
    drawn = [sorted(p.stem for p in (tmp_path / str(n)).glob("*.png")) for n in range(4)]
    assert drawn == [["nets"], ["nets", "sweeps"], ["sweeps"], ["sweeps"]]


@pytest.mark.long
def test_a_start_tells_times_and_memory() -> None:
    (found,) = starts.first_calls(["numpy"])
    for start in found:
        assert start.reason == ""
        assert start.agrees
        assert 0 < start.importing + start.first < start.all
        assert start.used > 0
        assert start.peak_bytes > 1e6


@pytest.mark.long
def test_one_command_measures_and_writes(tmp_path: Path) -> None:
    chosen = ("--net", SEED.name, "--peer", "numpy", "--peer", OURS, "--peer", MACHINE)
    options = ("--threads", "1", "--rounds", "2", "--part", "nets", "--out", tmp_path)
    done = subprocess.run(
        command("benchmarks", (*chosen, *options), 1), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert SEED.name in done.stdout
    written = json.loads((tmp_path / "results.json").read_text())
    cells = {cell["contender"]: cell for cell in written["nets"]}
    assert set(cells) == {"numpy", OURS, MACHINE}
    for cell in cells.values():
        assert 2 <= len(cell["times"]) <= 10
        assert min(cell["used"]) == cell["quickest"] > 0
        assert cell["agrees"]
        assert cell["reason"] == cell["complaint"] == ""
    assert written["ratios"][0]["ratio"] == cells["numpy"]["median"] / cells[OURS]["median"]
    for name in ("nets.png", "nets.svg"):
        assert (tmp_path / name).stat().st_size > 1000


def test_a_net_that_does_not_exist_is_refused() -> None:
    done = subprocess.run(
        command("benchmarks", ("--net", "no such net"), 1), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "groups are small, layers" in done.stderr
