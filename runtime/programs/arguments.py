"""The arguments of a call, taken apart: arrays, other values, and the structure that holds them."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured, containers, flatten

# (shape, dtype, which argument is this array too) of each array; None in the place of a leading size: any
Types = tuple[tuple[tuple[int | None, ...], str, int], ...]


class Arguments(NamedTuple):
    """What a caller passed, and the parts of it that dispatch, programs and checks look at.

    No dataclass: freezing would cost each call that comes to dispatch 2 us.
    """

    args: tuple[Any, ...]  # as they were passed
    kwargs: dict[str, Any]  # as they were passed
    arrays: list[ndarray]  # from the left; one that is passed twice stands here twice
    types: Types  # of the arrays
    has_distinct_arrays: bool  # whether each array is passed once
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
        first = {id(a): n for n, a in reversed(list(enumerate(arrays)))}
        types = tuple((a.shape, a.dtype.char, first[id(a)]) for a in arrays)
        return cls(args, kwargs, arrays, types, len(first) == len(arrays), values, structure)

    @property
    def are_positional_arrays(self) -> bool:
        """Whether all arguments are arrays, by position and each once."""
        return not self.kwargs and self.has_distinct_arrays and all(type(a) is ndarray for a in self.args)

    def problem_with(self, result: Any) -> str:
        """What a call that gave ``result`` did to its lists and dicts that no program does, or no text."""
        if self._have_changed():
            return "forward changes a list or dict among its arguments"
        ids = {id(c) for c in containers((self.args, self.kwargs))}
        if any(id(c) in ids for c in containers(result)):
            return "forward returns a list or dict that it was given"
        return ""

    def _have_changed(self) -> bool:
        now: list[ndarray] = []
        try:
            structure = flatten((self.args, self.kwargs), now)
        except Unstructured:
            return True
        return structure != self.structure or any(a is not b for a, b in zip(self.arrays, now, strict=True))
