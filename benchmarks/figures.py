"""What the project promises, as single numbers out of the measured cells: against peers and against the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contender import MACHINE, OURS, PEERS
from benchmarks.nets import NETS
from benchmarks.rounds import Cell
from benchmarks.starts import NET, TRAINING, Start

# (net, contender, threads) -> cell
Cells = dict[tuple[str, str, int], Cell]

_PRODUCT = "dense + relu, 1024^3"
_EMPTY = "one element + 1"
_COLD, _WARM, _MANY = 0.6, 0.1, 10.0  # seconds
_STEP_COLD, _STEP_WARM = 2.0, 0.3  # seconds
_AROUND = 1.0  # microseconds
_BETWEEN_PROCESSES = 10.0  # percent
_TWO_CORES = 1.8
_LARGE = 1e7  # FLOP or bytes: neither started quickly nor kept in a near cache


@dataclass(frozen=True)
class Figure:
    """A number with its target; ``at_least`` says on which side of it the number should be."""

    text: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target


def by_key(cells: list[Cell]) -> Cells:
    return {(c.net, c.contender, c.threads): c for c in cells}


def best_peer(cells: Cells, net: str, threads: int) -> Cell | None:
    """The quickest peer whose result is right."""
    found = [c for p in PEERS if (c := cells.get((net, p, threads))) and c.counts]
    return min(found, key=lambda c: c.median, default=None)


def ratio(cells: Cells, net: str, threads: int) -> float | None:
    """How many times faster than the best peer blockfuse is, with the same number of threads."""
    ours, best = cells.get((net, OURS, threads)), best_peer(cells, net, threads)
    return best.median / ours.median if ours and ours.counts and best else None


def ratio_of_quickest(cells: Cells, net: str, threads: int) -> float | None:
    """The same of the quickest samples (NOTE [quickest]): a check on a machine that is not idle."""
    ours = cells.get((net, OURS, threads))
    peers = [c.quickest for p in PEERS if (c := cells.get((net, p, threads))) and c.counts]
    return min(peers) / ours.quickest if ours and ours.counts and peers else None


def machine_share(cells: Cells, net: str, threads: int) -> float | None:
    """The machine's time over that of blockfuse, of the quickest samples."""
    ours, floor = cells.get((net, OURS, threads)), cells.get((net, MACHINE, threads))
    return floor.quickest / ours.quickest if ours and ours.counts and floor and floor.times else None


def figures(cells: Cells, starts: list[Start], operators: list[Start]) -> list[Figure]:
    """Everything that has no place in the table of nets."""
    return [
        *_machine(cells),
        *_shares(cells),
        *_calls(cells),
        *_processes(cells),
        *_starts(starts),
        *(
            Figure(
                f"first call, {s.net}, empty caches", s.first, "s", _MANY if "1000 " in s.net else None, False
            )
            for s in operators
            if s.contender == OURS and not s.reason
        ),
    ]


def _machine(cells: Cells) -> Iterator[Figure]:
    """What one core can do, by the quickest samples of large nets: a probe can only be disturbed."""
    units = {"fma": ("multiply-adds", "GFLOP/s"), "copy": ("copying", "GB/s"), "read": ("reading", "GB/s")}
    for kind, (text, unit) in units.items():
        rates = [
            net.floor.amount / cell.quickest / 1e3
            for net in NETS
            if net.floor and net.floor.kind == kind and net.floor.amount > _LARGE
            if (cell := cells.get((net.name, MACHINE, 1))) and cell.times
        ]
        if rates:
            yield Figure(f"one core: {text}", max(rates), unit)


def _shares(cells: Cells) -> Iterator[Figure]:
    for net in NETS:
        share = machine_share(cells, net.name, 1)
        if net.floor is not None and share is not None and (net.floor_target or net.floor.kind == "read"):
            text = f"{net.name}: share of the speed of {net.floor.kind}"
            yield Figure(text, 100 * share, "%", net.floor_target and 100 * net.floor_target)


def _calls(cells: Cells) -> Iterator[Figure]:
    one, two = (cells.get((_PRODUCT, OURS, threads)) for threads in (1, 2))
    if one and two and one.times and two.times:
        yield Figure(f"{_PRODUCT}: two cores over one", one.quickest / two.quickest, "x", _TWO_CORES)
    empty = cells.get((_EMPTY, OURS, 1))
    if empty and empty.times:
        yield Figure(f"everything around the kernels ({_EMPTY})", empty.median, "us", _AROUND, False)


def _processes(cells: Cells) -> Iterator[Figure]:
    """How much slower than the quickest process the slowest one was."""
    for cell in cells.values():
        if cell.contender == OURS and len(cell.processes) > 1:
            text = f"{cell.net}, {cell.threads} threads: slowest of {len(cell.processes)} processes over the quickest"
            more = 100 * (max(cell.processes) / min(cell.processes) - 1)
            yield Figure(text, more, "%", _BETWEEN_PROCESSES, at_least=False)


def _starts(starts: list[Start]) -> Iterator[Figure]:
    for start in starts:
        if (start.contender, start.net) == (OURS, TRAINING) and not start.reason:
            target = _STEP_COLD if start.cache == "empty" else _STEP_WARM
            text = f"{TRAINING}: first two steps, {start.cache} cache, after the imports"
            yield Figure(text, start.first, "s", target, False)
        elif start.contender == OURS and not start.reason:
            target = _COLD if start.cache == "empty" else _WARM
            text = f"{NET}: first calls, {start.cache} cache"
            yield Figure(f"{text}, Python's start and imports included", start.all, "s", target, False)
            yield Figure(f"{text}, of that processor time", start.used, "s")
            yield Figure(f"{text}, after the imports", start.first, "s")
