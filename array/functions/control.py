"""Gluon's control flow as functions: ``foreach``, ``while_loop``, ``cond``, which is Python's, and is compiled as such."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from blockfuse.array.functions.creation import zeros
from blockfuse.array.functions.joining import concatenate, stack
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError


def foreach(body: Callable[[Any, Any], tuple[Any, Any]], data: Any, init_states: Any) -> tuple[Any, Any]:
    """Every ``data[n]`` and the states before it given to ``body(data, states)``, which gives an output and the next states.

    data, init_states: an array each, or lists of arrays, of any dtype; those of ``data`` have one size along their
    first axis.

    Returns the outputs, stacked along a new first axis, and the last states, in their dtypes. Raises ShapeError where
    arrays of ``data`` differ in their first size, or have no elements along it.

    >>> from blockfuse import np, npx
    >>> npx.foreach(lambda x, total: (x + total, x + total), np.array([1, 2, 3]), np.array(0.0))
    (array([1., 3., 6.]), array(6.))
    """
    states, outputs = init_states, []
    for n in range(_rounds(data)):
        output, states = body(_mapped(itemgetter(n), data), states)
        outputs.append(output)
    return _stacked(outputs), states


@size_agnostic
def _rounds(data: Any) -> int:
    sizes = {x.shape[0] if x.ndim else 0 for x in _leaves(data)}
    if len(sizes) != 1 or not min(sizes):
        raise ShapeError(
            f"foreach goes through the first axis of arrays of one size there, of 1 or more; found {sorted(sizes)}"
        )
    return int(sizes.pop())


def while_loop(
    cond: Callable[..., Any], func: Callable[..., Any], loop_vars: Any, max_iterations: int | None = None
) -> tuple[Any, Any]:
    """While ``cond(*loop_vars)``, and at most ``max_iterations`` times: ``output, loop_vars = func(*loop_vars)``.

    output: an array, a list of arrays, or ``[]`` or None for nothing. Without outputs and a limit the loop of a
    compiled call is native.

    Returns the outputs, stacked along a new first axis with zeros behind them up to ``max_iterations`` (``[]`` where
    there are none, or no round was made), and the last variables, all in their dtypes.

    >>> from blockfuse import np, npx
    >>> npx.while_loop(lambda n, x: x < 10, lambda n, x: (x, (n + 1, x * 2)), (np.array(0), np.array(1)), max_iterations=5)
    (array([1., 2., 4., 8., 0.]), [array(4.), array(16.)])
    """
    variables = _each(loop_vars)
    if max_iterations == 0 or not cond(*variables):
        return [], loop_vars
    first, following = func(*variables)
    left = None if max_iterations is None else max_iterations - 1
    if not _leaves(first):
        last = _last(cond, func, _each(following), left)  # in a line of its own: nothing waits on the stack
        return [], _like(loop_vars, last)
    outputs, last = _gathered(cond, func, [first], _each(following), left)
    missing = 0 if max_iterations is None else max_iterations - len(outputs)
    return _mapped(lambda x: _filled_up(x, missing), _stacked(outputs)), _like(loop_vars, last)


def _last(
    cond: Callable[..., Any], func: Callable[..., Any], variables: tuple[Any, ...], left: int | None
) -> tuple[Any, ...]:
    """The variables after all rounds: nothing grows with their number, so that a path that goes round closes."""
    if left is None:
        while cond(*variables):
            variables = _each(func(*variables)[1])
        return variables
    for _ in range(left):
        if not cond(*variables):
            break
        variables = _each(func(*variables)[1])
    return variables


def _gathered(
    cond: Callable[..., Any],
    func: Callable[..., Any],
    outputs: list[Any],
    variables: tuple[Any, ...],
    left: int | None,
) -> tuple[list[Any], tuple[Any, ...]]:
    """What each round gave, and the variables after all of them."""
    while (left is None or len(outputs) <= left) and cond(*variables):
        output, following = func(*variables)
        outputs.append(output)
        variables = _each(following)
    return outputs, variables


def _like(given: Any, variables: tuple[Any, ...]) -> Any:
    """One variable in no list, if it came so."""
    return list(variables) if isinstance(given, list | tuple) else variables[0]


def _filled_up(x: ndarray, missing: int) -> ndarray:
    return concatenate([x, zeros((missing, *x.shape[1:]), x.dtype)]) if missing else x


def cond(pred: Any, then_func: Callable[..., Any], else_func: Callable[..., Any], inputs: Any = ()) -> Any:
    """``then_func(*inputs)`` where ``pred`` is true, ``else_func(*inputs)`` where not.

    pred: an array of one element, or a function of the inputs that gives one.

    Returns what the function gives, of any shape and dtype.

    >>> from blockfuse import np, npx
    >>> x = np.array([1, 2])
    >>> npx.cond(x.sum() > 2, lambda a: a * 10, lambda a: -a, [x])
    array([10., 20.])
    """
    given = _each(inputs)
    return then_func(*given) if (pred(*given) if callable(pred) else pred) else else_func(*given)


# -- arrays in lists -----------------------------------------------------------------------------------------


def _each(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, list | tuple) else (values,)


def _leaves(values: Any) -> list[Any]:
    if values is None:
        return []
    if not isinstance(values, list | tuple):
        return [values]
    return [leaf for value in values for leaf in _leaves(value)]


def _mapped(function: Callable[[Any], Any], values: Any) -> Any:
    """``function`` of every array, in lists as they are."""
    if isinstance(values, list | tuple):
        return [_mapped(function, value) for value in values]
    return function(values)


def _stacked(rounds: list[Any]) -> Any:
    """What every round gave, an array for each array."""
    if not isinstance(rounds[0], list | tuple):
        return stack(rounds)
    if len({len(output) for output in rounds}) > 1:
        raise UsageError("every round must give as many outputs as the first")
    return [_stacked(list(parts)) for parts in zip(*rounds, strict=True)]
