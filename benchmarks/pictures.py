"""A finished run as pictures: the times of all nets, and what grows with the batch and with the number of operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contender import CONTENDERS, MACHINE, OURS
from benchmarks.figures import Cells, by_key
from benchmarks.nets import NETS
from benchmarks.rounds import Cell
from benchmarks.starts import Start
from benchmarks.training import TRAININGS

_SWEPT = "784-256-128-10"


def pictures(cells: list[Cell], starts: list[Start], operators: list[Start]) -> dict[str, Any]:
    """Name of the file -> figure, of what was measured."""
    found = {}
    if any(c.times for c in cells):
        found["nets"] = _times(cells)
    drawn = [panel for panel in _panels(by_key(cells), starts, operators) if panel[1]]
    if drawn:
        found["sweeps"] = _sweeps(drawn)
    return found


def _times(cells: list[Cell]) -> Any:
    from matplotlib.figure import Figure  # the extra `plot`; slow to import

    threads = sorted({c.threads for c in cells})
    known = [*(net.name for net in NETS), *(training.name for training in TRAININGS)]
    names = [name for name in known if any(c.net == name for c in cells)]
    figure = Figure(figsize=(4 + 4.5 * len(threads), 1.6 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, threads, strict=True):
        for contender, about in CONTENDERS.items():
            found = [c for c in cells if (c.contender, c.threads) == (contender, number) and c.counts]
            axes.errorbar(
                [c.median for c in found],
                [names.index(c.net) for c in found],
                xerr=[
                    [c.median - c.quartiles[0] for c in found],
                    [c.quartiles[1] - c.median for c in found],
                ],
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


_Panel = tuple[Callable[[Any, Any], None], Any, str]  # what draws it, its data, its title


def _panels(cells: Cells, starts: list[Start], operators: list[Start]) -> list[_Panel]:
    chains = {
        name: points
        for name in CONTENDERS
        if (
            points := [
                (int(s.net.split()[0]), s.first) for s in operators if s.contender == name and not s.reason
            ]
        )
    }
    batches = {
        name: points
        for name in CONTENDERS
        if (
            points := [
                (batch, cell.median / batch)
                for batch, net in _batches(cells)
                if (cell := cells.get((net, name, 1))) and cell.counts
            ]
        )
    }
    return [
        (_lines, batches, f"{_SWEPT}, one thread: microseconds a row over the batch"),
        (_lines, chains, "build and two calls, no caches: seconds over operators"),
        (_bars, [s for s in starts if not s.reason], "from starting Python to the second result: seconds"),
    ]


def _sweeps(drawn: list[_Panel]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * len(drawn), 4.8), layout="constrained")
    for axes, (draw, data, title) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True
    ):
        draw(axes, data)
        axes.set_title(title, fontsize="medium")
        axes.set_xscale("log")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _lines(axes: Any, data: dict[str, list[tuple[float, float]]]) -> None:
    for name, points in data.items():
        about, width = CONTENDERS[name], 2.4 if name == OURS else 1.2
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker="o", markersize=4, color=about.colour, label=about.title, linewidth=width)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize="small")


def _bars(axes: Any, rows: list[Start]) -> None:
    bars = range(len(rows))
    axes.barh(bars, [s.all for s in rows], color=[CONTENDERS[s.contender].colour for s in rows])
    axes.set_yticks(bars, [f"{CONTENDERS[s.contender].title}, {s.cache}" for s in rows])
    axes.invert_yaxis()


def _batches(cells: Cells) -> list[tuple[int, str]]:
    """Batches of the net that was measured with several, with the names of these nets."""
    measured = {net for net, _, _ in cells}
    return sorted((n.shape[0], n.name) for n in NETS if n.name.startswith(_SWEPT) and n.name in measured)
