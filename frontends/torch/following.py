"""A module's own forward, run by torch while each of its functions is repeated on our arrays.

NOTE [tensors and arrays]
While a call is recorded, torch computes it as always: user code sees real tensors, and nothing of ours in them. A
``TorchFunctionMode`` sees each function, and repeats it by its rule on the array that stands for each tensor; arrays are
what is recorded. So three things are compared at each function, on the values of this call: dtype, shape and elements.
Where they differ, or there is no rule, torch's result stands, the recording is given up and ``explain()`` names the function
and the user's line. What agrees goes on with our elements in torch's memory, so that rounding does not add up.

NOTE [shared memory]
Tensors that were there before (arguments, parameters, buffers) and their arrays are the same memory. A function that writes
there is run by torch alone, once, and the recording is given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy
import torch
from torch.overrides import TorchFunctionMode

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.frontends.torch import asking, tensors
from blockfuse.frontends.torch.agreement import disagreement
from blockfuse.frontends.torch.names import name_of
from blockfuse.frontends.torch.rules.table import RULES, WRITING, NoRule
from blockfuse.frontends.torch.rules.values import index_of
from blockfuse.frontends.torch.tensors import tensors_in
from blockfuse.ir import interpreter
from blockfuse.ir.signal_handlers import came_from_handler

FOLLOWED: ContextVar[Following | None] = ContextVar(
    "blockfuse_followed", default=None
)  # the call of this thread

# With a mask of paddings an encoder for predictions goes another way from here on, which leaves zeros where nothing is.
_TURNS_ASIDE = torch._nested_tensor_from_mask_left_aligned


class Following(TorchFunctionMode):
    """Follows one call. missing: names of functions without a rule are put there, where somebody collects them."""

    def __init__(self, missing: dict[str, None] | None = None) -> None:
        super().__init__()
        self.arrays: dict[int, ndarray] = {}  # id of a tensor -> what stands for it
        self.missing = missing
        self.problems: list[str] = []  # why the recording was given up
        self._kept: list[torch.Tensor] = []  # keeps those ids good
        self._sharing: dict[int, list[torch.Tensor]] = {}  # memory of torch's -> the tensors that lie in it
        self._given: set[int] = set()  # ids of the owners of arguments' memory
        self._outside: set[int] = set()  # memory of torch's that was there before
        self._standing: set[int] = set()  # ids of arrays that stand for a tensor
        self._constants: set[int] = set()  # ids of tensors that the call made of Python's values
        self._places: dict[int, int] = {}  # id of a tensor -> its memory of torch's
        self._aside: Any = None  # what hides this mode from the rest of a call

    def argument(self, array: ndarray) -> torch.Tensor:
        """The tensor of an argument, in its memory."""
        data = array._data
        tensor = torch.from_numpy(data if data.flags.writeable else data.copy())
        self._know(tensor, array)
        self._given.add(id(stamps.owner_of(data)))
        self._outside.add(_memory_of(tensor))
        return tensor

    def array_of(self, tensor: torch.Tensor) -> ndarray | None:
        """What stands for a tensor in this call."""
        return self.arrays.get(id(tensor))

    def result(self, tensor: torch.Tensor) -> ndarray:
        """The array of a tensor that the call gives."""
        array = None if _is_given_up() else self._array(tensor)
        if array is None or _is_given_up():  # what torch has computed counts
            return tensors.plain_array(tensor)
        return array

    def __exit__(self, *error: Any) -> None:
        aside, self._aside = self._aside, None
        if aside is not None:
            aside.__exit__(*error)
        super().__exit__(*error)

    # -- functions of torch ----------------------------------------------------------------------------------

    @size_agnostic
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in asking.ASKING:
            return self._asked(func, args, kwargs)
        if func in asking.MADE_ALIKE:
            return self._made_alike(func, args, kwargs)
        if func in asking.ESCAPES:
            return self._escape(func, args, kwargs, asking.ESCAPES[func])
        opened = asking.opened(func)
        if opened is not None:
            with self:
                return opened(*args, **kwargs)
        if asking.is_writing(func, kwargs):
            return self._write(func, args, kwargs)
        if func in RULES:
            return self._repeat(func, args, kwargs)
        result = self._without_rule(func, args, kwargs)
        if func is _TURNS_ASIDE and self.missing is None:
            self._step_aside(func)
        return result

    def _step_aside(self, func: Any) -> None:
        """Give the call up and see no more of it: torch asks for modes from here on, and computes otherwise with one."""
        self._stop(f"{name_of(func)} has no rule")
        self._aside = torch._C.DisableTorchFunction()
        self._aside.__enter__()

    def _asked(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a tensor is, without its elements."""
        tensor = args[0]
        if func in asking.ASKING_LAYOUT and not (self._is_constant(tensor) or tensors.is_held(tensor)):
            self._stop(f"{name_of(func)} asks how the elements of an argument lie")
        if asking.ASKING[func] and id(tensor) in self.arrays:
            _tell_size(self.arrays[id(tensor)])
        return func(*args, **kwargs)

    def _made_alike(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor of Python's values, in the shape or dtype of another one."""
        if id(args[0]) in self.arrays:
            _tell_size(self.arrays[id(args[0])])
        return self._constant(func(*args, **kwargs))

    @size_agnostic
    def _repeat(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What torch gives, and our arrays for it."""
        given = list(tensors_in((args, kwargs)))
        if not any(self._is_followed(t) for t in given):
            self._look_for_unseen(given)
            return self._constant(func(*args, **kwargs))
        try:
            operands = self._with_arrays((args, kwargs))
        except NoRule as reason:  # an operand of a kind that our arrays do not have
            return self._not_covered(func, given, func(*args, **kwargs), str(reason))
        result = func(*args, **kwargs)
        try:
            pairs = list(_paired(result, _by_rule(func, result, operands)))
        except Exception as reason:  # a form of call that no rule has, or does not cover
            if came_from_handler(reason):
                raise
            return self._not_covered(func, given, result, _said(reason))
        for tensor, array in pairs:
            if id(tensor) not in self.arrays:  # else torch gives an operand back
                self._agree(func, tensor, array)
        return result

    @size_agnostic
    def _agree(self, func: Any, tensor: torch.Tensor, array: Any) -> None:
        """Let an array stand for a tensor, where both are the same."""
        problem = disagreement(tensor, array, _memory_of(tensor) not in self._outside)
        if problem:
            self._stop(f"{name_of(func)}: our rule and torch differ ({problem})")
            self._constant(tensor)
            return
        if id(array) in self._standing:  # for an operand, which may be written to
            array = array[...] if _shares(tensor, array) else array.copy()
        self._know(tensor, array)

    def _write(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function that writes into its first argument, or into ``out=``."""
        target = args[0] if args and isinstance(args[0], torch.Tensor) else None
        plain = WRITING.get(func)
        if target is None or "out" in kwargs or (plain not in RULES and func is not torch.Tensor.__setitem__):
            return self._written_by_torch(func, args, kwargs, "has no rule")
        given = list(tensors_in((args, kwargs)))
        sharing = self._sharing.get(_memory_of(target), [])
        if all(self._is_constant(t) for t in (*given, *sharing)):
            return func(*args, **kwargs)
        if self._is_given(target):
            return self._written_by_torch(
                func, args, kwargs, "writes to memory that was there before the call"
            )
        array = self._array(target)
        if not self._is_alone(target, array):
            return self._written_by_torch(func, args, kwargs, "writes to memory that other tensors see")
        try:
            operands = self._with_arrays((args, kwargs))
        except NoRule as reason:
            return self._written_by_torch(func, args, kwargs, f"has no rule for this: {reason}")
        result = func(*args, **kwargs)
        try:
            if func is torch.Tensor.__setitem__:
                array[index_of(operands[0][1])] = operands[0][2]
            else:
                array[...] = _by_rule(plain, target, operands)
        except Exception as reason:
            if came_from_handler(reason):
                raise
            self._lacking(func, _said(reason))
            self._stop(f"{name_of(func)} has no rule for this: {_said(reason)}")
            self._know(target, self._copied(target))
            return result
        problem = disagreement(target, array, may_follow=True)
        if problem:
            self._stop(f"{name_of(func)}: our rule and torch differ ({problem})")
            self._know(target, self._copied(target))
        return result

    def _is_alone(self, target: torch.Tensor, array: ndarray) -> bool:
        """Whether all tensors that see a write to ``target`` have arrays that do."""
        owner = stamps.owner_of(array._data)
        others = (t for t in self._sharing.get(_memory_of(target), ()) if t is not target)
        known = [self.arrays.get(id(t)) for t in others]
        return all(one is not None and stamps.owner_of(one._data) is owner for one in known)

    def _written_by_torch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], why: str) -> Any:
        """See NOTE [shared memory]."""
        if not all(self._is_constant(t) for t in tensors_in((args, kwargs))):
            self._lacking(func)
            self._stop(f"{name_of(func)} {why}")
        return func(*args, **kwargs)

    # -- what has no rule ------------------------------------------------------------------------------------

    def _without_rule(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = list(tensors_in((args, kwargs)))
        result = func(*args, **kwargs)
        if not any(self._is_followed(t) for t in given):
            self._look_for_unseen(given)
            return self._constant(result)
        return self._not_covered(func, given, result, "")

    def _not_covered(self, func: Any, given: list[torch.Tensor], result: Any, why: str) -> Any:
        """Torch's result stands: values leave the world of arrays."""
        self._lacking(func, why)
        for tensor in given:
            if self._is_followed(tensor):
                self._array(tensor)._leave(f"{name_of(func)} has no rule{f' for this: {why}' if why else ''}")
        for tensor in tensors_in(result):
            if id(tensor) not in self.arrays:
                self._constant(tensor)
        return result

    def _escape(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str) -> Any:
        """Elements become Python's."""
        if self._is_constant(args[0]):
            return func(*args, **kwargs)
        array = self._array(args[0])
        if kind == "bool()" and args[0].numel() == 1:
            return bool(array)  # a decision
        array._leave(kind)
        return func(*args, **kwargs)

    def _lacking(self, func: Any, why: str = "") -> None:
        if self.missing is not None:
            self.missing[f"{name_of(func)}{f' ({why})' if why else ''}"] = None

    def _stop(self, what: str) -> None:
        self.problems.append(what)
        interpreter.current().impure(f"uses values in torch: {what}")

    # -- tensors and arrays ----------------------------------------------------------------------------------

    def _know(self, tensor: torch.Tensor, array: ndarray) -> None:
        self.arrays[id(tensor)] = array
        self._standing.add(id(array))
        self._constants.discard(id(tensor))
        self._keep(tensor)

    def _keep(self, tensor: torch.Tensor) -> None:
        self._kept.append(tensor)
        self._places[id(tensor)] = _memory_of(tensor)
        sharing = self._sharing.setdefault(_memory_of(tensor), [])
        if all(tensor is not other for other in sharing):
            sharing.append(tensor)

    def _constant(self, result: Any) -> Any:
        """Remember tensors that were made of Python's values."""
        for tensor in tensors_in(result):
            if not self._is_followed(tensor):
                self._constants.add(id(tensor))
                self._keep(tensor)
        return result

    def _is_followed(self, tensor: torch.Tensor) -> bool:
        """Whether an array stands for a tensor, or will."""
        return id(tensor) in self.arrays or tensors.is_held(tensor)

    def _look_for_unseen(self, given: list[torch.Tensor]) -> None:
        """A tensor that comes from where nobody looked may hold anything in the next call."""
        if not all(self._is_constant(t) for t in given):
            self._stop("a tensor that nobody saw made")

    def _is_constant(self, tensor: torch.Tensor) -> bool:
        self._look_for_other_memory(tensor)
        return id(tensor) in self._constants

    def _look_for_other_memory(self, tensor: torch.Tensor) -> None:
        """No function mode is told of ``set_``."""
        place = _memory_of(tensor)
        if self._places.get(id(tensor), place) != place:
            self._stop("a tensor was given the memory of another one")

    def _is_given(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor lies in memory that was there before the call."""
        array = self.arrays.get(id(tensor))
        if array is None:
            return not self._is_constant(tensor)
        owner = id(stamps.owner_of(array._data))
        return owner in self._given or tensors.is_memory_of_held(owner)

    def _array(self, tensor: torch.Tensor) -> ndarray:
        """What stands for a tensor, made now for one that was there before or holds Python's values."""
        self._look_for_other_memory(tensor)
        found = self.arrays.get(id(tensor))
        if found is None and tensors.is_held(tensor):
            found = tensors.held_array(tensor)
            self._outside.add(_memory_of(tensor))
            order = tensors.held_order(tensor)
            self._know(tensor, found if order is None else found.transpose(order))
            found = self.arrays[id(tensor)]
        elif found is None:
            if not self._is_constant(tensor):
                self._stop("a tensor that nobody saw made")
            found = self._copied(
                tensor
            ).copy()  # an operator makes it, so it may be written, and seen in parts
            self._know(tensor, found)
        return found

    def _copied(self, tensor: torch.Tensor) -> ndarray:
        try:
            return ndarray(tensors.plain_data(tensor).copy())
        except (TypeError, RuntimeError, ValueError) as error:
            raise NoRule(str(error)) from error

    def _with_arrays(self, value: Any) -> Any:
        """``value`` with arrays in the place of tensors."""
        if isinstance(value, torch.Tensor):
            return self._array(value)
        if type(value) is tuple or type(value) is list:
            return type(value)(self._with_arrays(v) for v in value)
        if type(value) is dict:
            return {k: self._with_arrays(v) for k, v in value.items()}
        return value


def _by_rule(func: Any, like: Any, operands: tuple[Any, Any]) -> Any:
    """What a rule gives; torch does not warn of infinities."""
    with numpy.errstate(all="ignore"):
        return RULES[func](like, *operands[0], **operands[1])


def _is_given_up() -> bool:
    return bool(getattr(interpreter.current(), "problem", ""))


def _memory_of(tensor: torch.Tensor) -> int:
    """Equal for tensors that see each other's writes."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # of a kind that has none
        return id(tensor)


def _shares(tensor: torch.Tensor, array: ndarray) -> bool:
    """Whether torch gave another view of an operand rather than a copy of it."""
    return tensor._is_view() and tensor.numel() == array._data.size


def _said(reason: Exception) -> str:
    return str(reason) if isinstance(reason, NoRule) else f"{type(reason).__name__}: {reason}"


def _tell_size(array: ndarray) -> None:
    """Python sees a size: NOTE [sizes that Python saw]."""
    array.shape  # noqa: B018 - the question is told


def _paired(result: Any, found: Any) -> Iterator[tuple[torch.Tensor, Any]]:
    """Each tensor of a result, with the array for it."""
    if isinstance(result, torch.Tensor):
        yield result, found
    elif isinstance(result, tuple | list):
        for one, array in zip(result, found, strict=True):
            yield from _paired(one, array)
