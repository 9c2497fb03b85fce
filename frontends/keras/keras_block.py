"""A Keras model as a block: what is recorded, checked and compiled of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy

from blockfuse.array import foreign
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.foreign_result import ForeignResult
from blockfuse.frontends.keras import dispatching, rules
from blockfuse.frontends.keras.agreement import disagreement
from blockfuse.frontends.keras.backends import as_numpy, as_tensor, is_tensor, libraries
from blockfuse.frontends.keras.followed_tensor import FOLLOWED
from blockfuse.frontends.keras.following import Following, signature_of
from blockfuse.frontends.keras.knowledge import LIBRARY, TREES
from blockfuse.frontends.keras.variables import Mirror
from blockfuse.frontends.nested import flat, replaced
from blockfuse.ir import interpreter
from blockfuse.nn.block import Block

assert rules.__all__, "importing the package fills the tables"
dispatching.install()
for _library in (*libraries(), TREES, LIBRARY):
    foreign.register(_library)


class KerasBlock(Block):
    """Runs a model: while a call is recorded on tensors that are followed, otherwise by Keras alone.

    So what stays in Python is what Keras gives, and checks and audits hold programs against Keras itself.
    variables: those of the model, from which the search for state begins. mirrors: of the variables that programs read.
    """

    _is_followed_by_rules = True
    __untracked__ = Block.__untracked__ | {"mirrors", "unknown"}

    def __init__(self, model: keras.Layer) -> None:
        super().__init__()
        self.model = model
        self.variables = tuple(model.variables)
        self.unknown: list[Any] = []  # variables of it that a call met, and that are not among these
        for layer in model._flatten_layers():
            signature_of(type(layer))  # asked now, as the answer would be a fact of the first recording
        self.mirrors: dict[int, Mirror] = {}  # id of a variable -> its mirror

    def learn_variables(self) -> None:
        """Let the next recording begin from the variables that were not known."""
        new = {id(v): v for v in (*self.variables, *self.unknown)}
        self.unknown.clear()
        if len(new) > len(self.variables):
            self.variables = tuple(new.values())

    def _disagreement(self, recorded: Any, result: Any) -> str:
        return disagreement(recorded, result)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if interpreter.current().recording:
            return self._followed(args, kwargs)
        return self._by_keras(args, kwargs)

    def _by_keras(self, args: Any, kwargs: Any) -> Any:
        given_args, given_kwargs = replaced((args, kwargs), ndarray, lambda x: as_tensor(x._leave("Keras")))
        return _arrays(self.model(*given_args, **given_kwargs))

    def _followed(self, args: Any, kwargs: Any) -> Any:
        following = Following()
        given_args, given_kwargs = replaced((args, kwargs), ndarray, following.tensor)
        token = FOLLOWED.set(following)
        try:
            result = replaced(self.model(*given_args, **given_kwargs), object, following.result)
        except (
            Exception
        ) as error:  # the user's, or of code that cannot run on what stands for tensors: Keras will tell
            interpreter.current().impure(f"raises {type(error).__name__} while it is recorded ({error})")
            following.failed = True
        finally:
            FOLLOWED.reset(token)
            self.mirrors.update(following.mirrors)
            self.unknown += following.unknown
        if following.failed:
            return self._by_keras(args, kwargs)
        if _unlike_arrays(result):
            interpreter.current().impure("gives what our arrays cannot hold")
            raise ForeignResult(replaced(result, ndarray, lambda x: as_tensor(x._leave("Keras"))))
        return result


def _arrays(result: Any) -> Any:
    try:
        found = replaced(result, object, _array)
    except (TypeError, ValueError):  # of a dtype or a layout that NumPy does not have
        raise ForeignResult(result) from None
    if _unlike_arrays(found):
        raise ForeignResult(result)
    return found


def _array(value: Any) -> Any:
    """Of a tensor; NumPy's sums of all elements are scalars."""
    return (
        ndarray(numpy.array(as_numpy(value)))
        if is_tensor(value) or isinstance(value, numpy.generic)
        else value
    )


def _unlike_arrays(result: Any) -> bool:
    return not all(isinstance(part, ndarray) for part in flat(result))
