"""``python -m benchmarks.gpu_check``: everything that only a machine with a CUDA device can tell, in one command.

Versions; every family of kernels against float64, over results that hold NaN; the speed of copies and of cuBLAS; launches
one by one and as a graph; loops on values, decided on the device and by the host; compute-sanitizer, where it is found;
and the calls whose time counts, beside torch where it is installed. ``--dry-run`` goes the same way with small arrays in
Numba's simulator (set NUMBA_ENABLE_CUDASIM=1), whose times mean nothing.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import click
from rich.console import Console
from rich.table import Table

from benchmarks.gpu_cases import CHAINS, FAMILIES, LOOPS, MEASURES, Measure, chain
from benchmarks.gpu_products import SHAPES, ProductTime, product_times
from benchmarks.gpu_timing import Found, checked, copy_speeds, device_arrays, drawn, hybridized, microseconds
from blockfuse import nn
from blockfuse.codegen.cuda import cublas, region_choice
from blockfuse.codegen.cuda.device import Device
from blockfuse.codegen.cuda.source import DeviceSource
from blockfuse.codegen.cuda.tiles import BlockTiling
from blockfuse.runtime import backend as backends

_PACKAGES = (
    "blockfuse",
    "numpy",
    "numba",
    "numba-cuda",
    "cuda-core",
    "cuda-bindings",
    "nvidia-nvjitlink",
    "torch",
)
_COPIED = 1 << 30  # bytes
_SQUARE = 4096  # rows and columns of the product that cuBLAS is timed with


@dataclass(frozen=True)
class Timed:
    """A measure in microseconds. bound: what the device could do it in, as measured; missed: wishes that were not met."""

    name: str
    ours: float
    torch_eager: float | None
    torch_compiled: float | None
    bound: float | None
    missed: tuple[str, ...]


# Who computed a product -> the largest error that it may have; who is not here computes in float32.
LIMITS = defaultdict(lambda: 1e-5, {"cublaslt tf32": 3e-3, "cublaslt bf16": 3e-2})


@dataclass
class Report:
    """What was found, as it goes into the JSON file."""

    device: str
    dry_run: bool
    versions: dict[str, str] = field(default_factory=dict)
    families: list[Found] = field(default_factory=list)
    speeds: dict[str, float] = field(default_factory=dict)  # GB/s of copies; cublas: TFLOP/s
    launches: dict[int, tuple[float, float]] = field(
        default_factory=dict
    )  # kernels -> us one by one, as a graph
    loops: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # us where the device decides, and where the host does
    sanitizer: dict[str, str] = field(default_factory=dict)  # tool -> its last line
    measures: list[Timed] = field(default_factory=list)
    products: list[ProductTime] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all results are right; times do not count."""
        clean = all("0 errors" in line or "0 hazards" in line for line in self.sanitizer.values())
        exact = all(one.relative < LIMITS[one.by] for one in self.products)
        return clean and exact and all(found.passed for found in self.families)


@click.command()
@click.option("--dry-run", is_flag=True, help="Small arrays in Numba's simulator; no device is needed.")
@click.option("--only-results", is_flag=True, help="Check results of small arrays, and nothing else.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write what was found to this file."
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw the times: .png or .svg.")
def main(dry_run: bool, only_results: bool, json_file: Path | None, plot_file: Path | None) -> None:
    """Check and measure on a CUDA device; the exit status is 1 if a result is wrong."""
    device = _device(dry_run)
    report = Report(device.name, dry_run, _versions())
    report.families += _families(device, small=dry_run or only_results)
    if not only_results:
        torch = None if dry_run else _torch()
        report.speeds = _speeds(device, torch, _COPIED if not dry_run else 1 << 12)
        report.launches = {n: _launches(n, device) for n in (CHAINS[:2] if dry_run else CHAINS)}
        report.loops = {name: _loop(name, device) for name in (list(LOOPS)[:1] if dry_run else LOOPS)}
        report.sanitizer = {} if dry_run else _sanitized()
        report.measures += [_timed(m, device, torch, report.speeds, dry_run) for m in MEASURES]
        report.products += [] if dry_run else _products(device)
    _show(report)
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    if plot_file is not None:
        _drawn(report).savefig(plot_file)
    sys.exit(not report.passed)


def _device(dry_run: bool) -> Device:
    """The device of this process, or the simulator in its place."""
    if dry_run:
        from blockfuse.codegen.cuda.simulated import SimulatedDevice

        simulated = SimulatedDevice()
        backends.cuda_device = lambda: simulated  # type: ignore[assignment]  # what hybridize(backend="cuda") asks
    return backends.cuda_device()


def _versions() -> dict[str, str]:
    installed = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return {"python": platform.python_version()} | {p: installed.get(p, "-") for p in _PACKAGES}


def _families(device: Device, small: bool) -> Iterator[Found]:
    for family in FAMILIES:
        if not (small and family.large):
            for shapes in family.shapes[:1] if small else family.shapes:
                yield checked(family, shapes, device)


def _torch() -> Any:
    """Torch, with exact products; None where it is not installed or sees no device."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    return torch if torch.cuda.is_available() else None


# -- what the device can do ------------------------------------------------------------------------------------


def _speeds(device: Device, torch: Any, nbytes: int) -> dict[str, float]:
    speeds = copy_speeds(device, nbytes)
    if torch is not None:
        x = torch.rand(_SQUARE, _SQUARE, device="cuda")
        speeds["cublas"] = 2e-6 * _SQUARE**3 / microseconds(lambda: x @ x, torch.cuda.synchronize)
    return speeds


def _launches(kernels: int, device: Device) -> tuple[float, float]:
    """Microseconds of a program of so many kernels: launched one by one, and as a graph."""
    net, found = hybridized(chain(kernels)), []
    arguments = device_arrays(drawn(((64,),)), device, None)
    net(*arguments)
    executable = next(iter(net._hybrid.cases.values())).program.executable
    for uncaptured in ("it is timed so", ""):
        executable.uncaptured = uncaptured
        found.append(microseconds(lambda: net(*arguments), device.finish))
    return found[0], found[1]


def _loop(name: str, device: Device) -> tuple[float, float]:
    """Microseconds of a call with a loop on values: as a region, and where the host reads each decision."""
    make, shape = LOOPS[name]
    arguments, net, found = device_arrays(drawn((shape,)), device, None), make(), []
    for worth in (region_choice.WORTH, 0.0):
        with mock.patch.object(region_choice, "WORTH", worth):
            compiled = hybridized(net)
            for _ in range(3):  # all ways that the call takes are recorded
                compiled(*arguments)
            found.append(microseconds(lambda: compiled(*arguments), device.finish))  # noqa: B023 - called here
    return found[0], found[1]


def _sanitized() -> dict[str, str]:
    """What compute-sanitizer says of small arrays, by tool."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {}
    found = {}
    for tool in ("memcheck", "racecheck"):
        command = [
            program,
            "--tool",
            tool,
            sys.executable,
            "-P",
            "-m",
            "benchmarks.gpu_check",
            "--only-results",
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in run.stdout.splitlines() if "SUMMARY" in line]
        found[tool] = lines[-1].strip("= ") if lines else f"it failed: {run.stderr[-200:]}"
    return found


def _products(device: Device) -> list[ProductTime]:
    """Every block that a product may be cut into, and cuBLASLt, at the shapes that count."""
    library, store = cublas.found(), backends.cache()

    def load(source: DeviceSource) -> Any:
        return device.compiled(source, store)

    queue, tiling = device.queue(), device.machine.block_tile
    most = tiling.multiprocessors if isinstance(tiling, BlockTiling) else 0
    return [
        time for shape in SHAPES for time in product_times(shape, load, queue, microseconds, library, most)
    ]


# -- the calls whose time counts -------------------------------------------------------------------------------


def _timed(measure: Measure, device: Device, torch: Any, speeds: dict[str, float], dry_run: bool) -> Timed:
    make, shapes = measure.rehearsal if dry_run else (measure.make, measure.shapes)
    data, made = drawn(shapes), make()
    weights = (
        [p.data().asnumpy() for p in made.collect_params().values()] if isinstance(made, nn.Block) else []
    )
    net = hybridized(made)
    arguments = data if measure.host else device_arrays(data, device, torch)
    ours = microseconds(lambda: net(*arguments), device.finish)
    eager = compiled = None
    if torch is not None:
        eager, compiled = _torch_times(measure, torch, weights, data)
    bound = _bound(measure, speeds)
    return Timed(
        measure.name,
        ours,
        eager,
        compiled,
        bound,
        () if dry_run else tuple(_missed(measure, ours, eager, bound)),
    )


def _torch_times(measure: Measure, torch: Any, weights: list[Any], data: list[Any]) -> tuple[float, float]:
    held = [torch.as_tensor(w, device="cuda") for w in weights]
    given = [torch.as_tensor(x, device="cpu" if measure.host else "cuda") for x in data]

    def call(*arguments: Any) -> Any:
        there = [a.to("cuda") for a in arguments]
        result = measure.torch(torch, held, *there)
        return result.cpu() if measure.host else result

    with torch.inference_mode():
        compiled = torch.compile(call, mode="max-autotune")
        eager = microseconds(lambda: call(*given), torch.cuda.synchronize)
        return eager, microseconds(lambda: compiled(*given), torch.cuda.synchronize)


def _bound(measure: Measure, speeds: dict[str, float]) -> float | None:
    """Microseconds that the device itself needs, by what was measured."""
    if measure.bound == "copy":
        return measure.amount / speeds["within"] / 1e3
    return measure.amount / speeds["cublas"] / 1e6 if measure.bound == "flop" and "cublas" in speeds else None


def _missed(measure: Measure, ours: float, eager: float | None, bound: float | None) -> Iterator[str]:
    if measure.most is not None and ours > measure.most:
        yield f"more than {measure.most} us"
    if measure.times_eager is not None and eager is not None and eager < measure.times_eager * ours:
        yield f"less than {measure.times_eager} times torch"
    if measure.share is not None and bound is not None and bound < measure.share * ours:
        yield f"less than {measure.share:.0%} of what the device can do"


# -- for people ------------------------------------------------------------------------------------------------


def _show(report: Report) -> None:
    console = Console(width=120)
    console.print(f"{report.device}: " + ", ".join(f"{p} {v}" for p, v in report.versions.items()))
    for found in report.families:
        verdict = "right" if found.passed else "WRONG"
        hosted = f", on the processor: {', '.join(found.hosted)}" if found.hosted else ""
        console.print(f"{verdict}: {found.family} {found.shapes} {found.relative:.2g}{hosted}", markup=False)
    console.print(", ".join(f"{name} {speed:.4g}" for name, speed in report.speeds.items()))
    for kernels, (single, graph) in report.launches.items():
        console.print(f"{kernels} kernels: {single:.4g} us one by one, {graph:.4g} us as a graph")
    for name, (region, host) in report.loops.items():
        console.print(f"{name}: {region:.4g} us decided on the device, {host:.4g} us by the host")
    for tool, line in report.sanitizer.items():
        console.print(f"{tool}: {line}", markup=False)
    console.print(_table(report.measures))
    for one in report.products:
        mark = "*" if one.chosen else " "
        console.print(
            f"{mark} {one.shape} {one.by}: {one.microseconds:.4g} us, {one.teraflops:.3g} TFLOP/s",
            markup=False,
        )


def _table(measures: list[Timed]) -> Table:
    table = Table("call", "us", "torch", "torch.compile", "bound", "missed")
    for one in measures:
        times = (one.ours, one.torch_eager, one.torch_compiled, one.bound)
        texts = ["-" if time is None else f"{time:.4g}" for time in times]
        table.add_row(one.name, *texts, "; ".join(one.missed))
    return table


def _drawn(report: Report) -> Any:
    """Microseconds of each measure, beside torch and what the device can do."""
    from matplotlib.figure import Figure  # the extra `plot`; slow to import

    figure = Figure(figsize=(9, 1.5 + 0.5 * len(report.measures)), layout="constrained")
    axes = figure.subplots()
    names = [one.name for one in report.measures]
    for label, key, mark in (
        ("blockfuse", "ours", "o"),
        ("torch", "torch_eager", "s"),
        ("torch.compile", "torch_compiled", "^"),
        ("bound", "bound", "|"),
    ):
        pairs = [(getattr(one, key), place) for place, one in enumerate(report.measures)]
        known = [(time, place) for time, place in pairs if time is not None]
        axes.plot([t for t, _ in known], [p for _, p in known], mark, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("microseconds a call")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(color="#e6e6e6")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
