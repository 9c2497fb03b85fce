"""Runs of operands, of what puts arrays side by side, that are values of one round of a loop after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile

from blockfuse.ir.builder import node_of
from blockfuse.ir.graph import Node
from blockfuse.ir.lowering import Movement
from blockfuse.ir.operators.movement import concatenate, expand_dims, reshape, squeeze
from blockfuse.ir.passes.dedupe import frozen_attrs
from blockfuse.ir.rerolling.draft import Member, Rounds


@dataclass(frozen=True)
class Seen:
    """A value of a round, seen through views, the last of them first."""

    member: Member
    views: tuple[Node, ...]

    def is_next(self, other: Seen, step: int) -> bool:
        """Whether the other is the same ``step`` rounds later."""
        one, two = self.member, other.member
        same = one.rounds is two.rounds and one.place == two.place and two.round - one.round == step
        return same and _views_text(self.views) == _views_text(other.views)

    @property
    def is_reshaped(self) -> bool:
        """Whether the elements are those of the value in their order."""
        return all(view.operator in (reshape, expand_dims, squeeze) for view in self.views)

    @property
    def node(self) -> Node:
        """The node that stands for the value in all rounds."""
        return self.member.rounds.loop.values[self.member.place]

    @property
    def value(self) -> Node:
        """The same through the views."""
        node = self.node
        for view in reversed(self.views):
            node = view.over((node,))
        return node


@dataclass(frozen=True)
class Run:
    """Operands in groups of one for each of some places, a group for each round."""

    group: tuple[Seen, ...]  # the first one
    step: int  # from round to round: 1, or -1 where the last one comes first
    groups: int

    @property
    def rounds(self) -> Rounds:
        return self.group[0].member.rounds

    @property
    def first(self) -> int:
        """Which round comes first."""
        return self.group[0].member.round

    @property
    def operands(self) -> int:
        return len(self.group) * self.groups

    def value(self, axis: int) -> tuple[Node, tuple[int, ...]]:
        """What a round leaves behind, and its shape as the run has it: its values side by side along ``axis``."""
        if len(self.group) == 1 and self.group[0].is_reshaped:
            return self.group[0].node, self.group[0].value.shape
        values = tuple(seen.value for seen in self.group)
        joined = node_of(concatenate, values, {"axis": axis}, values[0].source)
        return joined, joined.shape


def run_of(join: Node, begin: int, members: Mapping[Node, Member]) -> Run | None:
    """The longest run of operands of a concatenation from one of them on; None where there are not two rounds of it."""
    first = _seen(join.operands[begin], members)
    if first is None:
        return None
    group = [first]
    for operand in join.operands[begin + 1 :]:
        seen = _seen(operand, members)
        if seen is None:
            return None
        step = seen.member.round - first.member.round
        if abs(step) == 1 and first.is_next(seen, step):
            groups = _count(join.operands[begin:], group, step, members)
            return Run(tuple(group), step, groups)
        if step or seen.member.rounds is not first.member.rounds:
            return None
        group.append(seen)
    return None


def _count(operands: Sequence[Node], group: Sequence[Seen], step: int, members: Mapping[Node, Member]) -> int:
    """How many groups follow each other."""

    def goes_on(number: int) -> bool:
        part = operands[number * len(group) : (number + 1) * len(group)]
        found = [_seen(operand, members) for operand in part]
        return len(found) == len(group) and all(
            seen is not None and one.is_next(seen, number * step)
            for one, seen in zip(group, found, strict=True)
        )

    return sum(1 for _ in takewhile(goes_on, count()))


def _seen(node: Node, members: Mapping[Node, Member]) -> Seen | None:
    views = []
    while node not in members:
        if not isinstance(node.operator.lowering, Movement):
            return None
        views.append(node)
        (node,) = node.operands
    return Seen(members[node], tuple(views))


def _views_text(views: Sequence[Node]) -> object:
    return [(view.operator, view.type, frozen_attrs(view)) for view in views]
