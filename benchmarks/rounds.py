"""Contenders take turns at a net, each in its own process, and every turn gives a few samples.

NOTE [rounds]
A round asks every contender once, so a slow moment of the machine meets them all. Before each turn nothing runs for
a while: threads of BLAS and OpenMP libraries spin after their work and would hold a core that the next one needs.

NOTE [quickest]
With one thread, the processor time that a contender used is hardly changed by what else runs on the machine, so the least of
its samples is what it can do. With several threads it is not: waiting threads spin. There the least time that passed stands.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from time import sleep
from typing import Any

from benchmarks.nets import Net
from benchmarks.processes import SilentWorkerError, Worker
from benchmarks.training import Training

_PAUSE = 0.15  # seconds
_Samples = list[tuple[float, float]]  # of one turn: time passed, processor time
_PATIENCE = 600.0  # seconds for one answer: a compiler may be slow, but not that slow


@dataclass(frozen=True)
class Cell:
    """What one contender did with one net: times in microseconds, or ``reason`` why there are none."""

    net: str  # its name
    contender: str  # its name
    threads: int  # that it was allowed
    times: tuple[float, ...] = ()  # of each sample, for a call
    used: tuple[float, ...] = ()  # processor time of each sample, by all threads of the contender
    difference: float = 0.0  # from the result in float64
    agrees: bool = True  # whether the difference is within the tolerance
    complaint: str = ""  # it ran, but not as it should
    way: str = ""  # how the contender says that it ran
    reason: str = ""  # why there are no times
    processes: tuple[float, ...] = ()  # the median of each, where each turn had one of its own

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def quickest(self) -> float:
        """The least processor time of one thread, as other programs hardly change it; else the least time."""
        return min(self.used if self.threads == 1 else self.times)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between them lies half of the samples."""
        if len(self.times) < 2:
            return self.times[0], self.times[0]
        low, _, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, over the median."""
        low, high = self.quartiles
        return (high - low) / 2 / self.median

    @property
    def counts(self) -> bool:
        """Whether its time may be compared: it has one, and its result is right."""
        return bool(self.times) and self.agrees


def measured(
    nets: Iterable[Net | Training], contenders: Iterable[tuple[str, int]], rounds: int, fresh: bool = False
) -> Iterator[list[Cell]]:
    """The cells of one net after the other.

    contenders: names with numbers of threads. fresh: each turn has a process of its own, as where memory lies differs from
    one to the next.
    """
    with ExitStack() as stack:
        workers = {key: Worker(*key) for key in contenders}
        for worker in workers.values():
            stack.callback(worker.stop)
        for net in nets:
            yield _cells(net, workers, rounds, fresh)


def _cells(
    net: Net | Training, workers: dict[tuple[str, int], Worker], rounds: int, fresh: bool
) -> list[Cell]:
    answers = {key: _asked(worker, {"net": net.name}) for key, worker in workers.items()}
    turns: dict[tuple[str, int], list[_Samples]] = {key: [] for key in workers}
    for number in range(rounds):
        for key, worker in workers.items():
            if fresh and number and "calls" in answers[key]:
                worker.stop()
                answers[key] = _asked(worker, {"net": net.name})
            if "calls" in answers[key]:
                sleep(_PAUSE)
                turn = _asked(worker, {"calls": answers[key]["calls"]})
                if "samples" in turn:
                    turns[key].append(turn["samples"])
                else:
                    answers[key], turns[key] = turn, []
    return [_cell(net, key, answers[key], turns[key], fresh) for key in workers]


def _asked(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return worker.ask(request, _PATIENCE)
    except SilentWorkerError as reason:
        return {"failed": str(reason)}


def _cell(
    net: Net | Training, key: tuple[str, int], answer: dict[str, Any], turns: list[_Samples], fresh: bool
) -> Cell:
    samples = [sample for turn in turns for sample in turn]
    return Cell(
        net.name,
        *key,
        tuple(passed for passed, _ in samples),
        tuple(used for _, used in samples),
        answer.get("difference", 0.0),
        answer.get("agrees", True),
        answer.get("complaint", ""),
        answer.get("way", ""),
        answer.get("unsupported") or answer.get("failed", ""),
        tuple(statistics.median(passed for passed, _ in turn) for turn in turns) if fresh else (),
    )
