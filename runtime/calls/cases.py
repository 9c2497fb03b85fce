"""Which case a call belongs to: by its signature, that for every size of its batch, or none that is kept."""

from __future__ import annotations

from typing import Any

from blockfuse.array import modes
from blockfuse.runtime.calls.batch_sizes import Batches
from blockfuse.runtime.calls.call import Call, Signature
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
        super().__init__(MAX_SIGNATURES, Case, entry.forget)
        self.specializations = Specializations()
        self.batches = Batches()
        self._entry = entry

    def find(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], stay_on_device: bool
    ) -> tuple[Call, Case | None]:
        """The call taken apart, and its case as ``of`` gives it; raises Unstructured where it has no signature."""
        arguments, training = Arguments.taken_apart(args, kwargs), modes.is_training()
        values, found = arguments.values, None
        if values:
            found = self.specializations.of(arguments.structure, values, (arguments.types, training))
        call = Call.of(arguments, training, found, stay_on_device)
        return call, self.of(call)

    def of(self, call: Call) -> Case | None:
        """The case of a call; None where it is of one more size, and runs in Python without a trace."""
        signature, specialization = call.signature, call.specialization
        if specialization is not None and specialization.exhausted and signature not in self:
            case = self.use(call.signature_of_any_values)
            case.settle(specialization.exhausted)
            return case
        every = self.batches.covering(signature)
        if every is not None:
            case = self.use(every)
            if case.program is not None or case.reason:
                return case
            self._withdraw(every)  # it was forgotten for others
        known = self.use_known(signature)
        if known is None and self.batches.is_one_too_many(signature):
            return None
        return known or self.use(signature)

    def renewed(self, case: Case, program: Program, call: Call) -> Case | None:
        """The case of a call whose program does not hold any more: as ``of``."""
        every = self._every_size_of(case, call)
        if every is None:
            if case.program is program:  # or another thread was quicker
                case.outdate(program)
                self._entry.forget()
            return case
        self._withdraw(every)
        new = self.of(call)
        if new is not None:
            new.calls += 1
        return new

    def of_one_size(self, case: Case, call: Call) -> Case:
        """The case that a recording of the call is for: a program of one size must not stand for every size.

        That is where the program for every size failed, and something has changed since.
        """
        every = self._every_size_of(case, call)
        if every is None:
            return case
        self._withdraw(every)
        new = self.use(call.signature)
        new.calls += 1
        return new

    def _every_size_of(self, case: Case, call: Call) -> Signature | None:
        """The signature of a case, if that is for every size."""
        every = self.batches.covering(call.signature)
        return every if every is not None and self.get(every) is case else None

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
