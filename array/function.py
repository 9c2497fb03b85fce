"""``autograd.Function``: a computation whose gradient its author gives."""

from __future__ import annotations

from functools import partial
from typing import Any

from blockfuse.array.backward import Parts
from blockfuse.array.functions.creation import zeros
from blockfuse.array.history import TapeNode, link, node_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.tape import is_taping, untaped
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError, ShapeError, UsageError
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operators.movement import stop_gradient


class Function:
    """Subclass it with ``forward(self, *arrays)`` and ``backward(self, *gradients)``, and call an instance once.

    ``backward`` gets one gradient for each result of ``forward``, and gives one for each operand, or None.

    >>> from blockfuse.array import np
    >>> class Doubled(Function):
    ...     def forward(self, x):
    ...         return x * 2
    ...     def backward(self, dy):
    ...         return dy * 2
    >>> Doubled()(np.array([1.0, 2.0]))
    array([2., 4.])
    """

    _used = False
    saved_tensors: tuple[Any, ...] = ()

    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, *arrays)")

    def backward(self, *output_grads: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs a method backward(self, *gradients)")

    def save_for_backward(self, *arrays: Any) -> None:
        """Keep arrays for ``backward``, which finds them in ``saved_tensors``."""
        self.saved_tensors = arrays

    def __call__(self, *inputs: Any) -> Any:
        if self._used:
            raise UsageError(f"an instance of {type(self).__name__} can be called once: make another one")
        self._used = True
        parents = tuple(map(node_of, inputs)) if is_taping() else ()
        with interpreting(untaped(interpreter.current())):
            results = self.forward(*inputs)
        if not any(parents):
            return results
        listed = list(results) if isinstance(results, list | tuple) else [results]
        outputs = [
            stop_gradient(r) for r in listed
        ]  # arrays of their own: forward may have returned an operand
        call = TapeNode(outputs[0], parents, inputs, self._pulled)
        types = tuple((o.shape, o.dtype) for o in outputs)
        for number, output in enumerate(outputs):
            part = partial(_as_part, number)
            link(output, TapeNode(output, (call,), (types,), part))
        return type(results)(outputs) if isinstance(results, list | tuple) else outputs[0]

    def _pulled(self, grads: Parts, types: Any, *inputs: Any) -> tuple[Any, ...]:
        given = [grads.of[n] if n in grads.of else zeros(*type_) for n, type_ in enumerate(types)]
        gradients = self.backward(*given)
        listed = tuple(gradients) if isinstance(gradients, list | tuple) else (gradients,)
        if len(listed) != len(inputs):
            raise GradientError(
                f"{type(self).__name__}.backward() gives {len(listed)} gradients for {len(inputs)} operands of forward(): "
                f"give None for those that have none"
            )
        for number, (gradient, operand) in enumerate(zip(listed, inputs, strict=True)):
            if isinstance(gradient, ndarray) and gradient.shape != operand.shape:
                raise ShapeError(
                    f"{type(self).__name__}.backward() gives shape {gradient.shape} for operand {number} of shape "
                    f"{operand.shape}"
                )
        return listed


def _as_part(number: int, gradient: Any, _: Any, __: Any) -> tuple[Parts]:
    return (Parts({number: gradient}),)
