"""A recorded call with its gradients, cut in two, against what the call and its gradients gave."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Leaf, flatten_result
from blockfuse.ir.errors import CheckError, TraceError
from blockfuse.ir.flow import straight
from blockfuse.ir.interpreter import interpreting
from blockfuse.runtime.audit.comparison import Outcome, difference_of
from blockfuse.runtime.audit.rounding import Repeating
from blockfuse.runtime.audit.selfcheck import Changed
from blockfuse.runtime.programs.halves import Halves
from blockfuse.runtime.programs.meaning import applied
from blockfuse.tracer.recording.gradient_recording import JointGraph
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.recording.recorder import Recorder


class Confirmation:
    """The cut of a recording held against the eager call, and its gradients, that were recorded."""

    def __init__(self, name: str, recording: Recording, recorder: Recorder, joint: JointGraph) -> None:
        self._name, self._recording, self._joint = name, recording, joint
        self._given = recorder.given
        self._met = recorder.memory.values()
        self._heads = [self._met[node] for pull in joint.pulls for node in pull.given]

    def confirm(self, halves: Halves, grads: list[ndarray]) -> None:
        """Raises CheckError where NumPy comes to something else by way of the graphs."""
        results: list[ndarray] = []
        flatten_result(self._recording.result, results, [])
        with numpy.errstate(all="ignore"), interpreting(Repeating()):
            values = self._forward(halves)
            self._require_same(halves, results, values[: len(results)])
            leaves = [self._leaf(halves, n) for n in range(len(halves.leaves))]
            saved = values[len(results) : len(values) - len(halves.updates)]
            kept = [*leaves, *(values[n] for n in halves.shown), *saved]
            found = self._gradients(halves, kept)
        self._require_same(halves, grads, found)

    def _forward(self, halves: Halves) -> list[ndarray]:
        drawn = {n: self._met[n] for n in halves.forward.nodes if n.operator.random and n in self._met}
        if len(drawn) < len(self._recording.draws):
            raise TraceError("it writes over the random numbers that it drew")
        updates = zip(self._recording.updates, self._recording.before, strict=True)
        before = {origin.key: held for origin, held in updates}
        leaves = [ndarray(before.get(origin.key, origin.array())) for origin in halves.origins.values()]
        return applied(halves.forward, [*self._given, *leaves], drawn)

    def _leaf(self, halves: Halves, number: int) -> ndarray:
        node = halves.leaves[number]
        count = len(self._joint.arguments)
        return self._given[number] if number < count else ndarray(self._joint.origins[node].array())

    def _gradients(self, halves: Halves, kept: list[Any]) -> list[ndarray]:
        heads, found = iter(self._heads), []
        for backward in halves.backwards:
            values = [kept[n] for n in backward.reads] + [next(heads) for _ in backward.heads]
            outputs = applied(backward.graph, values)
            found += [outputs[p] if p >= 0 else values[p] for p in backward.places]
        return found

    def _require_same(self, halves: Halves, wanted: list[ndarray], found: list[ndarray]) -> None:
        outcomes = [Outcome(Leaf(0), [a._data for a in arrays]) for arrays in (found, wanted)]
        difference = difference_of(outcomes[0], outcomes[1], straight(halves.forward))
        if difference is None:
            return
        changes = self._recording.changes
        if changes is not None and changes.seen:
            raise Changed("what it reads changed while it was checked")
        raise CheckError(f"{self._name}: what was recorded of a call gives {difference.text}")
