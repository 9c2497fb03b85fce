"""A block as dispatch sees it (``runtime.calls.owner``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from blockfuse.array.ndarray import ndarray
from blockfuse.array.stamps import Watcher
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.calls.owner import name_of
from blockfuse.runtime.programs.backend import Entry, FastCall

if TYPE_CHECKING:
    from blockfuse.nn.block import Block


class BlockOwner:
    """The private parts of a block that its programs need."""

    def __init__(self, block: Block) -> None:
        self.subject: Callable[..., Any] = block
        self.name = name_of(block)
        self.called = type(block)
        self._block = block

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The eager call, by the methods that the class has now."""
        return self._block._run(args, kwargs)

    @property
    def definition(self) -> Callable[..., Any]:
        return self._block._defined_by

    @property
    def is_followed_by_rules(self) -> bool:
        return self._block._is_followed_by_rules

    def disagreement(self, recorded: Any, result: Any) -> str:
        return self._block._disagreement(recorded, result)

    @property
    def entry(self) -> Entry | None:
        entry: Entry | None = vars(self._block)["_entry"]
        return entry

    def ask_first(self, entry: Entry | None) -> None:
        vars(self._block)["_entry"] = entry  # __setattr__ may be the user's

    @property
    def fast_call(self) -> FastCall | None:
        fast_call: FastCall | None = vars(self._block)["_fast_call"]
        return fast_call

    def ask_in_other_forms(self, fast_call: FastCall | None) -> None:
        vars(self._block)["_fast_call"] = fast_call

    def watch(self, watcher: Watcher) -> None:
        self._block._watchers.add(watcher)

    def compile_children(self) -> None:
        for child in self._block._children.values():
            if child._hybrid is None:
                child._compile_by(self._block._hybrid_options)

    def compiled_children(self) -> Iterator[tuple[str, Hybrid]]:
        for name, child in self._block._children.items():
            if child._hybrid is not None:
                yield name, child._hybrid

    def parameter_arrays(self) -> Iterator[ndarray]:
        for _, parameter in self._block._walk(""):
            if parameter._data is not None:
                yield parameter._data

    def attribute_arrays(self) -> Iterator[ndarray]:
        for block in self._block._blocks():
            yield from (value for value in vars(block).values() if type(value) is ndarray)
