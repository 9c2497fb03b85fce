"""One call, and its signature: what it has in common with the calls that its program may serve."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Self

from blockfuse.array.pytree import Structure, with_numbers
from blockfuse.runtime.calls.specialization import Specialization
from blockfuse.runtime.programs.arguments import Arguments, Types

Signature = tuple[Structure, Types, bool]  # structure of the arguments, types of the arrays, train mode


class Call(NamedTuple):
    """A call that no native code has taken.

    No dataclass: freezing would cost each of them 2 us.
    """

    arguments: Arguments
    training: bool  # the mode in which it is made
    signature: Signature  # a number that is given at each call stands there as any number
    specialization: Specialization | None  # None where no argument is a number
    given: frozenset[int]  # positions among the values of numbers that the program takes as arguments
    stay_on_device: bool  # some arrays lie on a device, and should not leave it

    @classmethod
    def of(
        cls, arguments: Arguments, training: bool, specialization: Specialization | None, stay_on_device: bool
    ) -> Self:
        given = frozenset[int]() if specialization is None else specialization.given
        signature = _signature(arguments, given, training)
        return cls(arguments, training, signature, specialization, given, stay_on_device)

    @property
    def form(self) -> Structure:
        """The structure of the arguments, as it stands in the signature."""
        return self.signature[0]

    @property
    def signature_of_any_values(self) -> Signature:
        """That of all calls which differ in values only."""
        return _signature(self.arguments, range(len(self.arguments.values)), self.training)

    def specialized(self, positions: frozenset[int]) -> Self:
        """The call with these numbers as part of its signature."""
        given = self.given - positions
        return self._replace(signature=_signature(self.arguments, given, self.training), given=given)


def _signature(arguments: Arguments, given: Collection[int], training: bool) -> Signature:
    form = with_numbers(arguments.structure, given) if given else arguments.structure
    return form, arguments.types, training
