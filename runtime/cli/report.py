"""Comparisons for people and for programs: a table, JSON, a picture."""

from __future__ import annotations

import io
import json
import math
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.cli.measure import Comparison, Difference, Timing
from blockfuse.runtime.pages.document import Column
from blockfuse.runtime.reasons import cure_lines

SCHEMA = 1  # of the JSON; docs/cli.md describes it
_PIPED_WIDTH = 140


def stdout() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a line a net where it is piped."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, color_system=None, width=_PIPED_WIDTH)
    return console


# -- the table -----------------------------------------------------------------------------------------------


def table(comparisons: Sequence[Comparison], width: int) -> Table:
    """One row a net and batch; times are medians in microseconds. ``width``: of the terminal, in characters."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    shown = columns(comparisons, width >= _WIDE)
    for column in shown:
        result.add_column(column.heading, justify="right" if column.kind else "left", no_wrap=True)
    for cells in zip(*(column.cells for column in shown), strict=True):
        result.add_row(*(Text(text, style=_STYLES[colour]) for text, colour in cells))
    return result


def columns(comparisons: Sequence[Comparison], wide: bool = True) -> list[Column]:
    """What the table says, for text and for HTML. wide: whether there is room for all of it."""
    empty = {heading for heading, has in _SOMETIMES.items() if not any(map(has, comparisons))}
    return [
        Column(heading, kind, [_coloured(cell(row, wide)) for row in comparisons])
        for heading, narrow_too, kind, cell in _COLUMNS
        if heading not in empty and (wide or narrow_too)
    ]


def _coloured(cell: str | Cell) -> Cell:
    return (cell, "") if isinstance(cell, str) else cell


def time_text(timing: Timing, with_spread: bool = True) -> str:
    """The median, and half the distance of the quartiles over it."""
    digits = max(0, 2 - math.floor(math.log10(timing.median)))
    return f"{timing.median:.{digits}f}" + (f" ±{100 * timing.spread:.0f}%" if with_spread else "")


def _ratio(row: Comparison, _wide: bool) -> Cell:
    return f"{row.ratio:.1f}x", "good" if row.ratio > 1.2 else ""


def _difference_cell(difference: Difference) -> Cell:
    text = f"{difference.relative:.0e}" if difference.absolute else "equal"
    return text, "" if difference.within else "bad"


def _what_runs(row: Comparison, _wide: bool) -> Cell:
    outcome = row.outcome
    if outcome.program is None:
        return "eager", "warn"
    calls = f" + {_counted(outcome.numpy_calls, 'NumPy call')}" if outcome.numpy_calls else ""
    return f"{_counted(outcome.operators, 'operator')} -> {_counted(outcome.kernels, 'kernel')}{calls}", ""


def _time_elsewhere(row: Comparison, wide: bool) -> str:
    return time_text(row.elsewhere.timing, wide) if row.elsewhere and row.elsewhere.timing else ""


def _difference_elsewhere(row: Comparison, _wide: bool) -> Cell:
    found = row.elsewhere and row.elsewhere.difference
    return _difference_cell(found) if found else ("", "")


Cell = tuple[str, str]  # text, and what its colour says of it
_STYLES = {"": "", "good": "green", "warn": "yellow", "bad": "bold red"}  # the colour -> in a terminal
_WIDE = 112
# heading of a column that stands where some comparison has it -> whether one has
_SOMETIMES: dict[str, Callable[[Comparison], Any]] = {
    "trained by": lambda row: row.training,
    "onnxruntime us": lambda row: row.elsewhere and row.elsewhere.timing,
    "to onnxruntime": lambda row: row.elsewhere and row.elsewhere.difference,
}
# heading, whether a narrow terminal shows it, alignment if not to the left, cell of a row
_COLUMNS: tuple[tuple[str, bool, str, Callable[[Comparison, bool], str | Cell]], ...] = (
    ("net", True, "", lambda row, wide: str(row.subject)),
    ("input", True, "", lambda row, wide: " ".join(map(str, row.inputs))),
    ("trained by", False, "", lambda row, wide: row.training),
    ("eager us", True, "right", lambda row, wide: time_text(row.eager, wide)),
    ("compiled us", True, "right", lambda row, wide: time_text(row.compiled, wide)),
    ("ratio", True, "right", _ratio),
    ("onnxruntime us", True, "right", _time_elsewhere),
    ("first ms", False, "right", lambda row, wide: f"{row.first_call:.0f}"),
    ("difference", True, "right", lambda row, wide: _difference_cell(row.difference)),
    ("to onnxruntime", True, "right", _difference_elsewhere),
    ("what runs", False, "", _what_runs),
)


def reasons(comparisons: Sequence[Comparison]) -> list[str]:
    """Why nets, or some of their calls, run eagerly, or not in ONNX Runtime."""
    absent = {f"{c.subject}: {c.elsewhere.reason}" for c in comparisons if c.elsewhere and c.elsewhere.reason}
    found = {(str(c.subject), c.outcome.reason): c.outcome for c in comparisons if c.outcome.reason}
    return [
        line
        for (net, reason), outcome in found.items()
        for line in (
            f"{net}: {'runs' if outcome.program is None else 'some calls run'} eagerly because {reason}",
            *cure_lines(reason),
        )
    ] + sorted(absent)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verdict(comparisons: Sequence[Comparison]) -> str:
    """The last line."""
    apart = [c for c in comparisons if not c.agrees]
    eager = sum(c.outcome.program is None for c in comparisons)
    text = f"{len(comparisons) - eager} compiled, {eager} eager; "
    if not apart:
        return text + "all results agree"
    return text + "results differ: " + ", ".join(f"{c.subject} {' '.join(map(str, c.inputs))}" for c in apart)


# -- for programs --------------------------------------------------------------------------------------------


def as_json(comparisons: Sequence[Comparison], machine: Machine) -> bytes:
    """Everything that was measured."""
    packages = ("blockfuse", "numpy", "numba", "llvmlite")
    document = {
        "schema": SCHEMA,
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "instructions": machine.name,
            "threads": machine.threads,
        },
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in packages},
        "results": [_as_dict(c) for c in comparisons],
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return str(sys.modules[package].__version__)


def _as_dict(row: Comparison) -> dict[str, Any]:
    return {
        "file": row.subject.file.name,
        "object": row.subject.name,
        "inputs": [{"shape": list(i.shape), "dtype": i.dtype} for i in row.inputs],
        "training": row.training,
        "compiled": row.outcome.program is not None,
        "reason": row.outcome.reason,
        "operators": row.outcome.operators,
        "kernels": row.outcome.kernels,
        "numpy_calls": row.outcome.numpy_calls,
        "max_absolute_difference": _number(row.difference.absolute),
        "max_relative_difference": _number(row.difference.relative),
        "within_tolerance": row.difference.within,
        "eager_us": _quartiles(row.eager),
        "compiled_us": _quartiles(row.compiled),
        "ratio": row.ratio,
        "first_call_ms": row.first_call,
        "onnxruntime": _elsewhere(row),
    }


def _elsewhere(row: Comparison) -> dict[str, Any] | None:
    other = row.elsewhere
    if other is None or other.difference is None or other.timing is None:
        return None
    return {
        "version": _version("onnxruntime"),
        "us": _quartiles(other.timing),
        "max_absolute_difference": _number(other.difference.absolute),
        "max_relative_difference": _number(other.difference.relative),
        "within_tolerance": other.difference.within,
    }


def _number(value: float) -> float | None:
    """JSON has no infinity: None where results have different shapes or no finite difference."""
    return float(value) if numpy.isfinite(value) else None


def _quartiles(timing: Timing) -> dict[str, float]:
    return {"median": timing.median, "low": timing.low, "high": timing.high, "rounds": timing.rounds}


# -- the picture ---------------------------------------------------------------------------------------------


def check_plot(path: Path) -> None:
    """Complain before measuring about a picture that could not be drawn after it."""
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"--plot {path}: write a name that ends in .png or .svg")
    try:
        import matplotlib  # noqa: F401 - the extra `plot`; slow to import, wanted by few
    except ImportError as error:
        raise UsageError("--plot needs matplotlib: pip install 'blockfuse[plot]'") from error


def label(row: Comparison) -> str:
    """Of a net and its inputs, in pictures."""
    return f"{row.subject}  {' '.join(map(str, row.inputs))}"


def axis_title(comparisons: Sequence[Comparison]) -> str:
    """What the times in a picture are."""
    what = "a step of training" if any(c.training for c in comparisons) else "a call"
    return f"microseconds {what}, median and quartiles"


def plotted(comparisons: Sequence[Comparison], suffix: str) -> bytes:
    """Bars of both times for each net, on a logarithmic axis."""
    from matplotlib.figure import Figure

    labels = [label(c) for c in comparisons]
    positions = numpy.arange(len(comparisons))
    figure = Figure(figsize=(8, 1.2 + 0.42 * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    for shift, name, colour, times in (
        (-0.2, "eager", "#b8bec9", [c.eager for c in comparisons]),
        (0.2, "compiled", "#2f6fde", [c.compiled for c in comparisons]),
    ):
        medians = numpy.array([t.median for t in times])
        errors = [medians - [t.low for t in times], [t.high for t in times] - medians]
        axes.barh(positions + shift, medians, 0.38, xerr=errors, label=name, color=colour, ecolor="#555")
    axes.set_xscale("log")
    axes.set_yticks(positions, labels)
    axes.invert_yaxis()
    axes.set_xlabel(axis_title(comparisons))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix.removeprefix("."), dpi=160)
    return picture.getvalue()
