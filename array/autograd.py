"""Gluon's ``autograd``: what is recorded, and gradients of it.

>>> from blockfuse import autograd, np
>>> x = np.array([1.0, 2.0, 3.0])
>>> x.attach_grad()
>>> with autograd.record():
...     y = (x * x).sum()
>>> y.backward()
>>> x.grad
array([2., 4., 6.])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from blockfuse.array import history, modes
from blockfuse.array.backward import gradients, head_gradient
from blockfuse.array.function import Function
from blockfuse.array.history import TapeNode, Variable, node_of, variable_of
from blockfuse.array.modes import training
from blockfuse.array.ndarray import ndarray
from blockfuse.array.tape import Tape, is_taping, untaped
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError, UsageError
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operators import movement

__all__ = [
    "Function",
    "backward",
    "grad",
    "is_recording",
    "is_training",
    "mark_variables",
    "pause",
    "predict_mode",
    "record",
    "set_recording",
    "set_training",
    "stop_gradient",
    "train_mode",
]

REQUIREMENTS = ("write", "add", "null")

# -- scopes --------------------------------------------------------------------------------------------------


@contextmanager
def record(train_mode: bool | None = True) -> Iterator[None]:
    """Note what operators do, so that gradients can be asked for; layers behave as in training. A context manager.

    train_mode: False has them behave as in prediction, None leaves them as they are.

    >>> from blockfuse import autograd, np
    >>> x = np.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = x * x
    >>> y.backward()
    >>> x.grad
    array([2., 4.])
    """
    with _moded(train_mode), interpreting(Tape(untaped(interpreter.current()))):
        yield


@contextmanager
def pause(train_mode: bool | None = False) -> Iterator[None]:
    """Note nothing for gradients, inside of ``record()``; layers behave as in prediction. A context manager.

    train_mode: True has them behave as in training, None leaves them as they are.

    >>> from blockfuse import autograd, np
    >>> x = np.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     with autograd.pause():
    ...         scale = x * 10
    ...     y = x * scale
    >>> y.backward()
    >>> x.grad
    array([10., 20.])
    """
    with _moded(train_mode), interpreting(untaped(interpreter.current())):
        yield


def _moded(train_mode: bool | None) -> AbstractContextManager[None]:
    return training(modes.is_training() if train_mode is None else train_mode)


def train_mode() -> AbstractContextManager[None]:
    """Layers behave as in training: dropout drops, batch norm takes the batch's statistics. A context manager.

    >>> from blockfuse import autograd
    >>> with autograd.train_mode():
    ...     autograd.is_training()
    True
    """
    return training(True)


def predict_mode() -> AbstractContextManager[None]:
    """Layers behave as in prediction (the default), also inside of ``record()``. A context manager.

    >>> from blockfuse import autograd
    >>> with autograd.record():
    ...     with autograd.predict_mode():
    ...         autograd.is_recording(), autograd.is_training()
    (True, False)
    """
    return training(False)


def is_training() -> bool:
    """Whether layers behave as in training.

    >>> from blockfuse import autograd
    >>> with autograd.train_mode():
    ...     autograd.is_training()
    True
    """
    return modes.is_training()


def is_recording() -> bool:
    """Whether operators are noted for gradients.

    >>> from blockfuse import autograd
    >>> autograd.is_recording()
    False
    """
    return is_taping()


# -- variables -----------------------------------------------------------------------------------------------


def attach_grad(self: ndarray, grad_req: str = "write") -> None:
    """Ask for gradients of this array: ``backward`` writes them to ``grad``, adds them there, or leaves it (``null``).

    The array becomes a variable: gradients do not go on to what it was computed from.
    """
    interpreter.current().impure(_ATTACHES)
    mark(self, grad_req, None)


_ATTACHES = "attaches a gradient to an array"


def drop_grad(self: ndarray) -> None:
    """Ask for no gradients of this array any more."""
    interpreter.current().impure("drops the gradient of an array")
    unmark(self)


def unmark(array: ndarray) -> None:
    """Make ``array`` one like any other."""
    history.unlink(array)
    history.ASKED.notify()


def mark(array: ndarray, requirement: str, grad: ndarray | None, held: bool = False) -> None:
    """Make a variable of ``array``. grad: where its gradient goes, None for memory of its own. held: by a parameter."""
    if requirement not in REQUIREMENTS:
        raise UsageError(f"grad_req={requirement!r} is not one of {', '.join(REQUIREMENTS)}")
    if array.dtype.kind != "f":
        raise GradientError(
            f"an array of {array.dtype} has no gradient: make it of floats, for example with astype('float32')"
        )
    if grad is not None and (grad.shape, grad.dtype) != (array.shape, array.dtype):
        raise GradientError(
            f"the gradient of {array.dtype}{array.shape} cannot be written into {grad.dtype}{grad.shape}"
        )
    history.link(array, TapeNode(array, variable=Variable(requirement, grad, held)))
    if not held:
        history.ASKED.notify()


def stop_gradient(x: Any) -> Any:
    """The elements of ``x``, in its shape and dtype; gradients end here.

    >>> from blockfuse import autograd, np
    >>> x = np.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = x * autograd.stop_gradient(x)
    >>> y.backward()
    >>> x.grad
    array([1., 2.])
    """
    return movement.stop_gradient(x)


def mark_variables(
    variables: ndarray | Sequence[ndarray],
    gradients: ndarray | Sequence[ndarray],
    grad_reqs: str | Sequence[str] = "write",
) -> None:
    """``attach_grad`` for several arrays, with the arrays into which their gradients go.

    variables, gradients: an array each, or lists of as many, pairs of one shape and float dtype.
    grad_reqs: ``"write"``, ``"add"`` or ``"null"``, for all or one for each.

    Raises UsageError where the lists differ in length, GradientError where a gradient has no place in its array.

    >>> from blockfuse import autograd, np
    >>> x, grad = np.array([1, 2]), np.zeros(2)
    >>> autograd.mark_variables([x], [grad])
    >>> with autograd.record():
    ...     y = x * x
    >>> y.backward()
    >>> grad
    array([2., 4.])
    """
    arrays, grads = _listed(variables), _listed(gradients)
    reqs = [grad_reqs] * len(arrays) if isinstance(grad_reqs, str) else list(grad_reqs)
    if not len(arrays) == len(grads) == len(reqs):
        raise UsageError(
            f"mark_variables() takes as many gradients and grad_reqs as variables; found {len(arrays)} variables, "
            f"{len(grads)} gradients, {len(reqs)} grad_reqs"
        )
    interpreter.current().impure(_ATTACHES)
    for array, grad, requirement in zip(arrays, grads, reqs, strict=True):
        mark(array, requirement, grad)


def grad_of(self: ndarray) -> ndarray | None:
    """What ``backward`` wrote; zeros before it did, None for an array without ``attach_grad()``."""
    variable = variable_of(self)
    if variable is None or variable.requirement == "null":
        return None
    return variable.room(self)


# -- gradients -----------------------------------------------------------------------------------------------


def backward(
    heads: ndarray | Sequence[ndarray],
    head_grads: ndarray | Sequence[ndarray | None] | None = None,
    retain_graph: bool = False,
    train_mode: bool = True,
) -> None:
    """Compute the gradients of all variables that ``heads`` depend on, and write or add them to ``grad``.

    heads: an array of any shape, or several; what is differentiated is the sum of ``head * head_grad`` over all elements.
    head_grads: the gradient of each head, in its shape; ones by default.
    retain_graph: whether another ``backward`` of the same heads may follow.
    train_mode: whether layers behave as in training while gradients are computed.

    Raises GradientError where nothing recorded leads to a head, or what was recorded is used up; ShapeError where a
    gradient has not its head's shape.

    >>> from blockfuse import autograd, np
    >>> x = np.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     a, b = x * x, x * 3
    >>> autograd.backward([a, b])
    >>> x.grad
    array([5., 7.])
    """
    with training(train_mode):
        found = gradients(_starts(_listed(heads), head_grads), keep=retain_graph)
        with interpreting(untaped(interpreter.current())):
            for node, value in found.items():
                _deliver(node, value)


def grad(
    heads: ndarray | Sequence[ndarray],
    variables: ndarray | Sequence[ndarray],
    head_grads: ndarray | Sequence[ndarray | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    train_mode: bool = True,
) -> list[ndarray]:
    """The gradients of ``heads`` with respect to ``variables``, as new arrays in their shapes and dtypes; their ``grad``
    stays.

    heads, head_grads, train_mode: as of ``backward``.
    create_graph: records the gradients themselves, so that there are gradients of them.
    retain_graph: as in ``backward``; by default what ``create_graph`` says.

    Raises GradientError as ``backward`` does, and where the heads do not depend on a variable.

    >>> from blockfuse import autograd, np
    >>> x = np.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = x**3
    ...     (slope,) = autograd.grad(y, [x], create_graph=True)
    >>> slope.backward()
    >>> slope, x.grad
    (array([ 3., 12.]), array([ 6., 12.]))
    """
    keep = create_graph if retain_graph is None else retain_graph
    nodes = [_wanted(n, array) for n, array in enumerate(_listed(variables))]
    with training(train_mode):
        starts = _starts(_listed(heads), head_grads)
        found = gradients(starts, nodes, keep, create_graph)
    missing = [n for n, node in enumerate(nodes) if node not in found]
    if missing:
        raise GradientError(
            f"the heads do not depend on variables {missing}: nothing recorded leads from there"
        )
    base = untaped(interpreter.current())
    with interpreting(Tape(base) if create_graph else base):
        return [
            found[node].copy() for node in nodes
        ]  # pullbacks hand on what they are given, and views of it


def _wanted(number: int, array: ndarray) -> TapeNode:
    node = node_of(array)
    if node is None:
        raise GradientError(f"variable {number} has no gradient: call attach_grad() on it before record()")
    return node


def _starts(heads: list[ndarray], head_grads: Any) -> list[tuple[TapeNode, ndarray, ndarray]]:
    grads = [None] * len(heads) if head_grads is None else _listed(head_grads)
    if len(grads) != len(heads):
        raise UsageError(f"{len(heads)} heads need as many head_grads; found {len(grads)}")
    with interpreting(untaped(interpreter.current())):
        return [(_head(h), h, head_gradient(h, g)) for h, g in zip(heads, grads, strict=True)]


def _head(head: ndarray) -> TapeNode:
    node = node_of(head)
    if node is None:
        why = (
            "is of integers or bools"
            if head.dtype.kind != "f"
            else (
                "was not computed inside of autograd.record() from arrays with attach_grad() or parameters (values that "
                "went through asnumpy(), item() or detach() are followed no further)"
            )
        )
        raise GradientError(f"the array {why}, so it has no gradient")
    return node


def _deliver(node: TapeNode, value: ndarray) -> None:
    """Write or add a gradient to where it belongs."""
    variable = node.variable
    assert variable is not None
    if variable.requirement == "null":
        return
    grad = variable.room(value)
    if variable.requirement == "add":
        grad += value
    else:
        grad[...] = value
    variable.set_fresh(True)


def _listed(arrays: Any) -> list[Any]:
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


# -- switches of Gluon ---------------------------------------------------------------------------------------


def set_recording(is_record: bool) -> bool:
    """Note what operators do from now on, or stop it, without a scope. Gives what was so before.

    is_record: whether to note it.

    >>> from blockfuse import autograd
    >>> before = autograd.set_recording(True)
    >>> autograd.is_recording()
    True
    >>> _ = autograd.set_recording(before)
    """
    before, base = is_recording(), untaped(interpreter.current())
    modes.stay_unusual("recording", is_record)
    interpreter.go_on_with(Tape(base) if is_record else base)
    return before


def set_training(train_mode: bool) -> bool:
    """Let layers behave as in training from now on, or as in prediction, without a scope. Gives what was so before.

    train_mode: whether as in training.

    >>> from blockfuse import autograd
    >>> before = autograd.set_training(True)
    >>> autograd.is_training()
    True
    >>> _ = autograd.set_training(before)
    """
    return modes.set_training(train_mode)
