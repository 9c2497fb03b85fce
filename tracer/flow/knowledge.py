"""What is learnt, while paths are put together, about which positions and numbers they can share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NoReturn

from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Source
from blockfuse.tracer.frames.program_points import InductionVariable


@dataclass
class Knowledge:
    """What replays have learnt; it only grows, but for ``above``, which shrinks."""

    numbers: dict[Hashable, int] = field(default_factory=dict)  # key of a position or block -> its number
    apart: set[int] = field(default_factory=set)  # positions that every block reaches alone
    split: set[int] = field(default_factory=set)  # that are several, by which slots lie in memory of before
    parts: set[int] = field(default_factory=set)  # the several positions that split ones are
    unrolled: dict[InductionVariable, str] = field(default_factory=dict)  # may not be carried -> why
    # position -> slots that differ between the ways to it
    changing: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    # position -> slots whose value is gone on some way
    lost: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    # position -> slots that may lie in memory that was there before the call
    given: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    above: dict[int, frozenset[int]] = field(default_factory=dict)  # position -> blocks on every way to it
    # position -> the blocks that lead to it, where ``backward()`` may come back to it
    entries: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    repeated: set[int] = field(
        default_factory=set
    )  # blocks, and minus positions, that a call may come to again
    obstacle: str = ""  # why ways on which gradients are followed stand apart
    grew: bool = False  # something was added since this was last set

    def number(self, key: Hashable) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def add(self, known: set[int], one: int) -> None:
        if one not in known:
            known.add(one)
            self.grew = True

    def enter(self, position: int, block: int) -> None:
        """A block leads to a position."""
        if block not in self.entries[position]:
            self.entries[position].append(block)
            self.grew = True

    def learn_repeated(self, found: set[int]) -> None:
        if not found <= self.repeated:
            self.repeated |= found
            self.grew = True

    def stand_apart(self, obstacle: str) -> None:
        """No ways join on which gradients are followed."""
        self.obstacle = self.obstacle or obstacle
        for known in (self.apart, self.split, self.parts):
            known.clear()
        self.forget()

    @property
    def reasons(self) -> list[str]:
        """Why some loops are not loops of the flow."""
        return [*self.unrolled.values(), *([self.obstacle] if self.obstacle else [])]

    def set_apart(self, *positions: int) -> NoReturn:
        """What rested on these positions being shared goes wrong. Raises in any case."""
        if self.apart.issuperset(positions):
            raise TraceError("a value is needed that not every way to where it is needed computes")
        self.apart.update(positions)
        raise LearntMoreError

    def set_given_apart(self, position: int) -> NoReturn:
        """What was there before the call must not be shared with what the call made."""
        if position in self.parts:
            self.set_apart(position)
        self.split.add(position)
        raise LearntMoreError

    def unroll(self, variables: set[InductionVariable], what: str, source: Source | None) -> NoReturn:
        """Numbers must not be carried because a value that comes from them was used."""
        for variable in variables:
            self.unrolled[variable] = what if source is None else f"{what} is used as a value at {source}"
        raise LearntMoreError

    def pass_through(self, position: int, blocks: frozenset[int]) -> None:
        """A way to ``position`` runs through ``blocks``."""
        known = self.above.get(position)
        self.above[position] = blocks if known is None else known & blocks
        self.grew |= known is not None and not known <= blocks

    def forget(self) -> None:
        """What was learnt about ways is void once positions or numbers are treated otherwise."""
        for known in (self.changing, self.lost, self.given, self.above, self.entries, self.repeated):
            known.clear()


class LearntMoreError(Exception):
    """A replay cannot go on: what it rested on has turned out to be wrong."""
