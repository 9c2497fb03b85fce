"""A finished run as tables for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.contender import CONTENDERS, MACHINE, OURS
from benchmarks.figures import Cells, best_peer, by_key, figures, machine_share, ratio, ratio_of_quickest
from benchmarks.nets import NETS, Net
from benchmarks.pictures import pictures
from benchmarks.rounds import Cell
from benchmarks.starts import Start
from benchmarks.training import TRAININGS, Training

SCHEMA = 1  # of the JSON


@dataclass(frozen=True)
class Run:
    """Everything that was measured. system: what and where; missing: contender -> packages that are not installed."""

    system: dict[str, Any]
    missing: dict[str, str]
    cells: list[Cell]
    starts: list[Start]
    operators: list[Start]


def tables(run: Run) -> Iterator[Table]:
    """One of nets for each number of threads, one of first calls, one of figures."""
    cells = by_key(run.cells)
    for threads in sorted({c.threads for c in run.cells}):
        for nets, what in ((NETS, "a call"), (TRAININGS, "a step of training")):
            if any(c.net in {net.name for net in nets} and c.threads == threads for c in run.cells):
                yield _nets(cells, threads, nets, what)
    if run.starts:
        yield _first_calls(run.starts)
    if run.operators:
        yield _operators(run.operators)
    yield _figures(run, cells)


def remarks(run: Run) -> Iterator[str]:
    """Who did not take part, which cells have no time, which results are wrong."""
    for name, packages in run.missing.items():
        yield f"{CONTENDERS[name].title} did not take part: not installed: {packages}"
    seen: set[tuple[str, str]] = set()
    for cell in run.cells:
        what = f"{cell.net}: {CONTENDERS[cell.contender].title}"
        if not cell.agrees:
            yield f"{what}, {cell.threads} threads: WRONG by {cell.difference:.1e} of the largest element"
        text = cell.reason or cell.complaint
        if text and cell.contender != MACHINE and (what, text) not in seen:
            seen.add((what, text))
            yield f"{what}: {text}"
    for start in (*run.starts, *run.operators):
        if start.reason or not start.agrees:
            yield f"first call, {start.net}: {CONTENDERS[start.contender].title}: {start.reason or 'WRONG'}"


def as_json(run: Run) -> str:
    """The run with all samples, and the figures that follow from them."""
    cells = by_key(run.cells)
    document = {
        "schema": SCHEMA,
        "system": run.system,
        "missing": run.missing,
        "nets": [
            asdict(c) | ({"median": c.median, "spread": c.spread, "quickest": c.quickest} if c.times else {})
            for c in run.cells
        ],
        "ratios": [
            {
                "net": net,
                "threads": threads,
                "ratio": found,
                "of_quickest": ratio_of_quickest(cells, net, threads),
            }
            for net, threads in dict.fromkeys((c.net, c.threads) for c in run.cells)
            if (found := ratio(cells, net, threads)) is not None
        ],
        "first_calls": [asdict(s) for s in run.starts],
        "operators": [asdict(s) for s in run.operators],
        "figures": [asdict(f) | {"met": f.met} for f in figures(cells, run.starts, run.operators)],
    }
    return json.dumps(document, indent=1) + "\n"


def write(run: Run, folder: Path) -> None:
    """``results.json`` and, where matplotlib is installed, the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(as_json(run), encoding="utf-8")
    if find_spec("matplotlib"):
        for name, figure in pictures(run.cells, run.starts, run.operators).items():
            for suffix in ("png", "svg"):
                figure.savefig(folder / f"{name}.{suffix}", dpi=160)


# -- nets ----------------------------------------------------------------------------------------------------


def _nets(cells: Cells, threads: int, nets: Sequence[Net | Training], what: str) -> Table:
    names = [n for n in CONTENDERS if n != MACHINE and any((n, threads) == (c, t) for _, c, t in cells)]
    table = _table(f"microseconds {what}, median ± half the quartiles' distance; threads: {threads}", "net")
    for name in names:
        table.add_column(CONTENDERS[name].title, justify="right")
    for heading in ("to best peer", "of quickest", "target", "of machine"):
        table.add_column(heading, justify="right")
    for net in nets:
        if any((net.name, n, threads) in cells for n in names):
            best = best_peer(cells, net.name, threads)
            row = [_time(cells.get((net.name, n, threads)), best) for n in names]
            target = f"{net.target:g}x" if net.target else ""
            table.add_row(
                net.name,
                *row,
                _ratio(ratio(cells, net.name, threads), net.target),
                _ratio(ratio_of_quickest(cells, net.name, threads), net.target),
                target,
                _share(cells, net.name, threads),
            )
    return table


def _time(cell: Cell | None, best: Cell | None) -> Text:
    if cell is None or not cell.times:
        return Text("-", style="dim")
    text = f"{significant(cell.median)} ±{100 * cell.spread:.0f}%"
    if not cell.agrees:
        return Text(f"{text} WRONG", style="bold red")
    if cell.complaint:
        return Text(f"{text} !", style="yellow")
    return Text(text, style="bold" if cell is best or cell.contender == OURS else "")


def _ratio(found: float | None, target: float | None) -> Text:
    if found is None:
        return Text("-", style="dim")
    return Text(f"{significant(found)}x", style="green" if found >= (target or 1) else "red")


def _share(cells: Cells, net: str, threads: int) -> str:
    share = machine_share(cells, net, threads)
    return "" if share is None else f"{100 * share:.0f}%"


def significant(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


# -- the rest ------------------------------------------------------------------------------------------------


def _first_calls(starts: list[Start]) -> Table:
    table = _table("from starting Python to the second result", "contender")
    for heading in ("net", "caches", "all s", "processor s", "import s", "build and two calls s", "peak MB"):
        table.add_column(heading, justify="right")
    for start in starts:
        numbers = [f"{s:.2f}" for s in (start.all, start.used, start.importing, start.first)]
        shown = (
            [start.reason, "", "", "", ""] if start.reason else [*numbers, f"{start.peak_bytes / 1e6:.0f}"]
        )
        table.add_row(CONTENDERS[start.contender].title, start.net, start.cache, *shown)
    return table


def _operators(starts: list[Start]) -> Table:
    nets = list(dict.fromkeys(s.net for s in starts))
    table = _table("build and two calls with empty caches, s", "contender")
    for net in nets:
        table.add_column(net, justify="right")
    for name in dict.fromkeys(s.contender for s in starts):
        found = {s.net: s.reason or f"{s.first:.2f}" for s in starts if s.contender == name}
        table.add_row(CONTENDERS[name].title, *(found.get(net, "-") for net in nets))
    return table


def _figures(run: Run, cells: Cells) -> Table:
    table = _table("figures of blockfuse and of the machine", "figure")
    for heading in ("value", "target"):
        table.add_column(heading, justify="right")
    for figure in figures(cells, run.starts, run.operators):
        sign = (
            ""
            if figure.target is None
            else f"{'>=' if figure.at_least else '<='} {figure.target:g} {figure.unit}"
        )
        style = "" if figure.target is None else "green" if figure.met else "red"
        table.add_row(figure.text, Text(f"{significant(figure.value)} {figure.unit}", style=style), sign)
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column(first, no_wrap=True)
    return table
