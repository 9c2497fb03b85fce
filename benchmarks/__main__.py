"""``make bench``, or ``python -m benchmarks``: run what was chosen, print tables, write JSON and pictures."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from time import strftime
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report, rounds, starts
from benchmarks.contender import CONTENDERS, MACHINE, OTHER_WAYS, OURS
from benchmarks.nets import NETS, Net
from benchmarks.training import TRAININGS, Training

PARTS = ("nets", "first", "operators")
TASKS: tuple[Net | Training, ...] = (*NETS, *TRAININGS)
_NAMES = {net.name for net in TASKS}
_GROUPS = tuple(dict.fromkeys(net.group for net in TASKS))
_QUICK = {"small", "layers"}  # groups of nets
_WIDTH = 190  # of tables that are piped


def _threads(_context: click.Context, _option: click.Parameter, text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise click.BadParameter("write numbers from 1 on, as 1,2")
    return numbers


@click.command()
@click.option(
    "--net",
    "wanted",
    multiple=True,
    help="The net of this name, nets whose name contains it, or a group of nets; repeat for more.",
)
@click.option(
    "--peer",
    "names",
    multiple=True,
    type=click.Choice(list(CONTENDERS)),
    help="Who takes part; repeat for more.",
)
@click.option("--threads", default="1,2", show_default=True, callback=_threads, help="Numbers of threads.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(PARTS), help="What is measured; repeat for more."
)
@click.option(
    "--rounds",
    "count",
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    help="Turns of a contender at a net.",
)
@click.option(
    "--fresh", is_flag=True, help="A process of its own for each turn, to see what differs between processes."
)
@click.option(
    "--quick", is_flag=True, help="Small nets and layers only, three rounds, no starts of processes."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="build/benchmarks",
    show_default=True,
    help="Where files go.",
)
def main(
    wanted: tuple[str, ...],
    names: tuple[str, ...],
    threads: list[int],
    parts: tuple[str, ...],
    count: int,
    fresh: bool,
    quick: bool,
    out: Path,
) -> None:
    """Measure blockfuse, its peers and the machine; docs/benchmarks.md says how."""
    chosen = [net for net in TASKS if _is_wanted(net, wanted, quick)]
    if not chosen:
        raise click.UsageError(f"no net is called so; groups are {', '.join(_GROUPS)}")
    missing = {n: CONTENDERS[n].missing for n in names or CONTENDERS if CONTENDERS[n].missing}
    present = [n for n in names or CONTENDERS if n not in missing]
    parts = parts or (("nets",) if quick else PARTS)
    pairs = [(n, t) for t in threads for n in present if t == 1 or n != MACHINE]
    starting = [n for n in present if n not in (MACHINE, *OTHER_WAYS)]
    run = report.Run(
        _system(present),
        missing,
        _all(
            "nets",
            rounds.measured(chosen, pairs, min(count, 3) if quick else count, fresh),
            chosen if "nets" in parts else [],
        ),
        _all("first calls", starts.first_calls(starting), starting if "first" in parts else []),
        _all("chains", starts.against_operators(starting), starting if "operators" in parts else []),
    )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, color_system=None, width=_WIDTH)
    for table in report.tables(run):
        console.print(table, "")
    for line in report.remarks(run):
        console.print(line, markup=False, soft_wrap=True)
    report.write(run, out)
    console.print(f"written to {out}", markup=False)
    if any(c.contender == OURS and not c.agrees for c in run.cells):
        raise SystemExit(1)


def _is_wanted(net: Net | Training, wanted: tuple[str, ...], quick: bool) -> bool:
    if wanted:
        return any(
            net.name == text if text in _NAMES else net.group == text or text in net.name for text in wanted
        )
    return not quick or net.group in _QUICK


def _all(text: str, found: Iterator[list[Any]], steps: list[Any]) -> list[Any]:
    """What the iterator gives for each step, or until Ctrl-C; standard error shows how far it is."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Any] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(text, total=len(steps))
        try:
            for number, _ in enumerate(steps, 1):
                results += next(found)
                progress.advance(task)
                if not console.is_terminal:
                    click.echo(f"{strftime('%X')} {text}: {number} of {len(steps)}", err=True)
        except KeyboardInterrupt:
            click.echo(f"{text}: stopped; what was measured so far is shown", err=True)
    return results


def _system(present: list[str]) -> dict[str, Any]:
    """Where and when, with which versions, and how busy the machine was before."""
    versions = {p: metadata.version(p) for p in ("numpy", "numba", "llvmlite")}
    versions |= {CONTENDERS[n].packages[0]: CONTENDERS[n].version for n in present}
    return {
        "time": strftime("%Y-%m-%d %H:%M:%S"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": dict(sorted(versions.items())),
    }


def _processor() -> str:
    """Its name, as Linux knows it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
