"""A finished run as pictures: the times of all nets, and what grows with the batch and with the number of operators."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import CONTENDERS, MACHINE, OURS
from benchmarks.figures import Cells, by_key
from benchmarks.nets import NETS
from benchmarks.rounds import Cell
from benchmarks.starts import Start

_SWEPT = "784-256-128-10"


def pictures(cells: list[Cell], starts: list[Start], operators: list[Start]) -> dict[str, Any]:
    """Name of the file -> figure, of what was measured."""
    found = {}
    if any(c.times for c in cells):
        found["nets"] = _times(cells)
    if starts or operators or len(_batches(by_key(cells))) > 1:
        found["sweeps"] = _sweeps(by_key(cells), starts, operators)
    return found


def _times(cells: list[Cell]) -> Any:
    from matplotlib.figure import Figure  # the extra `plot`; slow to import

    threads = sorted({c.threads for c in cells})
    names = [n.name for n in NETS if any(c.net == n.name for c in cells)]
    figure = Figure(figsize=(4 + 4.5 * len(threads), 1.6 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, threads, strict=True):
        for contender, about in CONTENDERS.items():
            found = [c for c in cells if (c.contender, c.threads) == (contender, number) and c.counts]
            axes.errorbar(
                [c.median for c in found],
                [names.index(c.net) for c in found],
                xerr=[c.median * c.spread for c in found],
                fmt="|" if contender == MACHINE else "o",
                markersize=9 if contender in (OURS, MACHINE) else 5,
                color=about.colour,
                label=about.title,
                zorder=3 if contender == OURS else 2,
            )
        axes.set_xscale("log")
        axes.set_xlabel("microseconds a call, median and quartiles")
        axes.set_title(f"threads: {number}")
        axes.grid(color="#e6e6e6", zorder=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=4)
    return figure


def _sweeps(cells: Cells, starts: list[Start], operators: list[Start]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), layout="constrained")
    by_batch, by_operators, first = figure.subplots(1, 3)
    for name, about in CONTENDERS.items():
        line = {"color": about.colour, "label": about.title, "linewidth": 2.4 if name == OURS else 1.2}
        swept = [
            (batch, cell.median / batch)
            for batch, net in _batches(cells)
            if (cell := cells.get((net, name, 1))) and cell.counts
        ]
        by_batch.plot([b for b, _ in swept], [t for _, t in swept], marker="o", markersize=4, **line)
        chains = [(int(s.net.split()[0]), s.first) for s in operators if s.contender == name and not s.reason]
        by_operators.plot([n for n, _ in chains], [t for _, t in chains], marker="o", markersize=4, **line)
    rows = [s for s in starts if not s.reason]
    places = range(len(rows))
    first.barh(places, [s.all for s in rows], color=[CONTENDERS[s.contender].colour for s in rows])
    first.set_yticks(places, [f"{CONTENDERS[s.contender].title}, {s.cache}" for s in rows])
    first.invert_yaxis()
    for axes, title, unit in (
        (by_batch, f"{_SWEPT}, one thread, over the batch", "microseconds a row"),
        (by_operators, "build and two calls over operators, no caches", "seconds"),
        (first, "from starting Python to the second result", "seconds"),
    ):
        axes.set_title(title)
        axes.set_xscale("log")
        axes.spines[["top", "right"]].set_visible(False)
        (axes.set_xlabel if axes is first else axes.set_ylabel)(unit)
        if axes is not first:
            axes.set_yscale("log")
    figure.legend(*by_batch.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=8)
    return figure


def _batches(cells: Cells) -> list[tuple[int, str]]:
    """Batches of the net that was measured with several, with the names of these nets."""
    measured = {net for net, _, _ in cells}
    return sorted((n.shape[0], n.name) for n in NETS if n.name.startswith(_SWEPT) and n.name in measured)
