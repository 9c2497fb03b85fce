"""What the self-check costs, as ``python -m benchmarks.checks``: nets with it and without it, in processes of their own.

A first call records, loads the program from a cache that was filled before, and, with the check, runs it and compares.
Steady calls of both take turns in one process.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.nets import NETS, Net, net_named
from benchmarks.processes import command
from blockfuse import np

_STARTS = 5  # fresh processes for each figure
_TURNS = 15  # of steady calls
_SAMPLE = 0.01  # seconds


def first_call(name: str, check: bool) -> dict[str, float]:
    """Seconds of the first call, and by how many bytes it raises the peak of memory."""
    from benchmarks.contenders.blockfuse import hybridized

    net = net_named(name)
    drawn, parameters = net.draw()
    call, x = hybridized(net, parameters, check=check), np.array(drawn)
    before = _peak()
    started = perf_counter()
    call(x)
    return {"first": perf_counter() - started, "peak": _peak() - before}


def steady_calls(name: str) -> dict[str, float]:
    """Seconds of a call with the check, and without it: medians."""
    from benchmarks.contenders.blockfuse import hybridized

    net = net_named(name)
    drawn, parameters = net.draw()
    timers = []
    for check in (True, False):
        call, x = hybridized(net, parameters, check=check), np.array(drawn)
        for _ in range(3):
            call(x)
        timers.append(timeit.Timer("call(x)", globals={"call": call, "x": x}))
    number = max(1, int(_SAMPLE / max(timers[1].timeit(3) / 3, 1e-7)))
    samples = [[timer.timeit(number) / number for timer in timers] for _ in range(_TURNS)]
    ratios = statistics.median(a / b for a, b in samples)
    checked, unchecked = (statistics.median(column) for column in zip(*samples, strict=True))
    return {"checked": checked, "unchecked": unchecked, "ratio": ratios}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _asked(folder: str, threads: int, *arguments: Any) -> dict[str, float]:
    """What this module answers in a process of its own."""
    settings: dict[str, object] = {"BLOCKFUSE_CACHE": Path(folder) / "cache"}
    done = subprocess.run(
        command("benchmarks.checks", ("--one", *arguments), threads, settings),
        capture_output=True,
        check=True,
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _figures(net: Net, threads: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        _asked(folder, threads, net.name, "first", 1)  # fills the cache
        starts = {
            check: [_asked(folder, threads, net.name, "first", check) for _ in range(_STARTS)]
            for check in (0, 1)
        }
        steady = _asked(folder, threads, net.name, "steady", 1)
    first, peak = (
        [statistics.median(start[key] for start in starts[check]) for check in (0, 1)]
        for key in ("first", "peak")
    )
    return [
        net.name,
        f"{first[0] * 1e3:.1f}",
        f"{(first[1] - first[0]) * 1e3:+.2f}",
        f"{(peak[1] - peak[0]) / 2**20:+.1f}",
        f"{steady['unchecked'] * 1e6:.3g}",
        f"{steady['ratio']:.3f}",
    ]


def _rows(names: tuple[str, ...], threads: int) -> Iterator[list[str]]:
    for net in NETS:
        if not names or any(name in net.name for name in names):
            yield _figures(net, threads)


@click.command()
@click.option("--threads", default=1, show_default=True)
@click.option("--one", is_flag=True, hidden=True)
@click.argument("names", nargs=-1)
def main(threads: int, one: bool, names: tuple[str, ...]) -> None:
    """Measure nets whose names contain one of NAMES; all of them without any."""
    if one:
        name, what, check = names
        answer = first_call(name, bool(int(check))) if what == "first" else steady_calls(name)
        sys.stdout.write(json.dumps(answer))
        return
    table = Table(
        *(
            "net",
            "first call without, ms",
            "the check, ms",
            "memory, MiB",
            "steady call, us",
            "with / without",
        )
    )
    for row in _rows(names, threads):
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
