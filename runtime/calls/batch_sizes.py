"""Calls that differ in the size of their batch only: one program for all sizes, or a limit to compiling.

NOTE [batches]
A batch are the signatures that differ in nothing but leading sizes. When a second size of it is recorded, one program
for every size is tried (NOTE [one path for every size]), and once more where it leaves out size 1 and this comes later.
Where there is none, each size has a program of its own, but only the first ``MAX_SIZES``; a further size runs eagerly
unless it comes back often, each twice as often as the one before: the number of programs grows with the logarithm of
the number of calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from blockfuse.ir.errors import TraceError
from blockfuse.runtime.calls.call import Signature
from blockfuse.runtime.calls.recently_used import RecentlyUsed
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.reasons import SIZES
from blockfuse.tracer.generalize.every_size import EverySize
from blockfuse.tracer.recording.record import Recording

MAX_BATCHES = 64  # kept; the one recorded longest ago goes
MAX_SIZES = 8  # of one batch that are compiled without being asked for often
MIN_CALLS = 16  # of one more size before it is compiled too
MAX_COUNTED_SIZES = 4096  # sizes whose calls are counted
MAX_KEPT_RECORDINGS = 2  # recordings of one batch that a new one is compared with
MAX_ATTEMPTS = 128  # recordings of one batch that may give a program for every size

Sizes = tuple[int | None, ...]  # of the leading axes, in the order of the arrays; None: any


@dataclass
class Batch:
    """What is known of the signatures that differ in leading sizes."""

    every: Signature | None = None  # of the program for every size, if there is one
    min_items: int = 0  # the smallest size that it takes
    recorded: list[tuple[Sizes, Recording]] = field(default_factory=list)  # the last ones with a graph
    reason: str = ""  # why there is no program for every size
    attempts: int = 0  # recordings
    tried: set[Sizes] = field(default_factory=set)  # sizes that were recorded
    calls: dict[Sizes, int] = field(default_factory=dict)  # of further sizes, which run eagerly
    eager_calls: int = 0  # of those sizes together
    used: int = 0  # when it was last


class Batches:
    """The batches of one block or function."""

    def __init__(self) -> None:
        self._batches: RecentlyUsed[Signature, Batch] = RecentlyUsed(MAX_BATCHES, Batch)

    def _of(self, signature: Signature) -> Batch:
        """What is known of a signature's batch, from now on if nothing was."""
        return self._batches.use(_without_sizes(signature))

    def covering(self, signature: Signature) -> Signature | None:
        """The signature for every size, if its program takes this call."""
        batch = self._batches.get(_without_sizes(signature))
        if batch is None or batch.every is None:
            return None
        pairs = list(zip(_sizes(signature), _sizes(batch.every), strict=True))
        found = {size for size, wanted in pairs if wanted is None}
        fixed = all(wanted is None or size == wanted for size, wanted in pairs)
        enough = all(n is not None and n >= batch.min_items for n in found)
        return batch.every if fixed and enough and len(found) == 1 else None

    def adopt(self, every: Signature, min_items: int) -> None:
        """From now on there is a program for every size from ``min_items`` on."""
        batch = self._of(every)
        batch.min_items, batch.every, batch.reason = min_items, every, ""
        batch.tried.clear()

    def out_of_date(self, every: Signature) -> None:
        """The state on which the program for every size rests has changed."""
        batch = self._of(every)
        batch.every = None
        batch.recorded.clear()

    def refuse(self, signature: Signature, reason: str) -> None:
        """There will be no program for every size: making one failed."""
        batch = self._of(signature)
        batch.reason, batch.attempts = reason, MAX_ATTEMPTS

    def is_one_too_many(self, signature: Signature) -> bool:
        """Whether a call of a size that was not recorded runs eagerly, since enough sizes were."""
        batch = self._batches.get(_without_sizes(signature))
        sizes = _sizes(signature)
        if batch is None or len(batch.tried) < MAX_SIZES or sizes in batch.tried:
            return False
        if len(batch.calls) >= MAX_COUNTED_SIZES:
            batch.calls.clear()
        count = batch.calls[sizes] = batch.calls.get(sizes, 0) + 1
        if count > MIN_CALLS << (len(batch.tried) - MAX_SIZES):
            del batch.calls[sizes]
            return False
        batch.eager_calls += 1
        return True

    def program_for_every_size(
        self,
        signature: Signature,
        recording: Recording | None,
        backend: Backend,
        stay_on_device: bool = False,
    ) -> tuple[Signature, Program] | None:
        """A program and its signature, if this recording and one of those before it give one.

        recording: None where the call was recorded in a way that is no good for this. stay_on_device: see ``Program``.
        """
        batch = self._of(signature)
        sizes = _sizes(signature)
        batch.tried.add(sizes)
        batch.attempts += 1
        complete = batch.every is not None and not _adds_size_one(batch, sizes)
        if recording is None or recording.problem or complete or batch.attempts > MAX_ATTEMPTS:
            return None
        before = [r for known, r in batch.recorded if known != sizes and r.state and not r.state.change()]
        batch.recorded = [*batch.recorded[1 - MAX_KEPT_RECORDINGS :], (sizes, recording)]
        for other in before:
            try:
                path = EverySize(other, recording)
                program = Program([recording], backend, signature[0], path, stay_on_device)
                return _every_size_of(signature, path), program
            except TraceError as error:
                batch.reason = str(error)
        return None

    def __str__(self) -> str:
        """Where there are several sizes without a program in common: why, and what runs eagerly for that."""
        return "\n".join(text for f in list(self._batches.values()) for text in _batch_lines(f))


def _adds_size_one(batch: Batch, sizes: Sizes) -> bool:
    """Whether these are the sizes of a batch of one item, the only ones that the program for every size leaves out."""
    assert batch.every is not None
    return batch.min_items == 2 and all(
        size == (wanted or 1) for size, wanted in zip(sizes, _sizes(batch.every), strict=True)
    )


def _batch_lines(batch: Batch) -> list[str]:
    lines = []
    if batch.reason:
        lines += [f"no program for every size of the leading axes: {batch.reason}", f"  {SIZES.line}"]
    if batch.eager_calls:
        lines.append(
            f"{batch.eager_calls} calls of further sizes eager, since {len(batch.tried)} were recorded"
        )
    return lines


def _sizes(signature: Signature) -> Sizes:
    return tuple(shape[0] for shape, *_ in signature[1] if shape)


def _with_sizes(signature: Signature, sizes: Sizes) -> Signature:
    structure, types, training = signature
    rest = iter(sizes)
    shapes = [(next(rest), *shape[1:]) if shape else shape for shape, *_ in types]
    return (
        structure,
        tuple((s, dtype, first) for s, (_, dtype, first) in zip(shapes, types, strict=True)),
        training,
    )


def _without_sizes(signature: Signature) -> Signature:
    return _with_sizes(signature, (None,) * len(_sizes(signature)))


def _every_size_of(signature: Signature, path: EverySize) -> Signature:
    """The signature with None for the leading sizes that are those of the batch."""
    sizes = [None if grows else n for n, grows in zip(_sizes(signature), path.growing, strict=True)]
    return _with_sizes(signature, tuple(sizes))
