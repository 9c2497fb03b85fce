"""``python -m benchmarks.gpu_check``: everything that only a machine with a CUDA device can tell, in one command.

Versions; every family of kernels against float64, over results that hold NaN; the speed of copies and of cuBLAS; launches
one by one and as a graph; loops on values, decided on the device and by the host; compute-sanitizer, where it is found;
and the calls whose time counts, beside torch where it is installed. ``--dry-run`` goes the same way with small arrays in
Numba's simulator (set NUMBA_ENABLE_CUDASIM=1), whose times mean nothing. A part that fails is reported and the others go
on; the JSON file holds what was found so far.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import click

from benchmarks.gpu_cases import CHAINS, FAMILIES, LOOPS, MEASURES, Family, Measure, Shape, chain
from benchmarks.gpu_products import SHAPES, ProductTime, product_times
from benchmarks.gpu_report import Report, Timed, plotted, show
from benchmarks.gpu_timing import checked, copy_speeds, device_arrays, drawn, hybridized, microseconds
from blockfuse import nn
from blockfuse.codegen.cuda.device.device import Device
from blockfuse.codegen.cuda.products import cublas
from blockfuse.codegen.cuda.products.tile_choice import BlockTiling
from blockfuse.codegen.cuda.program import region_choice
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.runtime.programs import backend as backends

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


Parts = dict[str, Callable[[], None]]  # name -> what adds to the report


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
    parts = _results(report, device, small=dry_run or only_results)
    if not only_results:
        parts |= _times(report, device, dry_run)
    for name, part in parts.items():
        report.run(name, part, json_file)
    show(report)
    if plot_file is not None:
        plotted(report).savefig(plot_file)
    sys.exit(not report.passed)


def _device(dry_run: bool) -> Device:
    """The device of this process, or the simulator in its place."""
    if dry_run:
        from blockfuse.codegen.cuda.device.simulated_device import SimulatedDevice

        simulated = SimulatedDevice()
        backends.cuda_device = lambda: simulated  # type: ignore[assignment]  # what hybridize(backend="cuda") asks
    return backends.cuda_device()


def _versions() -> dict[str, str]:
    installed = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return {"python": platform.python_version()} | {p: installed.get(p, "-") for p in _PACKAGES}


def _results(report: Report, device: Device, small: bool) -> Parts:
    """Every family of kernels."""

    def check(family: Family, shapes: tuple[Shape, ...]) -> None:
        report.families.append(checked(family, shapes, device))

    return {
        f"{family.name} {shapes}": partial(check, family, shapes)
        for family in FAMILIES
        if not (small and family.large)
        for shapes in (family.shapes[:1] if small else family.shapes)
    }


def _times(report: Report, device: Device, dry_run: bool) -> Parts:
    """What only a device can tell; in the simulator, what can be rehearsed of it."""
    torch = None if dry_run else _torch()

    def launches(kernels: int) -> None:
        report.launches[kernels] = _launches(kernels, device)

    def loop(name: str) -> None:
        report.loops[name] = _loop(name, device)

    def measure(one: Measure) -> None:
        report.measures.append(_timed(one, device, torch, report.speeds, dry_run))

    nbytes = 1 << 12 if dry_run else _COPIED
    chains = {f"chain of {n}": partial(launches, n) for n in (CHAINS[:2] if dry_run else CHAINS)}
    parts: Parts = {
        "speeds": lambda: report.speeds.update(_speeds(device, torch, nbytes)),
        **chains,
        **{name: partial(loop, name) for name in (list(LOOPS)[:1] if dry_run else LOOPS)},
        **{one.name: partial(measure, one) for one in MEASURES},
    }
    if not dry_run:
        parts["products"] = lambda: report.products.extend(_products(device))
        parts["compute-sanitizer"] = lambda: report.sanitizer.update(_sanitized())
    return parts


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
        executable._runner.uncaptured = uncaptured
        found.append(microseconds(lambda: net(*arguments), device.finish))
    return found[0], found[1]


def _loop(name: str, device: Device) -> tuple[float, float]:
    """Microseconds of a call with a loop on values: as a region, and where the host reads each decision."""
    make, shape = LOOPS[name]
    arguments, net, found = device_arrays(drawn((shape,)), device, None), make(), []
    for worth in (region_choice.MAX_TIME_SHARE, 0.0):
        with mock.patch.object(region_choice, "MAX_TIME_SHARE", worth):
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
    if measure.bound == "copy" and "within" in speeds:
        return measure.amount / speeds["within"] / 1e3
    return measure.amount / speeds["cublas"] / 1e6 if measure.bound == "flop" and "cublas" in speeds else None


def _missed(measure: Measure, ours: float, eager: float | None, bound: float | None) -> Iterator[str]:
    if measure.max_microseconds is not None and ours > measure.max_microseconds:
        yield f"more than {measure.max_microseconds} us"
    if measure.times_eager is not None and eager is not None and eager < measure.times_eager * ours:
        yield f"less than {measure.times_eager} times torch"
    if (
        measure.min_bound_fraction is not None
        and bound is not None
        and bound < measure.min_bound_fraction * ours
    ):
        yield f"less than {measure.min_bound_fraction:.0%} of what the device can do"


if __name__ == "__main__":
    main()
