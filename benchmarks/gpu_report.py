"""What a check of a device found: kept as it comes, written as JSON, shown as a table and a plot."""

from __future__ import annotations

import json
import re
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gpu_products import ProductTime
from benchmarks.gpu_timing import Found


@dataclass(frozen=True)
class Timed:
    """A measure in microseconds."""

    name: str  # of the measure
    ours: float
    torch_eager: float | None  # None: no torch here
    torch_compiled: float | None
    bound: float | None  # what the device could do it in, as measured
    missed: tuple[str, ...]  # wishes that were not met


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
    failed: dict[str, str] = field(default_factory=dict)  # part -> its error

    def run(self, name: str, part: Callable[[], None], json_file: Path | None) -> None:
        """Run a part, and keep what was found so far."""
        try:
            part()
        except Exception as error:  # a machine with a device is lent for minutes: the other parts go on
            traceback.print_exc()
            self.failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if json_file is not None:
            json_file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @property
    def passed(self) -> bool:
        """Whether nothing failed and all results are right; times do not count."""
        clean = all(re.search(r"\b0 (errors|hazards)", line) for line in self.sanitizer.values())
        exact = all(one.relative < LIMITS[one.by] for one in self.products)
        return not self.failed and clean and exact and all(found.passed for found in self.families)


def show(report: Report) -> None:
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
    for name, error in report.failed.items():
        console.print(f"FAILED: {name}: {error}", markup=False)
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


def plotted(report: Report) -> Any:
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
        pairs = [(getattr(one, key), number) for number, one in enumerate(report.measures)]
        known = [(time, number) for time, number in pairs if time is not None]
        axes.plot([t for t, _ in known], [p for _, p in known], mark, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("microseconds a call")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(color="#e6e6e6")
    axes.legend(frameon=False)
    return figure
