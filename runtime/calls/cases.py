"""Which case a call belongs to: by its signature, that for every size of its batch, or none that is kept."""

from __future__ import annotations

from typing import Any

from blockfuse.array import modes
from blockfuse.runtime.calls.batch_sizes import Batches
from blockfuse.runtime.calls.call import Call, Signature, array_types
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.entry_slot import EntrySlot
from blockfuse.runtime.calls.recently_used import RecentlyUsed
from blockfuse.runtime.calls.specialization import Specializations
from blockfuse.runtime.programs.arguments import Arguments
from blockfuse.runtime.programs.program import Program

MAX_SIGNATURES = 64  # kept; the one used longest ago goes


class Cases(RecentlyUsed[Signature, Case]):
    """Those of one block or function; one that goes takes the entry of its program along."""

    def __init__(self, entry: EntrySlot) -> None:
        super().__init__(MAX_SIGNATURES)
        self.specializations = Specializations()
        self.batches = Batches()
        self._entry = entry

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stay_on_device: bool) -> Call:
        """The call with its signature; raises Unstructured where it has none."""
        arguments = Arguments.taken_apart(args, kwargs)
        types, training = array_types(arguments), modes.is_training()
        values, found = arguments.values, None
        if values:
            found = self.specializations.of(arguments.structure, values, (types, training))
        given = frozenset[int]() if found is None else found.given
        return Call(arguments, types, training, found, given, stay_on_device)

    def of(self, call: Call) -> Case | None:
        """The case of a call; None where it is of one more size, and runs in Python without a trace."""
        signature, specialization = call.signature, call.specialization
        if specialization is not None and specialization.exhausted and signature not in self:
            case = self.kept(call.signature_of_any_numbers)
            case.settle(specialization.exhausted)
            return case
        every = self.batches.covering(signature)
        if every is not None:
            case = self.kept(every)
            if case.program is not None or case.reason:
                return case
            self._withdraw(every)  # it was forgotten for others
        if signature not in self and self.batches.is_one_too_many(signature):
            return None
        return self.kept(signature)

    def kept(self, signature: Signature) -> Case:
        """The case of exactly this signature, from now on if there was none."""
        case = self.use(signature, Case)
        if self.trim():
            self._entry.forget()
        return case

    def renewed(self, case: Case, program: Program, call: Call) -> Case | None:
        """The case of a call whose program does not hold any more: as ``of``."""
        every = self.batches.covering(call.signature)
        if every is None or self.get(every) is not case:
            case.outdate(program)
            self._entry.forget()
            return case
        self._withdraw(every)
        new = self.of(call)
        if new is not None:
            new.calls += 1
        return new

    def _withdraw(self, every: Signature) -> None:
        """There is no program for every size any more."""
        self.batches.out_of_date(every)
        self.drop(every)

    def drop(self, signature: Signature) -> None:
        self.pop(signature, None)
        self._entry.forget()

    def adopt(self, every: Signature, program: Program) -> Case:
        """From now on this program runs all sizes that it takes."""
        case = Case(program)
        self.batches.adopt(every, program.schedule.min_items)
        for signature in list(self):
            if signature == every or self.batches.covering(signature) == every:
                case.take_over(self.pop(signature, None))
        self[every] = case
        self._entry.forget()
        return case
