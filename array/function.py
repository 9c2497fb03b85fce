"""``autograd.Function``: a computation whose gradient its author gives."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy

from blockfuse.array.backward import Parts, output_node
from blockfuse.array.functions.creation import asarray, zeros
from blockfuse.array.history import TapeNode, link, node_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.tape import is_taping, twin, untaped
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError, ShapeError, UsageError
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operators.movement import stop_gradient


class Function:
    """A computation whose gradient you give: define ``forward(self, *arrays)`` and ``backward(self, *gradients)``, call it
    once.

    ``forward`` gives an array or several. ``backward`` gets a gradient for each of them, in its shape, and gives one for
    each operand, in its shape, or None. What ``forward`` keeps by ``save_for_backward`` is in ``saved_tensors`` then.

    A call raises UsageError for an instance that was called before. Going back through it raises GradientError where there
    is not a gradient, or None, for each operand, and ShapeError where one has another shape.

    >>> from blockfuse import autograd, np
    >>> class Clipped(autograd.Function):
    ...     def forward(self, x):
    ...         return np.minimum(x, 1)
    ...     def backward(self, dy):  # as if it had not clipped
    ...         return dy
    >>> x = np.array([0.5, 2.0])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = Clipped()(x)
    >>> y.backward()
    >>> y, x.grad
    (array([0.5, 1. ]), array([1., 1.]))
    """

    _used = False
    saved_tensors: tuple[Any, ...] = ()

    def forward(self, *inputs: Any) -> Any:
        """Compute; to be defined. ``inputs`` are what the instance is called with; nothing in it is noted for gradients."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, *arrays)")

    def backward(self, *output_grads: Any) -> Any:
        """The gradient of each operand, or None; to be defined. ``output_grads`` has one for each result of ``forward``."""
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
            # Arrays of their own: forward may have returned an operand.
            outputs = [stop_gradient(asarray(r)) for r in listed]
        saved = self._saved()
        call = TapeNode(
            outputs[0]._data, (*parents, *(None for _ in saved)), (*inputs, *saved.values()), self._pulled
        )
        types = tuple(_Type(o._data.shape, o._data.dtype) for o in outputs)
        self._call = _Call(weakref.ref(call), len(inputs), types, tuple(saved), _results_in(saved, listed))
        for number, output in enumerate(outputs):
            if output.dtype.kind == "f":
                link(output, output_node(call, types[number], number, types))
        return type(results)(outputs) if isinstance(results, list | tuple) else outputs[0]

    def _saved(self) -> dict[Any, ndarray]:
        """The arrays that ``backward`` may ask for: name or number -> array."""
        named = {name: value for name, value in vars(self).items() if type(value) is ndarray}
        listed = {n: value for n, value in enumerate(self.saved_tensors) if type(value) is ndarray}
        return {**named, **listed}

    def _restore(self, values: tuple[Any, ...]) -> None:
        """Have ``backward`` find saved arrays as they were; results among them have the gradient given here."""
        listed, call = list(self.saved_tensors), self._call.node()
        for key, value in zip(self._call.saved, values, strict=True):
            number = self._call.results.get(key)
            if number is not None and is_taping() and call is not None:
                types = self._call.types
                value = twin(value, output_node(call, types[number], number, types))
            if isinstance(key, int):
                listed[key] = value
            else:
                setattr(self, key, value)
        self.saved_tensors = tuple(listed)

    def _pulled(self, grads: Parts, types: Any, *operands: Any) -> tuple[Any, ...]:
        inputs, saved = operands[: self._call.inputs], operands[self._call.inputs :]
        self._restore(saved)
        given = [grads.of[n] if n in grads.of else zeros(*t) for n, t in enumerate(types)]
        gradients = self.backward(*given)
        listed = list(gradients) if isinstance(gradients, list | tuple) else [gradients]
        if len(listed) != len(inputs):
            raise GradientError(
                f"{type(self).__name__}.backward() gives {len(listed)} gradients for {len(inputs)} operands of forward(): "
                f"give None for those that have none"
            )
        for number, (gradient, operand) in enumerate(zip(listed, inputs, strict=True)):
            if gradient is not None and type(operand) is ndarray:
                listed[number] = gradient = asarray(gradient)
                if gradient.shape != operand.shape:
                    raise ShapeError(
                        f"{type(self).__name__}.backward() gives shape {gradient.shape} for operand {number} of shape "
                        f"{operand.shape}"
                    )
        return (*listed, *(None for _ in saved))


def is_of_function(node: TapeNode) -> bool:
    """Whether the gradients of a node are computed by the ``backward`` of a ``Function``."""
    return isinstance(getattr(node.pullback, "__self__", None), Function)


class _Type(NamedTuple):
    shape: tuple[int, ...]
    dtype: numpy.dtype


class _Call(NamedTuple):
    """What is kept of the call of a function. saved: names of what ``backward`` may ask for, in order.

    inputs: how many. types: of the results. results: name -> number of the result that was saved under it.
    """

    node: weakref.ref[TapeNode]
    inputs: int
    types: tuple[_Type, ...]
    saved: tuple[Any, ...]
    results: dict[Any, int]


def _results_in(saved: dict[Any, ndarray], results: list[Any]) -> dict[Any, int]:
    numbers = {id(result): number for number, result in enumerate(results)}
    return {key: numbers[id(value)] for key, value in saved.items() if id(value) in numbers}
