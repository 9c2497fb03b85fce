"""One call, and its signature: what it has in common with the calls that its program may serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from blockfuse.array.pytree import Structure, with_numbers
from blockfuse.runtime.calls.specialization import Specialization
from blockfuse.runtime.programs.arguments import Arguments

# (shape, dtype, which argument is this array too) of each array; None in the place of a leading size: any
Types = tuple[tuple[tuple[int | None, ...], str, int], ...]
Signature = tuple[Structure, Types, bool]  # structure of the arguments, types of the arrays, train mode


@dataclass(frozen=True)
class Call:
    """A call that no native code has taken."""

    arguments: Arguments
    types: Types  # of its arrays
    training: bool  # the mode in which it was made
    specialization: Specialization | None  # None where no argument is a number
    given: frozenset[int]  # which of the values are numbers that the program takes as arguments
    stay_on_device: bool = False  # some arrays lie on a device, and should not leave it

    @cached_property
    def form(self) -> Structure:
        """The structure of the arguments, as it stands in the signature."""
        structure = self.arguments.structure
        return with_numbers(structure, self.given) if self.given else structure

    @cached_property
    def signature(self) -> Signature:
        return self.form, self.types, self.training

    @property
    def signature_of_any_numbers(self) -> Signature:
        """Of the calls that differ in values only."""
        arguments = self.arguments
        return with_numbers(arguments.structure, range(len(arguments.values))), self.types, self.training


def array_types(arguments: Arguments) -> Types:
    """The types of the arrays, as they stand in a signature."""
    arrays = arguments.arrays
    first = {id(a): n for n, a in reversed(list(enumerate(arrays)))}  # an array may be passed twice
    return tuple((a.shape, a.dtype.char, first[id(a)]) for a in arrays)
