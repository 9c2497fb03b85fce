"""The arguments of a call, taken apart: arrays, other values, and the structure that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured, containers, flatten


@dataclass(frozen=True)
class Arguments:
    """What a caller passed, and the parts of it that dispatch, programs and checks look at."""

    args: tuple[Any, ...]  # as they were passed
    kwargs: dict[str, Any]  # as they were passed
    arrays: list[ndarray]  # from the left; one that is passed twice stands here twice
    values: list[Any]  # what is neither array nor container, from the left
    structure: Structure  # of ``(args, kwargs)``

    @classmethod
    def taken_apart(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Self:
        """Raises Unstructured for what has no structure, and for arrays that no program reads."""
        arrays: list[ndarray] = []
        values: list[Any] = []
        structure = flatten((args, kwargs), arrays, values)
        # NumPy's array on the same memory may have been given another dtype.
        if not all(a.dtype.isnative for a in arrays):
            raise Unstructured("array in another byte order")
        return cls(args, kwargs, arrays, values, structure)

    @property
    def has_distinct_arrays(self) -> bool:
        """Whether each array is passed once."""
        return len({id(a) for a in self.arrays}) == len(self.arrays)

    @property
    def are_positional_arrays(self) -> bool:
        """Whether all arguments are arrays, by position and each once."""
        return not self.kwargs and self.has_distinct_arrays and all(type(a) is ndarray for a in self.args)

    @property
    def has_changed(self) -> bool:
        """Whether the lists and dicts among them do not hold any more what they held."""
        now: list[ndarray] = []
        try:
            structure = flatten((self.args, self.kwargs), now)
        except Unstructured:
            return True
        return structure != self.structure or any(a is not b for a, b in zip(self.arrays, now, strict=True))

    def shares_container(self, result: Any) -> bool:
        """Whether a list or dict among them is part of ``result`` too."""
        ids = {id(c) for c in containers((self.args, self.kwargs))}
        return any(id(c) in ids for c in containers(result))
