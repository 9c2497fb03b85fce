"""One call, and its signature: what it has in common with the calls that its program may serve."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from blockfuse.array.pytree import Structure, with_numbers
from blockfuse.runtime.calls.specialization import Specialization
from blockfuse.runtime.programs.arguments import Arguments, Types

Signature = tuple[Structure, Types, bool]  # structure of the arguments, types of the arrays, train mode


@dataclass(frozen=True)
class Call:
    """A call that no native code has taken."""

    arguments: Arguments
    training: bool  # the mode in which it was made
    specialization: Specialization | None  # None where no argument is a number
    given: frozenset[int]  # positions among the values of numbers that the program takes as arguments
    stay_on_device: bool  # some arrays lie on a device, and should not leave it

    @cached_property
    def signature(self) -> Signature:
        """A number that is given at each call stands there as any number."""
        structure, types = self.arguments.structure, self.arguments.types
        form = with_numbers(structure, self.given) if self.given else structure
        return form, types, self.training

    @property
    def signature_of_any_values(self) -> Signature:
        """That of all calls which differ in values only."""
        given = frozenset(range(len(self.arguments.values)))
        return replace(self, given=given).signature

    def without(self, positions: frozenset[int]) -> Call:
        """The call with these numbers as part of its signature."""
        return replace(self, given=self.given - positions)
