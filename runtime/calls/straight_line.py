"""One call as a graph for whoever writes it in another language: recorded, at one size of the batch or for every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy

from blockfuse.array import autograd
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, flatten
from blockfuse.ir.errors import TraceError, UsageError
from blockfuse.ir.graph import Graph, Node, graph_of
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.calls.owner import Owner
from blockfuse.runtime.calls.recorded import Names, with_another_size
from blockfuse.tracer.flow.origins import Place
from blockfuse.tracer.flow.path import Decision, Path
from blockfuse.tracer.flow.replay import flow_of
from blockfuse.tracer.recording.record import Recording

_MAX_RECORDINGS = 4  # until the functions that a call runs are known


@dataclass(frozen=True)
class StraightLine:
    """A call, in predict mode.

    graphs: the same operators at two sizes of the batch, ``sizes``, to which what differs is in proportion; or one graph,
    where a call of another size does other things. found: what is known of their inputs besides arguments: the name of a
    parameter, or the values of an array. structure: of the result. decisions: the lines where calls with other values take
    another way; then the graph is that of the way that this one took.
    """

    graphs: tuple[Graph, ...]
    sizes: tuple[int, ...]
    found: Mapping[Node, str | numpy.ndarray]
    structure: Structure
    decisions: tuple[str, ...]


def straight_line(owner: Owner, arguments: Sequence[ndarray], names: Names) -> StraightLine:
    """A call of a block or function, which stays as it is, recorded. names: id of a parameter -> its name.

    Raises UsageError where there is no graph of it.
    """
    owner = cast("Owner", _OwnResults(owner))
    hybrid = Hybrid(owner, {})
    with autograd.pause():
        owner.run(tuple(arguments), {})  # parameters learn their shapes
        return _of_recording(hybrid, arguments, _recorded(hybrid, arguments), names)


def _recorded(hybrid: Hybrid, arguments: Sequence[ndarray]) -> Recording:
    problem = "another thread records now"
    for _ in range(_MAX_RECORDINGS):
        recording = hybrid.recorded(tuple(arguments), {})
        problem = recording.problem if recording else problem
        if recording is not None and not recording.problem:
            return recording
        if recording is not None and not recording.again:
            break
    raise UsageError(f"there is no graph of it: {problem}")


class _OwnResults:
    """A block or function whose results share no memory with anything else, which no other language asks."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._owner, name)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _owned(self._owner.run(args, kwargs))


def _owned(result: Any) -> Any:
    if isinstance(result, ndarray):
        return result.copy()
    if isinstance(result, dict):
        return {key: _owned(part) for key, part in result.items()}
    if type(result) in (list, tuple):
        return type(result)(_owned(part) for part in result)
    return result


def _of_recording(
    hybrid: Hybrid, arguments: Sequence[ndarray], recording: Recording, names: Names
) -> StraightLine:
    path, structure = recording.path, recording.structure
    assert path is not None
    assert structure is not None
    if path.forgets:
        raise UsageError("it goes round a loop too often to be written out")
    decisions = [e.source for e in path.events if isinstance(e, Decision) and not e.on_induction]
    every = None
    if not path.events and not recording.draws and any(array.shape for array in arguments):
        every = with_another_size(hybrid, flatten((tuple(arguments), {}), []), recording)
    if every is None or every.min_items > 1:
        paths, sizes = [path], tuple[int, ...]()
    else:
        paths, sizes = [every.at(size) for size in every.references], every.references
    graphs = [_graph(path, names) for path in paths]
    return StraightLine(
        tuple(graph for graph, _ in graphs),
        tuple(sizes),
        {leaf: value for _, found in graphs for leaf, value in found.items()},
        structure,
        tuple(str(source or "a line that is not known") for source in dict.fromkeys(decisions)),
    )


def _graph(path: Path, names: Names) -> tuple[Graph, dict[Node, str | numpy.ndarray]]:
    """The way that a path took, and what is known of its inputs besides arguments."""
    try:
        flow, _, _ = flow_of([path])  # is it right for other calls?
    except TraceError as error:
        raise UsageError(f"there is no graph of it: {error}") from error
    if flow.updates:
        raise UsageError("it writes to arrays that outlive the call")
    if any(origin.place is not Place.VALUE for origin in path.origins.values()):
        raise UsageError("it reads gradients")
    now = dict(path.leaves)
    for node in path.sequence:
        now[node] = node.over(tuple(now.get(operand, operand) for operand in node.operands))
    found = {leaf: names.get(id(origin.holder), origin.array()) for leaf, origin in path.origins.items()}
    return graph_of((*path.arguments, *found), (now.get(o, o) for o in path.outputs)), found
