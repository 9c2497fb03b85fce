"""One call recorded: the graph, what it rests on, and the call's own result."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy

from blockfuse.array import modes, stamps
from blockfuse.array.history import is_followed, variable_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured, containers, flatten_result
from blockfuse.ir import interpreter
from blockfuse.ir.graph import Node, Source, captured, leaf, literal, ordered, parameter
from blockfuse.ir.types import tensor
from blockfuse.tracer.certificate.witness import Witness
from blockfuse.tracer.flow.origins import Origin, Place
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.state.changes import Changes
from blockfuse.tracer.state.facts import Setting
from blockfuse.tracer.state.gradients import Asked, has_history
from blockfuse.tracer.state.picture import State
from blockfuse.tracer.state.visits import state_of

_CHANGED = frozenset({"sys.gettrace", "sys.getprofile", "gc.isenabled"})  # they tell of a recording
Code = tuple[types.CodeType, dict[str, Any]]


@dataclass
class Recording:
    """What a recorded call gave."""

    result: Any  # the call's own
    problem: str = ""  # why the path must not be used, for people; empty if it may
    again: bool = False  # there is a problem, but the next recording may have none
    effects: bool = False  # the call had some, which may have been the last ones
    raised: bool = False  # an operator raised for its values, so other calls go another way
    path: Path | None = None
    structure: Structure | None = None  # of the result
    statics: list[Any] = field(default_factory=list)  # what the result holds besides arrays
    state: State | None = None  # before the call
    updates: list[Origin] = field(default_factory=list)  # what the path computes behind its results
    draws: list[Node] = field(default_factory=list)  # random nodes, in the order in which they drew
    watched: list[Any] = field(default_factory=list)  # blocks and parameters that tell when they change
    follows: bool = False  # gradients, so that they must not go elsewhere; NOTE [who asks for gradients]
    measured: list[tuple[Node, Source | None]] = field(default_factory=list)  # NOTE [sizes that Python saw]
    catches: str = ""  # which function handles exceptions, for people
    code: list[Code] = field(default_factory=list)  # functions that no search for state finds
    functions: list[types.CodeType] = field(default_factory=list)  # user code that ran
    failure: Exception | None = None  # of ours, while it was recorded
    changes: Changes | None = None  # since the call began
    before: list[numpy.ndarray] = field(default_factory=list)  # what updated arrays held when it began

    def join(self, other: Recording) -> None:
        """Rest also on what a recording of another way rests on: one program is made of both."""
        assert self.state is not None
        assert other.state is not None
        self.state.join(other.state)
        self.watched = _unique([*self.watched, *other.watched])
        self.follows = self.follows or other.follows

    def release(self) -> None:
        """The call is answered: what only it needed goes."""
        self.result, self.changes, self.before = None, None, []


def record(
    call: Callable[[], Any],
    recorder: Recorder,
    roots: Iterable[tuple[Any, str]],
    code: list[Code],
    behind: Callable[[Any], None] = lambda _: None,
) -> Recording:
    """Run ``call`` once, eagerly, and write down what it did.

    recorder: a new one, for the arrays among the arguments. roots: the callable, from where its state is reached.
    code: functions that earlier recordings met outside of that reach. behind: what we compute of the result, recorded as
    well. An exception of ``call`` goes through.
    """
    if sys.getprofile() is not None:
        return Recording(call(), "a profiler is active, and recording needs its place", again=True)
    try:
        state = state_of(roots, code)
        changes = Changes(state.watched, state.arrays.values(), recorder.is_writing)
    except Exception as error:
        return Recording(call(), "its state cannot be read", failure=error)
    asked = sorted(_CHANGED & {strange.what for strange in state.strange.values()})
    if asked:
        return Recording(call(), f"forward can ask {asked[0]}, which would tell of the recording")
    witness = Witness(recorder.induction.enter, state)
    waiting = [value for value in state.watched if getattr(value, "_data", value) is None]
    recorder.outermost = sys._getframe()
    recorder.memory.known |= state.known.keys()
    with modes.unusual(), interpreter.interpreting(recorder):
        try:
            result = witness.watching(call)
            behind(result)
        finally:
            changes.call_ended()
            recorder.outermost = None  # this frame, which holds the recorder and all that the call met
    recording = Recording(
        result,
        again=any(parameter._data is not None for parameter in waiting),  # and has its first value now
        state=state,
        code=code,
        watched=_unique([*state.watched, *recorder.visited]),
        functions=list(witness.functions),
        failure=recorder.failure,
        changes=changes,
    )
    try:
        _judge(recording, recorder, witness)
    except Exception as error:
        recording.problem, recording.failure = "what it did cannot be judged", error
    return recording


def _judge(recording: Recording, recorder: Recorder, witness: Witness) -> None:
    """Fill in what a recorded call is good for, or the problem with it."""
    state, code = recording.state, recording.code
    assert state is not None
    recorder.memory.check_contents()
    state.settings += (Setting(ask, answer, text) for (ask, text), answer in witness.questions.values())
    state.settings += recorder.questions
    new = [(c, g) for c, g in witness.functions.items() if c not in state.codes]
    effects = witness.problem or _changed(state)
    recording.effects = bool(effects)
    recording.raised, recording.again = recorder.raised, recording.again or recorder.interrupted
    recording.problem = recorder.problem or effects or _unseen(state)
    if not recording.problem and _reachable(recorder.given, recording):
        recording.problem = "an argument is an array that forward can reach without it"
        recording.again = True  # another array may be given next
    unseen = [c for c, _ in code if c.co_freevars and c not in state.functions]
    if not recording.problem and unseen:
        recording.problem = f"{unseen[0].co_name} encloses variables that cannot be seen"
    if not recording.problem and new:
        recording.code = [*code, *new]
        recording.again = True
        recording.problem = (
            f"{new[0][0].co_name} was met for the first time; the next call is recorded with its state"
        )
    if not recording.problem:
        _finish(recording, recorder, recording.result)
        seen = [(recorder.memory.value_of(a), where) for a, where in witness.measured]
        recording.measured = [*((n, where) for n, where in seen if n is not None), *recorder.escaped]
        recording.catches = witness.catches


def _reachable(arguments: list[ndarray], recording: Recording) -> bool:
    """Whether an argument is also a parameter or held by the state: a graph could not tell the two apart."""
    assert recording.state is not None
    held = {*recording.state.arrays, *_parameters(recording.watched)}
    return any(id(a) in held for a in arguments)


def _unseen(state: State) -> str:
    return f"forward can reach {state.unseen}" if state.unseen else ""


def _changed(state: State) -> str:
    change = state.change()
    return f"forward changes Python state: {change}" if change else ""


def _unique(values: list[Any]) -> list[Any]:
    return list({id(v): v for v in values}.values())


# -- results and leaves --------------------------------------------------------------------------------------


def _finish(recording: Recording, recorder: Recorder, result: Any) -> None:
    recording.problem = _held(recording, result)
    if recording.problem:
        return
    arrays: list[ndarray] = []
    try:
        recording.structure = flatten_result(result, arrays, recording.statics)
    except Unstructured as kind:
        recording.problem = f"forward returns a {kind.args[0]}, which is neither array, number nor container"
        return
    recording.problem = _sharing(arrays, recorder)
    if recording.problem:
        return
    written = [array for array, _ in recorder.memory.updated.values()]
    outputs = tuple(recorder.memory.node_of(a) for a in (*arrays, *(recorder.pulled or ()), *written))
    parameters = _parameters(recording.watched)
    leaves, origins = _resolved(recording, recorder, parameters)
    flags = _flags(recording, recorder, parameters, leaves, origins)
    recording.draws = recorder.draws
    recording.problem = (
        str(recording.problem)
        or recorder.problem
        or (
            "" if recorder.pulled is not None else _following(arrays) or _asking(recording, recorder, origins)
        )
        or _drawing(recorder, outputs)
        or _raising(recorder, outputs)
    )
    recording.path = Path(
        tuple(recorder.arguments),
        tuple(recorder.sequence),
        frozenset(recorder.induction_nodes),
        tuple(recorder.events),
        (*outputs, *flags.values()),
        leaves,
        origins,
        (*recorder.memory.updated_leaves(), *flags),
        recorder.obstacle,
    )


def _held(recording: Recording, result: Any) -> str:
    """A program makes the lists and dicts of its result anew, so nobody else may hold them."""
    assert recording.state is not None
    ids = [id(c) for c in containers(result)]
    if recording.state.known.keys() & set(ids):
        return "forward returns a list or dict that it did not make"
    return "forward returns one list or dict twice" if len(set(ids)) < len(ids) else ""


def _following(arrays: list[ndarray]) -> str:
    """Arrays that a program makes have no history."""
    if any(is_followed(a) for a in arrays):
        return "forward returns an array whose gradient can still be asked for; return it by detach()"
    return ""


def _asking(recording: Recording, recorder: Recorder, origins: dict[Node, Origin]) -> str:
    """See NOTE [who asks for gradients]."""
    recording.follows = recorder.follows
    if not recording.follows:
        return ""
    if has_history(recorder.given):
        return "gradients go to an argument, or to what it was computed from"
    assert recording.state is not None
    holders = [origin.holder for origin in origins.values()]
    parameters = [value for value in recording.watched if hasattr(value, "grad_req")]
    asked = Asked(parameters, [h for h in holders if isinstance(h, ndarray)])
    recording.state.asked.append(asked)
    return "" if asked.holds() else "gradients go to an array that no parameter holds"


def _drawing(recorder: Recorder, outputs: tuple[Node, ...]) -> str:
    """Random numbers are drawn as often and in the order as Python draws them, or not by a program."""
    if recorder.draws and recorder.decisions:
        return "forward draws random numbers in a call whose flow depends on data"
    if set(recorder.draws) - set(ordered(outputs)):
        return "forward draws random numbers that no result needs"
    return ""


def _raising(recorder: Recorder, outputs: tuple[Node, ...]) -> str:
    """An index beyond its axis, say, is an error also where nobody needs what it picks."""
    node = recorder.unneeded(outputs)
    if node is None:
        return ""
    where = f" at {node.source}" if node.source else ""
    return f"forward calls {node.operator.name}, which may raise, where no result needs it{where}"


def _sharing(arrays: list[ndarray], recorder: Recorder) -> str:
    """Results must be new memory, each its own: later writes to one are nobody else's business."""
    owners = [id(stamps.owner_of(a._data)) for a in arrays]
    if any(recorder.memory.value_of(a) is None for a in arrays):
        return "a result is an array that no operator of the call made"
    if any(recorder.memory.shares_given_memory(a) for a in arrays):
        return "a result shares memory with an argument, a parameter or an attribute"
    if not all(a._data.flags.writeable for a in arrays):
        return "a result is a view that must not be written"
    return "two results share memory" if len(set(owners)) < len(owners) else ""


def _resolved(
    recording: Recording, recorder: Recorder, parameters: dict[int, Origin]
) -> tuple[dict[Node, Node], dict[Node, Origin]]:
    """Provisional leaf -> parameter, captured array or constant. See NOTE [which arrays are what]."""
    assert recording.state is not None
    memory, held = recorder.memory, recording.state.arrays
    buffers = {id(stamps.owner_of(a)) for a in held.values() if isinstance(a, numpy.ndarray)}
    leaves: dict[Node, Node] = {}
    origins: dict[Node, Origin] = {}
    found: dict[int, Origin] = {}  # id of an array -> its origin
    for provisional, array in memory.found.items():
        data = array._data if isinstance(array, ndarray) else array
        origin, kind = Origin(f"captured{len(origins)}", array), captured
        if id(array) in parameters or (isinstance(array, ndarray) and id(array) in held):
            origin = parameters.get(id(array)) or origin
            # at every call; a gradient is written by backward
            changes = id(array) in memory.updated or origin.place is not Place.VALUE
            if not (stamps.is_exposed(data) or changes):
                kind = parameter
        elif id(stamps.owner_of(data)) not in buffers:
            leaves[provisional] = literal(data)
            if memory.is_elsewhere(array):
                recording.problem = "forward reads memory by way of an array that nobody saw made"
            if id(array) in memory.updated:
                recording.problem = (
                    "forward writes into an array that is no parameter and held by no attribute"
                )
            continue
        if kind is captured and not data.flags.c_contiguous:
            recording.problem = "forward reads an array that lies in NumPy's memory and is not C-contiguous"
        found[id(array)] = origin
        leaves[provisional] = leaf(kind, origin.name, provisional.type)
        origins[leaves[provisional]] = origin
    updated = [i for i in memory.updated if i in found]
    recording.updates = [found[i] for i in updated]
    recording.before = [memory.updated[i][1] for i in updated]
    return leaves, origins


def _flags(
    recording: Recording,
    recorder: Recorder,
    parameters: dict[int, Origin],
    leaves: dict[Node, Node],
    origins: dict[Node, Origin],
) -> dict[Node, Node]:
    """Provisional leaf of a flag -> what it holds when the call is over. Adds the leaves to the others."""
    flags: dict[Node, Node] = {}
    for variable, before in recorder.memory.flags.values():
        origin = parameters.get(id(variable))
        if origin is None:
            recording.problem = recording.problem or "gradients go to an array that no parameter holds"
            continue
        provisional, known = (leaf(captured, origin.name, tensor((), "bool")) for _ in range(2))
        leaves[provisional], origins[known] = known, origin
        flags[provisional] = literal(variable.flag)
        recording.updates.append(origin)
        recording.before.append(before)
    return flags


def _parameters(watched: list[Any]) -> dict[int, Origin]:
    """Id of an array, or of the variable of one -> its parameter, under the longest name by which the net knows it."""
    found: dict[int, Origin] = {}
    for value in watched:
        walk = getattr(value, "_walk", None)  # a block; otherwise a parameter
        named = walk("") if walk is not None else [(getattr(value, "name", "parameter"), value)]
        for name, one in named:
            data = getattr(one, "_data", None)
            if isinstance(data, ndarray) and len(name) > len(found.get(id(data), Origin("", None)).name):
                found[id(data)] = Origin(name, one)
                variable = variable_of(data)
                if variable is not None:
                    found[id(variable)] = Origin(f"{name}.fresh", one, Place.FLAG)
                if variable is not None and variable.grad is not None:
                    found[id(variable.grad)] = Origin(f"{name}.grad", one, Place.GRADIENT)
    return found
