"""The calls of a frozen file whose native code does not run here, compiled anew from its portable part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy

from blockfuse.array import autograd
from blockfuse.frozen import file_format, portable
from blockfuse.frozen.frozen_net import Call, Direct, Source
from blockfuse.frozen.structure import built, is_arrays_by_position
from blockfuse.ir.errors import FrozenFileError, GraphFileError, OtherMachineError, UsageError
from blockfuse.nn.symbol_block import SymbolBlock

Data = Any  # of JSON
Kinds = tuple[tuple[tuple[int, ...], numpy.dtype], ...]  # shape and dtype of each array of a call

_CALLS = 3  # recorded, compiled and proven, native
_SIZES = 3  # of the batch, from which a program for every size is learned


class CompiledCall(Call):
    """Calls that a hybridized block of the recorded graphs runs."""

    def __init__(self, data: Data, net: SymbolBlock) -> None:
        super().__init__(data)
        self._net, self._decides = net, data["decides"]
        self._checked = set[Kinds]()

    @property
    def direct(self) -> Direct | None:
        """For calls with arrays alone, like one that was checked before."""
        return (self._again, None) if is_arrays_by_position(self.form) else None

    def _again(self, *arrays: Any) -> Any:
        if any(type(a) is not numpy.ndarray for a in arrays) or _kinds(arrays) not in self._checked:
            return NotImplemented
        return self._called(arrays, {}) if len(set(map(id, arrays))) == len(arrays) else NotImplemented

    def warm_up(self) -> None:
        """Compile what such calls need, but for ways that data decide, as made-up data may go round a loop for ever."""
        for arrays in () if self._decides else self._examples():
            for _ in range(_CALLS):
                self.run(arrays)

    def _examples(self) -> Iterator[list[numpy.ndarray]]:
        least, most = self._sizes or (0, 0)
        for items in range(least, min(least + _SIZES, most + 1)):
            shapes = [[items if size is None else size for size in sizes] for _, sizes in self._types]
            kinds = [numpy.dtype(dtype) for dtype, _ in self._types]
            yield [
                numpy.full(shape, 0.5 if kind.kind == "f" else 0, kind)
                for shape, kind in zip(shapes, kinds, strict=True)
            ]

    def _result(self, arrays: Sequence[numpy.ndarray]) -> Any:
        result = self._called(*built(self.form, arrays.__getitem__))
        self._checked.add(_kinds(arrays))
        return result

    def _called(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        try:
            with _in_predict_mode():
                return self._net(*args, **kwargs)
        except IndexError as error:
            raise UsageError(self._why) from error


def _kinds(arrays: Sequence[numpy.ndarray]) -> Kinds:
    return tuple((a.shape, a.dtype) for a in arrays)


def _in_predict_mode() -> contextlib.AbstractContextManager[None]:
    """Without a word where it is the mode: native code looks for the one that nobody has chosen."""
    chosen = autograd.is_training() or autograd.is_recording()
    return autograd.pause() if chosen else contextlib.nullcontext()


def compiled_calls(source: Source, description: Data) -> list[CompiledCall]:
    """All calls of a file, compiled for this process.

    Raises OtherMachineError without a compiler, FrozenFileError where the portable part is damaged or of another version.
    """
    lacking = [name for name in ("llvmlite", "numba") if find_spec(name) is None]
    if lacking:
        raise OtherMachineError(f"it cannot be compiled here without {' and '.join(lacking)}")
    image, part = file_format.read_portable(source.path, description)
    try:
        net, precision = portable.net_of(image[description["payload"] :], part, source.path)
    except GraphFileError as error:
        raise FrozenFileError(f"its portable part is of another blockfuse: {error}") from error
    net.hybridize(threads=source.threads, precision=precision)
    calls = [CompiledCall(data, net) for data in description["calls"]]
    for call in calls:
        call.warm_up()
    return calls
