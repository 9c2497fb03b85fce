"""Where a straight line of operators repeats itself: candidates by what the operators are, then by what they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy

from blockfuse.ir.graph import Node, constant
from blockfuse.ir.lowering import Movement
from blockfuse.ir.operators.movement import get_item, set_item
from blockfuse.ir.passes.dedupe import frozen_attrs

MIN_ROUNDS = 8
_MAX_PERIOD = 2048  # nodes of a round
_MAX_COMPARISONS = 1 << 29  # of kinds, for all periods that are tried
_NEARLY_ALL = 0.8  # of what the best candidate covers: then the shortest period is the round


@dataclass(frozen=True)
class Repeat:
    """``rounds`` times the same ``period`` operators, from ``start`` on."""

    start: int
    period: int
    rounds: int

    @property
    def end(self) -> int:
        return self.start + self.period * self.rounds


def repeats_of(nodes: Sequence[Node]) -> Iterator[Repeat]:
    """What may be a loop, the most promising first. nodes: in the order in which they were recorded, without constants."""
    index = {node: n for n, node in enumerate(nodes)}
    for start, end, period in _candidates(_kinds(nodes)):
        found = _steady(nodes, index, start, end, period)
        if found.rounds >= MIN_ROUNDS and _computes(nodes[found.start : found.start + period]):
            yield found


def growing_rounds(nodes: Sequence[Node]) -> Repeat | None:
    """Rounds of the same operators on the same weights, of the same lines, whose values have another shape every time; None
    where there are none. nodes: as of ``repeats_of``.
    """
    numbers: dict[Any, int] = {}
    kinds = [numbers.setdefault((n.operator, n.source), len(numbers)) for n in nodes]
    for start, end, period in _candidates(numpy.array(kinds, "int32")):
        rounds = (end - start) // period
        places = [nodes[start + place : start + rounds * period : period] for place in range(period)]
        changes = any(all(a.shape != b.shape for a, b in pairwise(place)) for place in places)
        if changes and any(_share_a_weight(place) for place in places):
            return Repeat(start, period, rounds)
    return None


def _share_a_weight(nodes: Sequence[Node]) -> bool:
    weights = [{o for o in node.operands if o.is_leaf and o.operator is not constant} for node in nodes]
    return bool(set.intersection(*weights))


def _computes(nodes: Sequence[Node]) -> bool:
    return any(not isinstance(node.operator.lowering, Movement) for node in nodes)


# -- candidates ----------------------------------------------------------------------------------------------


def _kinds(nodes: Sequence[Node]) -> numpy.ndarray:
    """A number for all that can be equal in each round: what a node is, and not what it reads."""
    numbers: dict[Any, int] = {}
    return numpy.array([numbers.setdefault(_kind(node), len(numbers)) for node in nodes], "int32")


def _kind(node: Node) -> Any:
    if node.operator.random:
        return node  # no two draws are one
    types = tuple(operand.type for operand in node.operands)
    return node.operator, node.type, types, skeleton(node)


def skeleton(node: Node) -> Any:
    """The attributes, without the places of an index: they may move from round to round."""
    if node.operator in (get_item, set_item):
        return tuple(_entry_kind(entry) for entry in node.attrs["index"])
    return frozen_attrs(node)


def _entry_kind(entry: Any) -> Any:
    if isinstance(entry, tuple):
        _, start, stop, step = entry
        return len(range(start, stop, step)), step
    return None if entry is None else int


def _candidates(kinds: numpy.ndarray) -> list[tuple[int, int, int]]:
    """Start, end and period of runs in which every kind comes again after a period."""
    found: list[tuple[int, int, int]] = []
    most = min(len(kinds) // MIN_ROUNDS, _MAX_PERIOD, _MAX_COMPARISONS // max(len(kinds), 1))
    for period in range(1, most + 1):
        start, end = _longest_run(kinds[period:] == kinds[:-period])
        if end - start >= (MIN_ROUNDS - 1) * period:
            found.append((start, end + period, period))
            if end + period - start >= _NEARLY_ALL * len(kinds):
                break
    covered = max((end - start for start, end, _ in found), default=0)
    return sorted(found, key=lambda run: _order(run, covered))


def _order(run: tuple[int, int, int], covered: int) -> tuple[bool, int]:
    start, end, period = run
    most = end - start >= _NEARLY_ALL * covered
    return not most, period if most else start - end


def _longest_run(equal: numpy.ndarray) -> tuple[int, int]:
    breaks = numpy.concatenate([[-1], numpy.flatnonzero(~equal), [len(equal)]])
    lengths = numpy.diff(breaks)
    longest = int(lengths.argmax())
    return int(breaks[longest]) + 1, int(breaks[longest + 1])


# -- what is read --------------------------------------------------------------------------------------------


def _steady(nodes: Sequence[Node], index: Mapping[Node, int], start: int, end: int, period: int) -> Repeat:
    """The longest part of a run in which rounds from the second on read what is at the same place for each."""
    entries = [start + period - 1]
    for place in range(start + period, end):
        if not all(
            _goes_on(before, now, index, start, period)
            for before, now in zip(nodes[place - period].operands, nodes[place].operands, strict=True)
        ):
            entries.append(place)
    best, spare = Repeat(start, period, 0), 0
    for entry, following in zip(entries, [*entries[1:], end], strict=True):
        begin = max(start, entry - 2 * period + 1)
        best = max(best, Repeat(begin, period, (following - begin) // period), key=lambda r: r.rounds)
        if best.start == begin:
            spare = (following - begin) % period
    return _at_narrowest(nodes, index, best, spare) if best.rounds > 1 else best


def _at_narrowest(nodes: Sequence[Node], index: Mapping[Node, int], repeat: Repeat, spare: int) -> Repeat:
    """The repeat begun up to ``spare`` nodes later, where rounds leave least to the next one."""
    last_round = repeat.end - repeat.period
    read: dict[int, int] = {}  # node -> the last one that reads it
    for place in range(last_round, min(repeat.end + spare, len(nodes))):
        read |= {index.get(operand, -1): place for operand in nodes[place].operands}
    recent = [(node, reader) for node, reader in read.items() if node >= last_round - 2 * repeat.period]
    cuts = range(last_round, last_round + spare + 1)
    live = [sum(node < cut <= reader for node, reader in recent) for cut in cuts]
    shift = min(range(len(live)), key=lambda n: (live[n], -n))
    return replace(repeat, start=repeat.start + shift)


def _goes_on(before: Node, now: Node, index: Mapping[Node, int], start: int, period: int) -> bool:
    """Whether an operand is what the operand of the round before lets expect."""
    one, other = index.get(before, -1), index.get(now, -1)
    if one < start and other < start:  # what is there before the run: which, each slot is asked for later
        return True
    return before is now or other - one == period
