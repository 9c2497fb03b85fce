"""One call recorded: the graph, what it rests on, and the call's own result."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy

from blockfuse.array import modes, stamps
from blockfuse.array.defaults import settle
from blockfuse.array.history import is_followed
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured, containers, flatten_result, leaves
from blockfuse.ir import interpreter
from blockfuse.ir.collector import resume_collector, stop_collector
from blockfuse.ir.graph import Node, Source, ordered
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.tracer.certificate.witness import Witness
from blockfuse.tracer.code.identity import asks_identity
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.recording.leaves import Leaves, held_twice, parameters_of, with_errors_of
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.state.assignments import (
    Assigned,
    Attribute,
    Attributes,
    Key,
    flatten_assigned,
)
from blockfuse.tracer.state.changes import Changes
from blockfuse.tracer.state.facts import Setting
from blockfuse.tracer.state.gradients import Asked, has_history
from blockfuse.tracer.state.picture import State
from blockfuse.tracer.state.visits import state_of

_CHANGED = frozenset({"sys.gettrace", "sys.getprofile", "gc.isenabled"})  # they tell of a recording
Code = tuple[types.CodeType, dict[str, Any]]
_NONE: Attributes = MappingProxyType({})


@dataclass
class Recording:
    """What a recorded call gave."""

    result: Any  # the call's own
    problem: str = ""  # why the path must not be used, for people; empty if it may
    repeatable: bool = False  # the call did nothing but give its result
    again: bool = False  # there is a problem, but the next recording may have none
    effects: bool = False  # the call had some, which may have been the last ones
    raised: bool = False  # an operator raised for its values, so other calls go another way
    path: Path | None = None
    structure: Structure | None = None  # of the result
    statics: list[Any] = field(default_factory=list)  # what the result holds besides arrays
    state: State | None = None  # before the call
    left_out: Attributes = field(default_factory=dict)  # of the picture of state: NOTE [assigned attributes]
    # other attributes that the call assigned, which the next recording may leave out; and some that none must leave out
    met: Attributes = field(default_factory=dict)
    kept: frozenset[Key] = frozenset()
    assigned: Assigned | None = None  # what the call assigned of those that are left out
    read: list[Attribute] = field(default_factory=list)  # what it may have read of them: arrays
    updates: list[Origin] = field(default_factory=list)  # what the path computes behind its results
    draws: list[Node] = field(default_factory=list)  # random nodes, in the order in which they drew
    watched: list[Any] = field(default_factory=list)  # blocks and parameters that tell when they change
    follows: bool = False  # gradients, so that they must not go elsewhere; NOTE [who asks for gradients]
    measured: list[tuple[Node, Source | None]] = field(default_factory=list)  # NOTE [sizes that Python saw]
    catches: str = ""  # which function handles exceptions, for people
    code: list[Code] = field(default_factory=list)  # functions that no search for state finds
    functions: list[types.CodeType] = field(default_factory=list)  # user code that ran
    # ids of arrays that the code can reach, where it asks whether objects are one: no argument of a program may be one
    told_apart: frozenset[int] = frozenset()
    failure: Exception | None = None  # of ours, while it was recorded
    changes: Changes | None = None  # since the call began
    before: list[numpy.ndarray] = field(default_factory=list)  # what updated arrays held when it began

    @property
    def results(self) -> int:
        """How many arrays the result holds."""
        assert self.structure is not None
        return len({*leaves(self.structure)})

    def join(self, other: Recording) -> None:
        """Rest also on what a recording of another way rests on: one program is made of both."""
        assert self.state is not None
        assert other.state is not None
        self.state.join(other.state)
        self.watched = _unique([*self.watched, *other.watched])
        self.follows = self.follows or other.follows
        self.told_apart |= other.told_apart

    def release(self) -> None:
        """The call is answered: what only it needed goes."""
        self.result, self.changes, self.before = None, None, []


def record(
    call: Callable[[], Any],
    recorder: Recorder,
    roots: Iterable[tuple[Any, str]],
    code: list[Code],
    behind: Callable[[Any], None] = lambda _: None,
    left_out: Attributes = _NONE,
) -> Recording:
    """Run ``call`` once, eagerly, and write down what it did.

    recorder: a new one, for the arrays among the arguments. roots: the callable, from where its state is reached.
    code: functions that earlier recordings met outside of that reach. behind: what we compute of the result, recorded as
    well. left_out: attributes that earlier recordings met as assigned. An exception of ``call`` goes through. No profiler
    may be active: the witness takes its place.
    """
    # Finalizers of other objects would be taken for the call's doing, from the picture of the state to the end of the call.
    stop_collector()
    settle()
    failure: Exception | None = None
    try:
        try:
            state = state_of(roots, code, left_out)
            changes = Changes(state.watched, state.arrays.values(), recorder.is_writing)
        except Exception as error:
            if came_from_handler(error):
                raise
            failure, problem = error, "its state cannot be read"
        else:
            asked = sorted(_CHANGED & {strange.what for strange in state.strange.values()})
            if not asked:
                return _recorded(call, recorder, state, changes, code, behind, left_out)
            problem = f"forward can ask {asked[0]}, which would tell of the recording"
    finally:
        resume_collector()
    return Recording(call(), problem, failure=failure)


def _recorded(
    call: Callable[[], Any],
    recorder: Recorder,
    state: State,
    changes: Changes,
    code: list[Code],
    behind: Callable[[Any], None],
    left_out: Attributes,
) -> Recording:
    recorder.assignments.begin(state.watched, left_out)
    witness = Witness(recorder.induction.enter, recorder.induction.given, state, recorder.assignments)
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
        again=any(parameter._data is not None for parameter in waiting)  # and has its first value now
        or any(made() != before for made, before in state.makers),
        state=state,
        code=code,
        watched=_unique([*state.watched, *recorder.visited]),
        functions=list(witness.functions),
        left_out=left_out,
        failure=recorder.failure,
        changes=changes,
    )
    try:
        _judge(recording, recorder, witness)
    except Exception as error:
        if came_from_handler(error):
            raise
        recording.problem, recording.failure = "what it did cannot be judged", error
    return recording


def _judge(recording: Recording, recorder: Recorder, witness: Witness) -> None:
    """Fill in what a recorded call is good for, or the problem with it."""
    state, code = recording.state, recording.code
    assert state is not None
    recorder.memory.check_contents()
    recorder.close()
    state.settings += (Setting(ask, answer, text) for (ask, text), answer in witness.questions.values())
    state.settings += recorder.questions
    new = [(c, g) for c, g in witness.functions.items() if c not in state.codes]
    effects = witness.problem or _assigning(recording, recorder) or _changed(state)
    recording.effects = bool(effects) and not (recording.met or recording.kept)
    recording.again |= bool(recording.met or recording.kept) or recorder.interrupted
    recording.raised = recorder.raised
    recording.repeatable = not (recorder.problem or effects)
    recording.problem = recorder.problem or effects or _unseen(state)
    state.watched_others += held_twice(state.arrays, recording.watched)
    held = frozenset((*state.arrays, *parameters_of(recording.watched)))
    if any(map(asks_identity, recording.functions)):
        recording.told_apart = held
    reachable = not held.isdisjoint(map(id, recorder.given))  # a graph could not tell the two apart
    if reachable and not recording.problem:
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
        there = ((a(), where) for a, where in witness.measured)
        seen = [(recorder.memory.value_of(a), where) for a, where in there if a is not None]
        recording.measured = [*((n, where) for n, where in seen if n is not None), *recorder.escaped]
        recording.catches = witness.catches


def _assigning(recording: Recording, recorder: Recorder) -> str:
    """Why the picture of state has to be another one, or why no program can assign what the call did: NOTE [assigned
    attributes].
    """
    assert recording.state is not None
    found = [a for a in recorder.memory.found.values() if id(a) not in recording.state.arrays]
    read = recorder.assignments.read(found)
    if any(recorder.assignments.initial[a.key] is array for a in read for array in recorder.given):
        recording.again = True  # another array may be given next
        return "an argument is an array that forward reads from an attribute, too"
    refused = [a for a in read if not _is_given(a, read, recording, recorder)]
    if refused:
        recording.kept = frozenset(attribute.key for attribute in refused)
        return f"forward reads {refused[0].text} before it assigns it"
    recording.read = read
    assignments = recorder.assignments
    new = assignments.new()
    recording.met = {attribute.key: attribute for attribute in new if not assignments.problem_with(attribute)}
    unfit = next((a for a in new if a.key not in recording.met), None)
    if unfit is not None:
        recording.met = {}
        return f"forward assigns the attribute {unfit.name}, {assignments.problem_with(unfit)}"
    return f"forward assigns {new[0]}; the next call is recorded without it as state" if new else ""


def _is_given(attribute: Attribute, read: list[Attribute], recording: Recording, recorder: Recorder) -> bool:
    """Whether what an attribute held can be given at each call: it is an array, which nothing else of the state holds."""
    assert recording.state is not None
    initial = recorder.assignments.initial
    array = initial[attribute.key]
    others = [initial[a.key] for a in read if a is not attribute]
    known = recording.state.arrays.keys() | parameters_of(recording.watched).keys()
    return type(array) is ndarray and id(array) not in known and not any(array is a for a in others)


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
    recording.problem = _add_assigned(recording, recorder, result, arrays)
    if recording.problem:
        return
    recording.problem = _sharing(arrays, recorder)
    if recording.problem:
        return
    assert recording.state is not None
    given = {id(recorder.assignments.initial[a.key]): a for a in recording.read}
    found = Leaves(recorder, recording.watched, recording.state.arrays, given)
    recording.draws = recorder.draws
    results = tuple(recorder.memory.node_of(a) for a in (*arrays, *(recorder.pulled or ())))
    unneeded = recorder.unneeded((*results, *found.updates.values()))
    may_need = recorder.pulled is None and (found.updates or results)
    if unneeded and may_need and recorder.is_behind_decisions(unneeded):
        if found.updates:
            found.need(unneeded, recorder.sequence)
        else:
            results = with_errors_of(unneeded, results, recorder.sequence)
        unneeded = []
    recording.problem = (
        found.problem
        or recorder.problem
        or ("" if recorder.pulled is not None else _following(arrays) or _asking(recording, recorder, found))
        or _drawing(recorder, (*results, *found.updates.values()))
        or _raising(unneeded)
    )
    recording.updates, recording.before = found.written, found.before
    recording.path = Path(
        tuple(recorder.arguments),
        tuple(recorder.sequence),
        frozenset(recorder.induction_nodes),
        tuple(recorder.events),
        (*results, *found.updates.values()),
        found.leaves,
        found.origins,
        tuple(found.updates),
        recorder.obstacle,
        bool(recorder.rounds.forgotten),
    )


def _add_assigned(recording: Recording, recorder: Recorder, result: Any, arrays: list[ndarray]) -> str:
    """Fill in what the call assigned; its arrays are appended to those of the result. The problem with it, or no text."""
    initial = recorder.assignments.initial
    read = {attribute.key: initial[attribute.key] for attribute in recording.read}
    for array in [*recorder.given, *read.values()]:
        recorder.memory.node_of(array)  # also if no operator has met it
    chosen = [
        (attribute, value)
        for attribute, value in recorder.assignments.values()
        if attribute.key in recording.left_out
        and not (attribute in recording.read and value is initial[attribute.key])
    ]
    if not chosen:
        return ""
    attributes, values = zip(*chosen, strict=True)
    where = f"what forward assigns to {attributes[0]}"
    assert recording.state is not None
    ids = [id(c) for c in containers((result, values))]
    if recording.state.known.keys() & set(ids) or len(set(ids)) < len(ids):
        return f"{where}, or another attribute, is a list or dict that somebody else holds, too"
    if recorder.pulled is not None:
        return f"{where} could have gradients, which a program of a call inside of record() does not give to attributes"
    statics: list[Any] = []
    try:
        structure, numbers = flatten_assigned(values, arrays, statics, recorder.given, read)
    except Unstructured as kind:
        return f"{where}, or to another attribute, is a {kind.args[0]}, which is neither array, number nor container"
    before = tuple(recorder.assignments.before[attribute.key] for attribute in attributes)
    recording.assigned = Assigned(attributes, before, structure, statics, numbers)
    return ""


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


def _asking(recording: Recording, recorder: Recorder, found: Leaves) -> str:
    """See NOTE [who asks for gradients]."""
    recording.follows = recorder.follows
    if not recording.follows:
        return ""
    if has_history([*recorder.given, *(recorder.assignments.initial[a.key] for a in recording.read)]):
        return "gradients go to an argument, or to what it was computed from"
    assert recording.state is not None
    holders = [origin.holder for origin in found.origins.values()]
    parameters = [value for value in recording.watched if hasattr(value, "grad_req")]
    asked = Asked(parameters, [h for h in holders if isinstance(h, ndarray)])
    recording.state.asked.append(asked)
    return "" if asked.holds() else "gradients go to an array that no parameter holds"


def _drawing(recorder: Recorder, outputs: tuple[Node, ...]) -> str:
    """Random numbers are drawn as often and in the order as Python draws them, or not by a program."""
    if recorder.draws and recorder.may_join:
        return "forward draws random numbers in a call whose flow depends on data"
    if set(recorder.draws) - set(ordered(outputs)):
        return "forward draws random numbers that no result needs"
    return ""


def _raising(unneeded: list[Node]) -> str:
    """An index beyond its axis, say, is an error also where nobody needs what it picks."""
    if not unneeded:
        return ""
    where = f" at {unneeded[0].source}" if unneeded[0].source else ""
    return f"forward calls {unneeded[0].operator.name}, which may raise, where no result needs it{where}"


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
