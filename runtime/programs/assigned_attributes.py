"""The attributes that a program assigns, and those that it reads at each call (NOTE [assigned attributes]).

All are assigned at once, when everything is computed. Each call makes new arrays, so what an attribute held before stays
what it was for whoever kept it. No watcher is told that does not rest on the attribute; programs of calls that assign it
do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Branch, Leaf, Static
from blockfuse.array.stamps import Watchers
from blockfuse.runtime.programs.ways_to_assign import Ways
from blockfuse.tracer.state.assignments import Assigned, Attribute, Key

# For attributes that no class decides about: as blocks do.
_ASSIGN, _READ = object.__setattr__, object.__getattribute__
Values = Callable[
    [Sequence[Any], Sequence[Any]], tuple[Any, ...]
]  # of arrays that a program gives and is given


class Way:
    """What one way through a program assigns."""

    def __init__(self, assigned: Assigned | None, arguments: int, read: Sequence[Attribute]) -> None:
        """arguments, read: see ``AssignedAttributes``."""
        self.numbers = () if assigned is None else assigned.among(arguments, read)
        self.attributes = () if assigned is None else assigned.attributes
        self._holders = [attribute.holder for attribute in self.attributes]
        self._names = [attribute.name for attribute in self.attributes]
        self._told = [_told(attribute) for attribute in self.attributes]
        self.values: Values = _no_values if assigned is None else _values_of(assigned, self.numbers)

    def steps(self, values: tuple[Any, ...]) -> Iterator[Any]:
        """Assigns one attribute a step, in C."""
        return map(_ASSIGN, self._holders, self._names, values)

    def changing(self, assign: Callable[..., Any], *arguments: Any) -> None:
        """Call ``assign``, which assigns all attributes, with those told who rest on them."""
        told = [watchers for members, indifferent, watchers, _ in self._told if not members <= indifferent]
        stamps.changing(told, self._tell, assign, *arguments)

    def _tell(self) -> None:
        for members, indifferent, watchers, name in self._told:
            if not members <= indifferent:
                watchers.notify(name)

    def finish(self, arrays: Sequence[Any], given: Sequence[Any]) -> None:
        """Assign all attributes, or none, where Ctrl-C comes before. Of arrays that the program gives and is given."""
        self.changing(deque, self.steps(self.values(arrays, given)), 0)


def _told(attribute: Attribute) -> tuple[set[Any], set[Any], Watchers, str]:
    """Who watches the holder, and who of them does not rest on the attribute."""
    watchers: Watchers = attribute.holder._watchers
    return watchers.members, watchers.indifferent_to(attribute.name), watchers, attribute.name


class Assignment:
    """What one call assigns when it is finished."""

    def __init__(self, way: Way, values: tuple[Any, ...]) -> None:
        self._way, self._values = way, values

    @property
    def by_attribute(self) -> dict[Key, Any]:
        keys = (attribute.key for attribute in self._way.attributes)
        return dict(zip(keys, self._values, strict=True))

    def steps(self) -> Iterator[Any]:
        """See ``Way``."""
        return self._way.steps(self._values)

    def changing(self, assign: Callable[..., Any], *arguments: Any) -> None:
        """See ``Way``."""
        self._way.changing(assign, *arguments)


class AssignedAttributes:
    """Those of one program."""

    def __init__(self, ways: Ways, arguments: int, read: Sequence[Attribute], held: Container[int]) -> None:
        """arguments: how many arrays there are among them; read: what is given behind them at each call. held: ids of arrays
        that the state of the call holds.
        """
        self._held = held
        self.read = tuple(read)
        self._holders_read, self._names_read = [a.holder for a in read], [a.name for a in read]
        self._ways, self._decisive = [Way(a, arguments, read) for a in ways.assigned], ways.decisive
        self._numbers = {number for way in self._ways for number in way.numbers}
        attributes = {a.key: a for way in self._ways for a in way.attributes}
        self.attributes = tuple(attributes.values())  # that some way assigns

    def __bool__(self) -> bool:
        """Whether it assigns some."""
        return bool(self.attributes)

    def arrays(self) -> list[ndarray] | None:
        """What the attributes hold that are read; None where that is not an array, or is one in two places, as nobody knows
        whether the call asks for that.
        """
        try:
            found = [*map(_READ, self._holders_read, self._names_read)]
        except AttributeError:
            return None
        for value in found:
            if type(value) is not ndarray or id(value) in self._held:
                return None
        return found if len({*map(id, found)}) == len(found) else None

    def assignment(self, arrays: Sequence[ndarray], given: Sequence[ndarray]) -> Assignment:
        """arrays: that the program gives. given: its arguments, and what is read."""
        way = self._way_of(arrays)
        return Assignment(way, way.values(arrays, given))

    def _way_of(self, arrays: Sequence[ndarray]) -> Way:
        return self._ways[0 if self._decisive is None else arrays[self._decisive]._data.item()]

    def around(
        self,
        entry: Callable[..., Any],
        count: int,
        result: Callable[[Sequence[Any]], Any],
        results: Iterable[int],
    ) -> Callable[..., Any]:
        """``entry``, which gives ``count`` arrays, told what attributes hold, and with attributes assigned.

        result: of a call, made of these arrays; results: which of them it holds.
        """
        # An array of NumPy's, as argument or result, and an attribute would be one; what is read decides of which kind
        # results are.
        reads = bool(self.read)
        needs_own = reads or any(number < 0 or number in {*results} for number in self._numbers)
        finish, arrays_read = self._finisher(), self.arrays

        def call(*arguments: Any) -> Any:
            if needs_own:
                for argument in arguments:
                    if type(argument) is not ndarray:
                        return NotImplemented
                if reads:
                    read = arrays_read()
                    if read is None:
                        return NotImplemented
                    arguments = (*arguments, *read)
                    if len({*map(id, arguments)}) < len(arguments):
                        return NotImplemented
            arrays = entry(*arguments)
            if arrays is NotImplemented:
                return NotImplemented
            if count == 1:
                arrays = (arrays,)
            finish(arrays, arguments)
            return result(arrays)

        return call

    def _finisher(self) -> Callable[[Sequence[Any], Sequence[Any]], None]:
        """Assigns what a call does, of arrays that the entry gives and is given."""
        finishers = [way.finish for way in self._ways]
        [only, *others], decisive = finishers, self._decisive or 0

        def finish(arrays: Sequence[Any], given: Sequence[Any]) -> None:
            if type(arrays[0]) is not ndarray:
                arrays = [*map(ndarray, arrays)]
            (finishers[arrays[decisive]._data.item()] if others else only)(arrays, given)

        return finish if self else _assign_nothing


def _assign_nothing(arrays: Sequence[Any], given: Sequence[Any]) -> None:
    """No attributes."""


def _no_values(arrays: Sequence[Any], given: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ARG001 - there are none
    return ()


def _values_of(assigned: Assigned, numbers: tuple[int, ...]) -> Values:
    """The same as ``assigned.values``, quickly where attributes are arrays that the program gives, or nothing but values."""
    structure = assigned.structure
    if isinstance(structure, Static):
        [values] = assigned.statics
        return lambda _, __: values
    parts = structure.parts if isinstance(structure, Branch) else ()
    if min(numbers, default=-1) < 0 or not all(isinstance(part, Leaf) for part in parts):
        return partial(assigned.values, numbers)
    first, *others = (numbers[part.number] for part in parts)
    if others:
        pick = itemgetter(first, *others)
        return lambda arrays, _: pick(arrays)
    return lambda arrays, _: (arrays[first],)
