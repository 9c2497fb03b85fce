"""Values on the evaluation stack of a waiting frame: Python does not show them, so they are computed again.

Only what has no effect and cannot run user code is computed: variables, constants, attributes as they are stored,
arithmetic of whole numbers, items of plain containers, ``range``, ``len`` and views of known containers.
"""

from __future__ import annotations

import dis
import operator
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blockfuse.array import autograd
from blockfuse.array.ndarray import ndarray
from blockfuse.tracer.certificate.ownership import is_ours
from blockfuse.tracer.code.bytecode import Anatomy, anatomy
from blockfuse.tracer.state.stored import own_dict

_NULL = object()  # what CPython pushes beside a callable
_MISSING = object()
_SCOPES = (autograd.record, autograd.pause, autograd.train_mode, autograd.predict_mode)
# Instructions of a call whose arguments are the same in every call.
_PLAIN = (
    *("PUSH_NULL", "LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD", "LOAD_CONST"),
    "KW_NAMES",
    "PRECALL",
    "CALL",
)
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
}
_CONTAINERS = (list, tuple, dict)


class Unknown(Exception):  # noqa: N818 - an answer, not a failure
    """The value cannot be known without running code of the user."""


@dataclass(frozen=True)
class View:
    """What ``enumerate(xs)``, ``zip(xs, ys)`` or ``d.items()`` goes through."""

    kind: str
    of: tuple[Any, ...]


def evaluate(frame: types.FrameType, first: int, end: int) -> list[Any]:
    """What the instructions from ``first`` to ``end`` leave on the stack. Raises Unknown."""
    stack: list[Any] = []
    try:
        for instruction in anatomy(frame.f_code).instructions[first:end]:
            _STEPS[instruction.opname](stack, instruction, frame)
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise Unknown from error
    return stack


def value_of(frame: types.FrameType, operand: str | tuple[int, int]) -> Any:
    """What a variable holds (None if there is none), or what a stretch of instructions leaves. Raises Unknown."""
    return frame.f_locals.get(operand) if isinstance(operand, str) else evaluate(frame, *operand)[0]


def understood(instruction: dis.Instruction) -> bool:
    """Whether ``evaluate`` may know what the instruction does."""
    return instruction.opname in _STEPS


def calls_directly(frame: types.FrameType, callee: types.CodeType) -> bool:
    """Whether ``frame`` waits in a call of a Python function with this code, with nothing in between that has a state.

    ``functools.reduce(f, ...)`` or ``list(map(f, ...))`` also wait while f runs, at a point that nobody sees.
    """
    return _code_of(called(frame)) is callee


def called(frame: types.FrameType) -> Any:
    """What is called at the present instruction of ``frame``; None if that cannot be known."""
    return _called_at(frame, anatomy(frame.f_code).index(frame))


def scope_at(frame: types.FrameType, index: int) -> Any:
    """The function that made what the ``with`` at an index entered, if nothing is hidden in that.

    A scope of ``autograd`` restores the modes of before, and these follow from the scopes around it.
    """
    form = anatomy(frame.f_code)
    entered = index - (form.instructions[index].opname == "LOAD_SPECIAL")  # behind a copy of what is entered
    is_with = form.instructions[index].opname in ("BEFORE_WITH", "LOAD_SPECIAL")
    start = form.start_of(entered) if is_with else None
    names = [] if start is None else [i.opname for i in form.instructions[start:entered]]
    if sum(name.startswith("CALL") for name in names) != 1 or not all(n.startswith(_PLAIN) for n in names):
        return None
    found = _called_at(frame, entered - 1)
    return found if any(found is scope for scope in _SCOPES) else None


def _called_at(frame: types.FrameType, index: int) -> Any:
    form = anatomy(frame.f_code)
    base = call_base(form, index)
    # In 3.11 arguments go off at the instruction before.
    index -= form.instructions[index].opname == "CALL" and "PRECALL" in dis.opmap
    end = next((n for n in range(index - 1, -1, -1) if form.depth(n + 1) == base), None)
    start = None if end is None else form.start_of(end + 1, 2)
    if start is None or end is None:
        return None
    try:
        found = [v for v in evaluate(frame, start, end + 1) if v is not _NULL]
    except Unknown:
        return None
    return found[0] if len(found) == 1 else None


def call_base(form: Anatomy, index: int) -> int | None:
    """The depth of the stack before the arguments of the call at ``index``; None if there is no call."""
    instruction = form.instructions[index]
    if instruction.opname == "CALL_FUNCTION_EX":
        return form.depth(index) - 1 - (int(instruction.arg or 0) & 1)
    if instruction.opname != "CALL":
        return None
    if "PRECALL" in dis.opmap:
        return form.depth(index - 1) - int(instruction.arg or 0)
    return form.depth(index) - int(instruction.arg or 0)


def _code_of(value: Any) -> types.CodeType | None:
    if isinstance(value, types.MethodType):
        value = value.__func__
    if not isinstance(value, types.FunctionType):
        value = _of_class(type(value), "__call__")
    return value.__code__ if isinstance(value, types.FunctionType) else None


# -- the steps -------------------------------------------------------------------------------------------------


def _load_global(stack: list[Any], instruction: dis.Instruction, frame: types.FrameType) -> None:
    if int(instruction.arg or 0) & 1:
        stack.append(_NULL)
    names = frame.f_globals
    stack.append(
        names[instruction.argval] if instruction.argval in names else frame.f_builtins[instruction.argval]
    )


def _load_local(stack: list[Any], instruction: dis.Instruction, frame: types.FrameType) -> None:
    stack.append(frame.f_locals[instruction.argval])


def _load_attribute(stack: list[Any], instruction: dis.Instruction, _: types.FrameType) -> None:
    name = instruction.argval
    value = _stored(stack.pop(), name)
    if instruction.opname == "LOAD_METHOD" or (
        "LOAD_METHOD" not in dis.opmap and int(instruction.arg or 0) & 1
    ):
        stack.append(_NULL)
    stack.append(value)


def _stored(holder: Any, name: str) -> Any:
    """An attribute as it is stored: no property and no ``__getattr__`` runs."""
    if type(holder) is ndarray:
        if name not in ("shape", "ndim", "size"):
            raise Unknown
        return getattr(holder._data, name)
    if type(holder) is dict and name in ("items", "keys", "values"):
        return View(f"dict.{name}", (holder,))
    if isinstance(holder, types.ModuleType):
        return vars(holder)[name]
    if isinstance(holder, type):
        raise Unknown
    of_class = _of_class(type(holder), name)
    if hasattr(type(of_class), "__set__"):
        raise Unknown
    own = own_dict(holder)
    if name in own:
        return own[name]
    if isinstance(of_class, types.FunctionType):
        return types.MethodType(of_class, holder)
    if type(of_class) in (int, float, str, bool, tuple):
        return of_class
    raise Unknown


def _of_class(cls: type, name: str) -> Any:
    return next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), _MISSING)


def _binary(stack: list[Any], instruction: dis.Instruction, _: types.FrameType) -> None:
    right, left = stack.pop(), stack.pop()
    if type(left) is not int or type(right) is not int:
        raise Unknown
    stack.append(_ARITHMETIC[instruction.argrepr.removesuffix("=")](left, right))


def _negative(stack: list[Any], _instruction: dis.Instruction, _: types.FrameType) -> None:
    value = stack.pop()
    if type(value) is not int:
        raise Unknown
    stack.append(-value)


def _item(stack: list[Any], _instruction: dis.Instruction, _: types.FrameType) -> None:
    key, holder = stack.pop(), stack.pop()
    if type(holder) not in _CONTAINERS or type(key) not in (int, str):
        raise Unknown
    stack.append(holder[key])


def _call(stack: list[Any], instruction: dis.Instruction, _: types.FrameType) -> None:
    count = int(instruction.arg or 0)
    arguments = [stack.pop() for _ in range(count)][::-1]
    callee = next(v for v in (stack.pop(), stack.pop()) if v is not _NULL)
    if isinstance(callee, View) and not arguments:
        stack.append(callee)
    elif callee is range and all(type(a) is int for a in arguments):
        stack.append(range(*arguments))
    elif callee is len and type(arguments[0]) is ndarray:
        stack.append(arguments[0]._data.shape[0])
    elif callee is len and type(arguments[0]) in (*_CONTAINERS, str, range):
        stack.append(len(arguments[0]))
    elif any(callee is view for view in (enumerate, zip, reversed)):
        stack.append(View(callee.__name__, tuple(arguments)))
    else:
        raise Unknown


def _nothing(_stack: list[Any], _instruction: dis.Instruction, _: types.FrameType) -> None:
    """An instruction that leaves the stack as it is."""


_STEPS: dict[str, Callable[[list[Any], dis.Instruction, types.FrameType], None]] = {
    "LOAD_CONST": lambda stack, instruction, frame: stack.append(instruction.argval),
    "PUSH_NULL": lambda stack, instruction, frame: stack.append(_NULL),
    "LOAD_FAST": _load_local,
    "LOAD_DEREF": _load_local,
    "LOAD_GLOBAL": _load_global,
    "LOAD_ATTR": _load_attribute,
    "LOAD_METHOD": _load_attribute,
    "BINARY_OP": _binary,
    "BINARY_SUBSCR": _item,
    "UNARY_NEGATIVE": _negative,
    "PRECALL": _nothing,
    "CALL": _call,
}


# -- how many values belong to an instruction ----------------------------------------------------------------------

_TESTS = ("POP_JUMP", "JUMP_IF", "UNARY_NOT", "TO_BOOL")  # they ask for the truth of one value
_COUNTED = {"COMPARE_OP": 2, "FOR_ITER": 0}


def operands_of_decision(frame: types.FrameType, on_induction: bool) -> int | None:
    """How many values on the stack belong to the instruction that decides; None where it may have a state of its own."""
    form = anatomy(frame.f_code)
    index = form.index(frame)
    name = form.instructions[index].opname
    if name.startswith(_TESTS):
        return 1
    base = call_base(form, index)
    if base is not None and called(frame) is bool:
        return form.depth(index) - base + 2
    if on_induction or _compares_and_tests(frame, form, index):
        return _COUNTED.get(name)
    return None


def _compares_and_tests(frame: types.FrameType, form: Anatomy, index: int) -> bool:
    """Whether CPython (3.13) compares here and asks for the truth of what came out in one instruction.

    One operand must be a number or an array: two containers ask for the truth of their elements on the way.
    """
    if not form.instructions[index].argrepr.startswith("bool("):
        return False
    middle = form.start_of(index)
    start = None if middle is None else form.start_of(middle)
    return middle is not None and any(
        first is not None and _is_plain_operand(frame, first, end)
        for first, end in ((start, middle), (middle, index))
    )


def _is_plain_operand(frame: types.FrameType, first: int, end: int) -> bool:
    try:
        return type(evaluate(frame, first, end)[-1]) in (int, float, ndarray)
    except Unknown:
        return False


def operands_of_call(frame: types.FrameType, inner: types.FrameType) -> int | None:
    """The same for a frame that waits for ``inner``."""
    form = anatomy(frame.f_code)
    index = form.index(frame)
    base = call_base(form, index)
    direct = base is not None and (is_ours(frame) or calls_directly(frame, inner.f_code))
    return form.depth(index) - base + 2 if direct and base is not None else None
