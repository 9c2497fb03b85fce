"""A model's own code, run by Python on tensors that stand for our arrays: each operation by its rule.

NOTE [operations and rules]
While a call is recorded, Keras's layers and the user's ``call`` methods run as they are. Their tensors are
``FollowedTensor``, so each ``Operation`` comes here (NOTE [who is brought to us]), where its rule computes it on our arrays;
these are recorded. What has no rule is computed by Keras on the values: the recording is given up, and ``explain()`` names
the operation and the user's line. So it is wherever values leave: for NumPy, the backend or Python.

What a layer does around its ``call`` (``Layer.__call__``) is done here in short: arguments get the layer's dtype,
``training`` comes from the layer around, masks go along. A layer that wants more (it is not built, mixed precision,
quantization, losses of activity) is called by Keras on the values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy
from keras.src.backend.common import KerasVariable

from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.array.stamps import owner_of
from blockfuse.frontends.keras import variables
from blockfuse.frontends.keras.backends import (
    as_numpy,
    as_tensor,
    is_tensor,
    promotes_as_numpy,
    writes_in_place,
)
from blockfuse.frontends.keras.followed_tensor import FOLLOWED, FollowedTensor
from blockfuse.frontends.keras.making import MAKERS
from blockfuse.frontends.keras.rules.table import CONTROL_RULES, LAYER_RULES, RULES, NoRule
from blockfuse.frontends.nested import flat, replaced
from blockfuse.ir import interpreter
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.ir.types import DTYPES


class Following:
    """Follows one call. missing: what has no rule is put there, where somebody collects it."""

    def __init__(self, missing: dict[str, None] | None = None) -> None:
        self.missing = missing
        self.mirrors: dict[int, variables.Mirror] = {}  # id of a variable that was read -> its mirror
        self.unknown: list[Any] = []  # variables that the search for state did not come to
        self.failed = False  # whether the call has raised
        self.infers = False  # whether Keras looks at tensors for what it then throws away
        self._made: dict[int, numpy.ndarray] = {}  # id of memory that rules made -> itself
        self._training: Any = None  # what the layer around was called with
        self._layers: list[str] = []  # names of the layers that run, from the outermost in

    # -- operations ------------------------------------------------------------------------------------------

    def operation(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operation gives, by its rule."""
        control = CONTROL_RULES.get(type(operation))
        if control is not None:
            return control(operation, *args, **kwargs)
        return self._computed(operation, args, kwargs)

    @size_agnostic
    def _computed(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rule = RULES.get(type(operation))
        if rule is None:
            return self._in_keras(operation, args, kwargs, "has no rule")
        try:
            operands = replaced((args, kwargs), object, self._operand)
            with numpy.errstate(all="ignore"):
                found = rule(operation, *operands[0], **operands[1])
        except Exception as reason:  # a form of call that no rule covers
            if came_from_handler(reason):
                raise
            said = str(reason) if isinstance(reason, NoRule) else f"{type(reason).__name__}: {reason}"
            return self._in_keras(operation, args, kwargs, f"has no rule for this ({said})")
        return self._learned(operands, self._as_keras_says(operation, args, kwargs, found))

    def _learned(self, operands: Any, result: Any) -> Any:
        """The result of a rule, whose memory is known now, if it is no part of what the rule was given."""
        given = {id(owner_of(a._data)) for a in flat(operands) if isinstance(a, ndarray)}
        made = [owner_of(t.array._data) for t in flat(result) if isinstance(t, FollowedTensor)]
        self._made |= {id(owner): owner for owner in made if id(owner) not in given}
        return result

    def _as_keras_says(self, operation: Any, args: Any, kwargs: Any, found: Any) -> Any:
        """Tensors for arrays, in the dtypes that Keras infers."""
        if type(operation).compute_output_spec is keras.Operation.compute_output_spec:
            return replaced(found, ndarray, self.tensor)
        with self._inferring():
            specs = flat(operation.compute_output_spec(*args, **kwargs))
        arrays = flat(found)
        cast = iter(
            [a if a.dtype.name == s.dtype else a.astype(s.dtype) for a, s in zip(arrays, specs, strict=True)]
        )
        return replaced(found, ndarray, lambda _: self.tensor(next(cast)))

    @contextmanager
    def _inferring(self) -> Iterator[None]:
        before, self.infers = self.infers, True
        try:
            yield
        finally:
            self.infers = before

    def _operand(self, value: Any) -> Any:
        if isinstance(value, FollowedTensor):
            return value.array
        if isinstance(value, KerasVariable):
            return self.variable(value).array
        return self._array(value) if is_tensor(value) and type(value) is not numpy.ndarray else value

    def _array(self, tensor: Any) -> ndarray:
        """Of a tensor of the backend, which may hold anything in the next call unless it was there before."""
        known = variables.known(tensor)
        if known is not None and _is_certified(tensor):
            return known
        self.stop("a tensor that nobody saw made")
        return ndarray(numpy.array(as_numpy(tensor)))

    def _in_keras(self, operation: Any, args: Any, kwargs: Any, why: str) -> Any:
        name = f"keras.ops.{type(operation).__name__}"
        self._lack(name, why)
        return self.outside(name, operation, args, kwargs, "Keras", why)

    def _lack(self, name: str, why: str) -> None:
        if self.missing is not None:
            place = f" in {'/'.join(self._layers)}" if self._layers else ""
            self.missing[f"{name} {why}{place}"] = None

    def made(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor that a function makes of Python's values."""
        parts = flat((args, kwargs))
        if any(isinstance(x, FollowedTensor | KerasVariable) for x in parts):
            return function(*args, **kwargs)  # which brings an operation here
        if any(is_tensor(x) and type(x) is not numpy.ndarray for x in parts):
            (tensor, *_), dtype = args, kwargs.get("dtype", args[1] if len(args) > 1 else None)
            array = self._array(tensor)
            return self.tensor(
                array if dtype is None else array.astype(keras.backend.standardize_dtype(dtype))
            )
        try:
            return self.tensor(ndarray(MAKERS[function.__name__](*args, **kwargs)).copy())
        except Exception as reason:  # a form of call that is not known here
            if came_from_handler(reason):
                raise
            return self.outside(
                f"keras.ops.{function.__name__}", function, args, kwargs, "Keras", f"gives {reason}"
            )

    # -- variables -------------------------------------------------------------------------------------------

    def variable(self, variable: Any) -> FollowedTensor:
        """What stands for the value of a variable."""
        mirror = variables.mirror_of(variable)
        if not _is_certified(variable):
            self.stop(f"the variable {variable.path} was not known to the model")
            self.unknown.append(variable)
            mirror.renew()
        self.mirrors[id(variable)] = mirror
        return self.tensor(mirror.array)

    def assigned(self, variable: Any, assign: Callable[..., Any], value: Any) -> Any:
        """A call that assigns to a variable is Keras's."""
        self.stop(f"assigns to the variable {variable.path}")
        with _left_alone():
            return assign(variable, self.plain(value))

    # -- layers ----------------------------------------------------------------------------------------------

    def layer(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a layer gives for these arguments."""
        self._layers.append(layer.name)
        before = self._training
        try:
            if not _is_certified(layer):
                self.stop(f"the layer {layer.name} is in no attribute that can be seen")
            why = _wants_keras(layer)
            if why:
                self._lack(f"layer {layer.name} ({type(layer).__name__})", why)
                return self.outside(f"layer {layer.name}", layer, args, kwargs, "Keras", why)
            return self._called(layer, args, dict(kwargs))
        finally:
            self._layers.pop()
            self._training = before

    def _called(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if layer._convert_input_args:
            args, kwargs = replaced((args, kwargs), object, lambda value: self._converted(layer, value))
        given = signature_of(type(layer)).bind_partial(layer, *args, **kwargs).arguments
        tensors = {name: value for name, value in given.items() if name != "self" and _has_tensors(value)}
        first = next((value for name, value in given.items() if name != "self"), None)
        with self._inferring():
            layer._assert_input_compatibility(first)
        self._take_training(layer, given, kwargs)
        self._take_masks(layer, tensors, given, kwargs)
        mask = kwargs.get("mask")
        before = mask if mask is not None else replaced(first, FollowedTensor, _mask_of)
        rule = LAYER_RULES.get(type(layer).call)
        try:
            outputs = layer.call(*args, **kwargs) if rule is None else rule(self, layer, *args, **kwargs)
        except NoRule as reason:
            why = f"has no rule for this ({reason})"
            self._lack(f"layer {layer.name} ({type(layer).__name__})", why)
            return self.outside(f"layer {layer.name}", layer, args, kwargs, "Keras", why)
        masks = (
            any(m is not None for m in flat(before))
            or type(layer).compute_mask is not keras.Layer.compute_mask
        )
        if masks and layer.supports_masking:
            layer._set_mask_metadata(first, outputs, before)
        return outputs

    def _converted(self, layer: Any, value: Any) -> Any:
        """An argument in the dtype of the layer."""
        if type(value) is numpy.ndarray or (is_tensor(value) and not isinstance(value, FollowedTensor)):
            value = self.tensor(
                self._array(value) if type(value) is not numpy.ndarray else ndarray(value).copy()
            )
        if not isinstance(value, FollowedTensor):
            return value
        wanted = layer.input_dtype
        if not layer.autocast or value.array.dtype.kind != "f" or value.dtype == wanted:
            return value
        mask, value = _mask_of(value), self.tensor(value.array.astype(wanted))
        if mask is not None:
            value._keras_mask = mask
        return value

    def _take_training(self, layer: Any, given: dict[str, Any], kwargs: dict[str, Any]) -> None:
        known = signature_of(type(layer)).parameters.get("training")
        value = given.get("training")
        if value is None:
            value = self._training
        if value is None and known is not None and known.default is not inspect.Parameter.empty:
            value = known.default
        self._training = value
        if known is not None and value is not None and "training" not in given:
            kwargs["training"] = value

    def _take_masks(
        self, layer: Any, tensors: dict[str, Any], given: dict[str, Any], kwargs: dict[str, Any]
    ) -> None:
        names = signature_of(type(layer)).parameters
        if len(tensors) == 1:
            if "mask" in names and given.get("mask") is None:
                kwargs["mask"] = replaced(next(iter(tensors.values())), FollowedTensor, _mask_of)
            return
        for name, value in tensors.items():
            if f"{name}_mask" in names and given.get(f"{name}_mask") is None:
                kwargs[f"{name}_mask"] = replaced(value, FollowedTensor, _mask_of)

    def by_backend(self, tensor: FollowedTensor, name: str, other: Any) -> Any:
        """What an operator of NumPy's arrays gives, whose promotions are not Keras's; else NotImplemented."""
        if not promotes_as_numpy() or not isinstance(other, FollowedTensor | int | float | numpy.generic):
            return NotImplemented
        with numpy.errstate(all="ignore"):
            found = getattr(tensor.array, name)(self._operand(other))
        return self._learned((tensor.array, other), self.tensor(found))

    def written(self, tensor: FollowedTensor, name: str, other: Any) -> Any:
        """What ``x += 1`` gives: NumPy's and torch's tensors are written to, others are new ones.

        Only what rules made is: Keras computes a recorded call once more, from the same arguments and variables.
        """
        if not writes_in_place() or id(owner_of(tensor.array._data)) not in self._made:
            return NotImplemented
        tensor.array = getattr(tensor.array, name)(self._operand(other))
        return tensor

    # -- what leaves -----------------------------------------------------------------------------------------

    def stop(self, what: str) -> None:
        """Give the recording up."""
        place = f" (layer {'/'.join(self._layers)})" if self._layers else ""
        interpreter.current().impure(f"uses values in Keras: {what}{place}")

    def left(self, tensor: FollowedTensor, where: str) -> Any:
        """The values of a tensor, for another library."""
        self.stop(f"values go to {where}")
        if where == "jax":
            import jax.numpy

            return jax.numpy.asarray(tensor.array._data.copy())
        return tensor.array._data.copy()

    def outside(
        self, name: str, function: Callable[..., Any], args: Any, kwargs: Any, where: str, why: str = ""
    ) -> Any:
        """What a function of another library, or of Keras, gives for the values."""
        self.stop(f"{name} {why}" if why else f"{name} is {where}'s")
        make = (lambda t: t.array._data.copy()) if where == "numpy" else self.plain
        given_args, given_kwargs = replaced((args, kwargs), FollowedTensor, make)
        with _left_alone():
            result = function(*given_args, **given_kwargs)
        return replaced(result, object, lambda x: self._followed(x) if is_tensor(x) else x)

    def _followed(self, tensor: Any) -> Any:
        try:
            return self.tensor(ndarray(numpy.array(as_numpy(tensor))))
        except Exception as error:  # of a kind that our arrays do not have
            if came_from_handler(error):
                raise
            return tensor

    def plain(self, value: Any) -> Any:
        """``value`` with the backend's tensors in the place of ours."""
        with _left_alone():
            return replaced(value, FollowedTensor, lambda t: as_tensor(t.array._data))

    def tensor(self, array: ndarray) -> FollowedTensor:
        """What stands for an array."""
        return FollowedTensor(self, array)

    def result(self, value: Any) -> Any:
        """The array of what the call gives."""
        if isinstance(value, FollowedTensor):
            return value.array
        if isinstance(value, KerasVariable):
            return self.variable(value).array
        return self._array(value) if is_tensor(value) else value


@contextmanager
def _left_alone() -> Iterator[None]:
    """Keras runs as it does."""
    token = FOLLOWED.set(None)
    try:
        yield
    finally:
        FOLLOWED.reset(token)


def _is_certified(value: Any) -> bool:
    """Whether the recording rests on a value: it was found by the search for state (``tracer/state``)."""
    memory = getattr(interpreter.current(), "memory", None)
    return memory is not None and id(value) in memory.known


_signatures: dict[Any, inspect.Signature] = {}  # class of layers -> how its ``call`` is called


def signature_of(kind: Any) -> inspect.Signature:
    """How ``call`` of a class of layers is called."""
    found = _signatures.get(kind)
    if found is None:
        found = _signatures[kind] = inspect.signature(kind.call)
    return found


def _has_tensors(value: Any) -> bool:
    return any(isinstance(x, FollowedTensor) for x in flat(value))


def _mask_of(tensor: Any) -> Any:
    return getattr(tensor, "_keras_mask", None)


def _wants_keras(layer: Any) -> str:
    """Why Keras must call a layer, or an empty text."""
    if not layer.built:
        return "is not built yet"
    if layer.quantization_mode is not None:
        return "is quantized"
    if layer.compute_dtype != layer.variable_dtype or layer.compute_dtype not in DTYPES:
        return f"computes in {layer.compute_dtype} with weights in {layer.variable_dtype}"
    if isinstance(layer, keras.Sequential) and layer._functional is None:
        return "has no graph yet"
    if layer.activity_regularizer is not None:
        return "adds losses of its activity"
    return ""
