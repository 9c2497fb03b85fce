"""How many updates each parameter has had: arrays, which parameters that are always updated together share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray


class UpdateCounts:
    """The count of each index, an int64 array without axes. They start at ``start``.

    As parameters share counts, a step has as many to compute with as there are ways to be updated, mostly one.
    """

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._counts: dict[Any, ndarray] = {}  # index -> its count

    def __getitem__(self, index: Any) -> ndarray:
        return self._counts[index]

    def following(self, indices: Iterable[Any]) -> dict[Any, ndarray]:
        """The next count of each index. Nothing is counted before ``advance`` writes them."""
        chosen = dict.fromkeys(indices)
        self.begin(chosen)
        self._part(chosen)
        ahead = {id(count): count + 1 for count in _distinct(self._counts[index] for index in chosen)}
        return {index: ahead[id(self._counts[index])] for index in chosen}

    def advance(self, following: Mapping[Any, ndarray]) -> None:
        """Count the updates that ``following`` looked ahead to."""
        pairs = {id(self._counts[index]): (self._counts[index], new) for index, new in following.items()}
        for count, new in pairs.values():
            count[...] = new

    def _part(self, chosen: Mapping[Any, None]) -> None:
        """Let indices share counts only with others that are chosen, too."""
        for count in _distinct(self._counts[index] for index in chosen):
            sharing = [index for index, other in self._counts.items() if other is count]
            moving = [index for index in sharing if index in chosen]
            if len(moving) < len(sharing):
                self._counts.update(dict.fromkeys(moving, np.copy(count)))

    def begin(self, indices: Iterable[Any]) -> None:
        """Give a count, a common one, to indices that have none yet."""
        unknown = [index for index in indices if index not in self._counts]
        if unknown:
            self._counts.update(dict.fromkeys(unknown, np.array(self._start, dtype="int64")))

    def most(self, following: Mapping[Any, ndarray] | None = None) -> ndarray:
        """The largest count, of ``following`` where it has one."""
        counts = _distinct({**self._counts, **(following or {})}.values())
        most: ndarray = reduce(np.maximum, counts or [np.array(self._start, dtype="int64")])
        return most

    def restore(self, numbers: Mapping[Any, int]) -> None:
        """Set all counts, in the memory that they have where those that share one stay equal."""
        wanted = {index: numbers[index] for index in self._counts if index in numbers}
        together: dict[int, set[int]] = {}  # id of a count -> its new numbers
        for index, number in wanted.items():
            together.setdefault(id(self._counts[index]), set()).add(number)
        if wanted.keys() == numbers.keys() == self._counts.keys() and all(
            len(new) == 1 for new in together.values()
        ):
            for index, number in wanted.items():
                self._counts[index][...] = number
            return
        fresh = {number: np.array(number, dtype="int64") for number in set(numbers.values())}
        self._counts = {index: fresh[number] for index, number in numbers.items()}


def _distinct(counts: Iterable[ndarray]) -> list[ndarray]:
    return list({id(count): count for count in counts}.values())
