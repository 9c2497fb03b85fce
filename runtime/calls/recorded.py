"""What the recordings of a hybridized block or function hold, for a file: flows as data, and the calls they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy

from blockfuse.array import autograd
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Branch, Number, Structure, rebuild, values_of
from blockfuse.array.saved_calls import SavedCall, Sizes
from blockfuse.ir.errors import UsageError
from blockfuse.ir.exchange import Data, data_of_flow, for_every_size
from blockfuse.ir.graph import captured, parameter
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.calls.call import Signature
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.certificate.traced_numbers import Operand
from blockfuse.tracer.flow.origins import Place
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.flow.replay import flow_of
from blockfuse.tracer.generalize.every_size import EverySize
from blockfuse.tracer.recording.record import Recording

MAX_CALLS = 16  # after which a call counts as one that runs in Python
Names = Mapping[int, str]  # id of a parameter -> its name


def recorded_calls(subject: Any, names: Names) -> list[SavedCall]:
    """All calls in predict mode that ``subject``, which is hybridized, has been given, each for as many sizes as it can.

    What has no program that holds now is called with zeros until it has one; to learn what depends on the size of the
    batch, calls with zeros are recorded at other sizes. Raises UsageError where a call cannot be written.
    """
    hybrid: Hybrid = subject._hybrid
    with autograd.pause():
        signatures = [signature for signature in list(hybrid.cases) if not signature[2]]
        calls = [_saved(subject, hybrid, signature, names) for signature in signatures]
    return _without_covered(list({(call.form, call.types): call for call in calls}.values()))


def _without_covered(calls: list[SavedCall]) -> list[SavedCall]:
    """Those of one size go where there is one for every size."""
    every = [call for call in calls if call.min_items]
    return [*every, *(call for call in calls if not call.min_items and not any(map(call.is_one_of, every)))]


def _saved(subject: Any, hybrid: Hybrid, signature: Signature, names: Names) -> SavedCall:
    form, types, _ = signature
    shown = f"a call with {', '.join(_shown(*t[:2]) for t in types) or 'no arrays'}"
    try:
        if any(first != n for n, (_, _, first) in enumerate(types)):
            raise UsageError("it was given one array twice")
        if _holds_other_values(form):
            raise UsageError("it was given numbers that change from call to call: give them as arrays")
        return _of_case(hybrid, form, _settled(subject, hybrid, signature), names)
    except UsageError as error:
        raise UsageError(f"{shown} cannot be written to a file: {error}") from error


def _settled(subject: Any, hybrid: Hybrid, signature: Signature) -> Case:
    """The case of a signature, with a program that holds now."""
    form, types, _ = signature
    for _ in range(MAX_CALLS):
        case = hybrid.cases.get(signature)
        every = hybrid.cases.batches.covering(signature)
        if case is None and every is not None:  # a program for every size took it over
            case = hybrid.cases.get(every)
        if case is not None and case.program is not None and case.program.refresh() is None:
            return case
        args, kwargs = _zeros(form, [(tuple(n or 2 for n in shape), char) for shape, char, _ in types])
        subject(*args, **kwargs)
    raise UsageError(f"it runs in Python, so there is no graph of it: {case.reason if case else 'unknown'}")


def _of_case(hybrid: Hybrid, form: Structure, case: Case, names: Names) -> SavedCall:
    assert case.program is not None
    recording = case.program.recording
    assert recording.path is not None
    assert recording.structure is not None
    if len(recording.draws) > 1:
        raise UsageError("it draws random numbers more than once, and a file does not hold their order")
    types = [node.type for node in recording.path.arguments]
    every = _for_every_size(hybrid, form, case.program)
    if every is None:
        data = _data([r.path for r in case.recordings if r.path is not None], recording, names)
        fixed = tuple((type.shape, type.dtype.name) for type in types)
        return SavedCall(form, fixed, 0, data, recording.structure)
    one, other = (_data([every.at(size)], recording, names) for size in every.references)
    grows = iter(every.growing)
    growing = [bool(type.shape) and next(grows) for type in types]
    arrays: tuple[tuple[Sizes, str], ...] = tuple(
        ((None, *type.shape[1:]) if grown else type.shape, type.dtype.name)
        for type, grown in zip(types, growing, strict=True)
    )
    data = for_every_size(one, other, every.references)
    return SavedCall(form, arrays, every.min_items, data, recording.structure)


def _for_every_size(hybrid: Hybrid, form: Structure, program: Program) -> EverySize | None:
    """What the call is for every size of the batch, from 1 on if that can be, or None if it is for one size."""
    known, path = program.every_size, program.recording.path
    assert path is not None
    types = [node.type for node in path.arguments]
    leading = next((type.shape[0] for type in types if type.shape), 0)
    complete = known is not None and known.min_items == 1
    if complete or not leading or path.events or program.recording.draws:
        return known
    try:
        # Anew: the first call of a net may have looked at sizes to tell the shapes of parameters.
        again = hybrid.recorded(*_zeros(form, [(t.shape, t.dtype) for t in types]))
        if again is None or again.problem:
            return known
        return with_another_size(hybrid, form, again) or known
    except Exception as error:  # the net does not take zeros
        if came_from_handler(error):
            raise
        return known


def with_another_size(hybrid: Hybrid, form: Structure, recording: Recording) -> EverySize | None:
    """From a recording, and one of another size on zeros."""
    assert recording.path is not None
    types = [node.type for node in recording.path.arguments]
    leading = next(type.shape[0] for type in types if type.shape)
    for size in (1, leading + 1):
        shapes = [((size, *t.shape[1:]) if t.shape[:1] == (leading,) else t.shape) for t in types]
        try:
            zeros = _zeros(form, [(s, t.dtype) for s, t in zip(shapes, types, strict=True)])
            other = hybrid.recorded(*zeros)
            if other is not None and not other.problem:
                return EverySize(other, recording)
        except Exception as error:  # the net takes no such batch
            if came_from_handler(error):
                raise
    return None


def _data(paths: list[Path], recording: Recording, names: Names) -> Data:
    if recording.read:
        raise UsageError(f"it reads {recording.read[0].text}, which it also assigns")
    count = recording.results  # behind them is what attributes are assigned
    flow, origins, _ = flow_of([p if p.updates else replace(p, outputs=p.outputs[:count]) for p in paths])
    leaves = [i for i in flow.inputs if i.operator in (parameter, captured)]
    if any(isinstance(origin.holder, Operand) for origin in origins):
        raise UsageError("it computes with numbers that change from call to call: give them as arrays")
    if any(origin.place is not Place.VALUE for origin in origins):
        raise UsageError("it reads gradients")
    found = {leaf: names.get(id(o.holder), o.array()) for leaf, o in zip(leaves, origins, strict=True)}
    return data_of_flow(flow, found)


def _holds_other_values(form: Structure) -> bool:
    parts = form.parts if isinstance(form, Branch) else ()
    return isinstance(form, Number) or any(map(_holds_other_values, parts))


def _zeros(
    form: Structure, types: list[tuple[tuple[int, ...], Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of this form."""
    arrays = [ndarray(numpy.zeros(shape, dtype)) for shape, dtype in types]
    args, kwargs = rebuild(form, arrays.__getitem__, values_of(form))
    return args, kwargs


def _shown(shape: tuple[int | None, ...], char: str) -> str:
    return f"{numpy.dtype(char)}[{', '.join('any' if n is None else str(n) for n in shape)}]"
