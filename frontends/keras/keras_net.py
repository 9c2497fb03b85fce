"""A Keras model whose calls are compiled: tensors or NumPy's arrays in and out, and Keras itself where it must run."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import keras
import numpy
from keras.src.backend.common import global_state

from blockfuse.frontends.foreign_result import ForeignResult
from blockfuse.frontends.keras.backends import (
    BACKEND,
    BACKENDS,
    KIND,
    as_numpy,
    as_tensor,
    builds_a_graph,
    is_tensor,
    may_have_gradients,
    requires_gradients,
)
from blockfuse.frontends.keras.followed_tensor import FOLLOWED
from blockfuse.frontends.keras.following import Following
from blockfuse.frontends.keras.keras_block import KerasBlock
from blockfuse.frontends.nested import flat, replaced
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.explanation import Explanation

WEIGHTS = ("live", "frozen")
_BATCH = 32  # of ``keras.Model.predict``
_OF_PREDICT = (
    "predict",
    "predict_step",
    "make_predict_function",
    "__call__",
)  # which a user's class may change
_NUMBERS = (bool, int, float, str, type(None))


def compiled(model: keras.Layer, options: dict[str, Any]) -> KerasNet:
    """The model with compiled calls; an example (an array or a tuple of arguments) is called at once."""
    example, weights = options.pop("example", None), options.pop("weights", "live")
    net = KerasNet(model, options, weights)
    if example is not None:
        net(*_arguments(example))
    return net


def lacking(model: keras.Layer, example: Any = None) -> tuple[str, ...]:
    """The operations and layers without a rule that a call meets, all at once."""
    given = _example_of(model) if example is None else _arguments(example)
    found: dict[str, None] = {}
    following = Following(found)
    arrays = replaced(given, object, lambda x: following.made(keras.ops.convert_to_tensor, (x,), {}))
    token = FOLLOWED.set(following)
    try:
        model(*arrays)
    finally:
        FOLLOWED.reset(token)
    return tuple(found)


def _example_of(model: Any) -> tuple[Any, ...]:
    """Zeros, where the model tells what it takes."""
    try:
        inputs = flat(model.inputs)
    except (AttributeError, ValueError):
        inputs = []
    if not inputs:
        raise UsageError("missing() runs a Keras model that does not tell its inputs: give an example")
    zeros = [numpy.zeros([n or 1 for n in x.shape], x.dtype) for x in inputs]
    return (zeros[0],) if len(zeros) == 1 else (zeros,)


def _arguments(example: Any) -> tuple[Any, ...]:
    return example if isinstance(example, tuple) else (example,)


# What Keras's scopes set for a thread -> why Keras must run whatever is called in one.
_SCOPES = {
    "stateless_scope": "a stateless scope gives the values of variables",
    "symbolic_scope": "Keras infers shapes",
    "autocast_scope": "autocast is on",
}
_of_thread = global_state.GLOBAL_STATE_TRACKER


def unusual() -> str:
    """Why Keras must run whatever is called now, or an empty text."""
    state = _of_thread.__dict__
    if any(map(state.get, _SCOPES)):
        return next(why for scope, why in _SCOPES.items() if state.get(scope))
    return "TensorFlow builds a graph" if builds_a_graph() else ""


class KerasNet:
    """A model, called as the model is: ``net(x)``; ``net.predict(x)`` as ``Model.predict``.

    Tensors of the backend give tensors, NumPy's arrays give NumPy's. ``weights="live"`` sees whatever changes variables at
    the next call; ``"frozen"`` computes with a copy of the model, at whose variables nobody looks, until ``refresh()``.
    Calls with ``training=True``, symbolic tensors, and inside of scopes of Keras that change what variables or dtypes are,
    run in Keras.
    """

    def __init__(self, model: keras.Layer, options: Mapping[str, Any], weights: str = "live") -> None:
        if weights not in WEIGHTS:
            raise UsageError(f"weights={weights!r}; there are {', '.join(map(repr, WEIGHTS))}")
        if BACKEND not in BACKENDS:
            raise UsageError(
                f"the backends of Keras that are known are {', '.join(BACKENDS)}; found {BACKEND}"
            )
        self.model, self.weights, self._options = model, weights, dict(options)
        self._in_keras: Counter[str] = Counter()  # why calls ran in Keras -> how often
        self._predicting = {"training": False} if model._call_has_training_arg else {}
        self._compile()

    def _compile(self) -> None:
        self._run = self.model if self.weights == "live" else _copied(self.model)
        self._block = KerasBlock(self._run)
        self._block.hybridize(**self._options)
        self._settings = _settings()

    def refresh(self) -> None:
        """Compute with the weights that the model has now, where they are frozen."""
        if self.weights == "frozen":
            self._compile()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives for these arguments."""
        if not kwargs and len(args) == 1 and type(args[0]) is numpy.ndarray and self._is_usual():
            return self._computed(args, kwargs)
        problem = self._problem(args, kwargs)
        if problem:
            self._in_keras[problem] += 1
            return self._run(*args, **kwargs)
        tensors = any(type(part) is KIND and KIND is not numpy.ndarray for part in flat((args, kwargs)))
        given_args, given_kwargs = replaced((args, kwargs), object, _data)
        found = self._computed(given_args, given_kwargs)
        return replaced(found, numpy.ndarray, as_tensor) if tensors else found

    def _is_usual(self) -> bool:
        return _settings() == self._settings and not unusual()

    def _problem(self, args: Any, kwargs: Any) -> str:
        if kwargs.get("training"):
            return "training=True"
        if _settings() != self._settings:
            return "the floatx, epsilon or image data format of Keras is another than when the model was compiled"
        strange = next((part for part in flat((args, kwargs)) if not _is_given(part)), None)
        if strange is not None:
            return f"an argument is a {type(strange).__name__}"
        return unusual() or self._wants_gradients(args, kwargs)

    def _wants_gradients(self, args: Any, kwargs: Any) -> str:
        """Where the backend follows tensors, gradients would be lost."""
        if not may_have_gradients():
            return ""
        tensors: list[Any] = [part for part in flat((args, kwargs)) if type(part) is KIND]
        wanted = any(map(requires_gradients, tensors)) or (tensors and self.model.trainable_variables)
        where = "under torch.no_grad()" if BACKEND == "torch" else "outside of the tape"
        return f"gradients are recorded: call it {where}" if wanted else ""

    def _computed(self, args: Any, kwargs: Any) -> Any:
        if self.weights == "live":
            self._renew()
        try:
            return self._block(*args, **kwargs)
        except ForeignResult as foreign:
            return foreign.result
        finally:
            if self._block.unknown:
                self._block.learn_variables()

    def _renew(self) -> None:
        """See what variables have now: NOTE [weights as they are now]."""
        for mirror in list(self._block.mirrors.values()):
            if not mirror.is_new():
                mirror.renew()

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = 0, **options: Any) -> Any:
        """NumPy's arrays of what the model gives for ``x``, in batches as ``Model.predict`` makes them.

        x: an array, or a list or a dict of arrays; everything else, and other options, go to ``Model.predict``.
        """
        size = batch_size or _BATCH
        if options or not self._predicts_by_calls:
            return self._run.predict(x, batch_size=batch_size, verbose=verbose, **options)
        if self._is_one_batch(x, size) and self._is_usual():
            return _in_numpy(self._computed((x,), self._predicting))
        count = _rows(flat(x))
        if not count:
            return self._run.predict(x, batch_size=batch_size, verbose=verbose)
        x = replaced(x, numpy.ndarray, _in_floatx)
        if count <= size:
            return self._predicted(x)
        cuts = [slice(begin, begin + size) for begin in range(0, count, size)]
        found = [self._predicted(replaced(x, numpy.ndarray, itemgetter(cut))) for cut in cuts]
        columns = zip(*map(flat, found), strict=True)
        whole = iter([numpy.concatenate(column) for column in columns])
        return replaced(found[0], numpy.ndarray, lambda _: next(whole))

    @property
    def _predicts_by_calls(self) -> bool:
        """Whether ``predict`` is Keras's own and gives what calls of batches give."""
        return not any(
            name in vars(self._run) or getattr(type(self._run), name, None) is not getattr(keras.Model, name)
            for name in _OF_PREDICT
        )

    def _is_one_batch(self, x: Any, size: int) -> bool:
        """Whether an argument of ``predict`` is what the model is called with."""
        if type(x) is not numpy.ndarray or not x.ndim:
            return False
        return 0 < len(x) <= size and bool(x.dtype == self._settings[0])

    def _predicted(self, x: Any) -> Any:
        return _in_numpy(self(x, **self._predicting))

    def explain(self) -> str:
        """What was compiled, what runs in Keras, and why."""
        text = self._block.explain().replace(type(self._block).__name__, self.model.name)
        ran = [f"{count} calls ran in Keras: {why}" for why, count in self._in_keras.items()]
        return Explanation("\n".join([text, *ran]))

    def __repr__(self) -> str:
        return f"<compiled {self.model!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return KerasNet, (self.model, self._options, self.weights)


def _copied(model: keras.Layer) -> keras.Layer:
    """A model with the same weights, which nobody else changes; copies are Keras's own."""
    if not model.built:
        raise UsageError("weights='frozen' copies a model that has its weights: call it once, or build it")
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # of Keras, or of a class of the user's
        raise UsageError(f"weights='frozen' copies the model, and Keras cannot ({error})") from error
    pairs = zip(model.get_weights(), copied.get_weights(), strict=False)
    if len(model.weights) != len(copied.weights) or not all(map(_are_equal, pairs)):
        raise UsageError("weights='frozen' copies the model, and Keras's copy has other weights")
    return copied


def _are_equal(pair: tuple[numpy.ndarray, numpy.ndarray]) -> bool:
    one, other = pair
    return one.tobytes() == other.tobytes()


def _rows(parts: list[Any]) -> int:
    """How many rows all parts have; 0 where they are not NumPy's arrays, or do not have the same number."""
    if not parts or not all(type(part) is numpy.ndarray and part.ndim for part in parts):
        return 0
    counts = {len(part) for part in parts}
    return counts.pop() if len(counts) == 1 else 0


def _in_numpy(found: Any) -> Any:
    if type(found) is numpy.ndarray:
        return found
    return replaced(found, object, lambda y: as_numpy(y) if is_tensor(y) else y)


def _settings() -> tuple[Any, ...]:
    return keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()


def _is_given(value: Any) -> bool:
    """Whether an argument is an array in memory, or a number."""
    return type(value) in (numpy.ndarray, KIND, *_NUMBERS)


def _data(value: Any) -> Any:
    return as_numpy(value) if type(value) is KIND and KIND is not numpy.ndarray else value


def _in_floatx(x: numpy.ndarray) -> numpy.ndarray:
    return x.astype(keras.config.floatx()) if x.dtype.kind == "f" else x
