"""From an observation, as an environment gives it, to the features that the first layer of a policy takes.

Two halves: ``batch_of`` checks and shapes NumPy's arrays before a program; what ``preparation`` gives is computed in it. A
space is taken to stay as it is; one that is exchanged is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, maybe_transpose

Space = Any
Prepare = Callable[[Any], Any]  # tensors of observations -> features
_CONVERTED = (int, float, list, numpy.int64, numpy.int32, numpy.float64, numpy.float32)


class NoRuleError(Exception):
    """Why stable-baselines3 computes a call itself."""


# -- before a program ----------------------------------------------------------------------------------------


def batch_of(observation: Any, space: Space) -> tuple[Any, bool]:
    """Observations with an axis in front, for a program, and whether they came with one; raises NoRuleError."""
    if type(space) is spaces.Dict:
        return _batches(observation, space)
    array = observation if type(observation) is numpy.ndarray else _converted(observation)
    if array.dtype.kind not in "fiub" or not array.size:
        raise NoRuleError("the observation is no array of numbers")
    shape = space.shape
    if array.shape != shape and array.shape[1:] != shape:
        array = maybe_transpose(array, space)
    several = array.shape != shape
    if several and (array.shape[1:] != shape or not array.ndim):
        raise NoRuleError("the observation has another shape than its space")
    if type(space) in _COUNTS:
        _refuse_outside(array, _COUNTS[type(space)](space))
    if not array.flags.c_contiguous:  # torch reads no array backwards
        array = array.copy()
    return (array if several else array[None]), several


def _converted(observation: Any) -> numpy.ndarray:
    if type(observation) not in _CONVERTED:
        raise NoRuleError("the observation is no array")
    return numpy.array(observation)


def _batches(observation: Any, space: Space) -> tuple[Any, bool]:
    if not isinstance(observation, dict) or observation.keys() != space.spaces.keys():
        raise NoRuleError("the observation has other keys than its space")
    parts = {key: batch_of(part, space.spaces[key]) for key, part in observation.items()}
    if len({several for _, several in parts.values()}) > 1:
        raise NoRuleError("some parts of the observation are one, some several")
    batches = {key: batch for key, (batch, _) in parts.items()}
    if len({len(batch) for batch in batches.values()}) != 1:
        raise NoRuleError("parts of the observation are of several sizes")
    return batches, next(iter(parts.values()))[1]


_COUNTS: dict[type, Callable[[Space], Any]] = {  # spaces of integers -> how many there are
    spaces.Discrete: lambda space: int(space.n),
    spaces.MultiDiscrete: lambda space: space.nvec,
}


def _refuse_outside(array: numpy.ndarray, count: Any) -> None:
    """torch refuses indices that a table does not have."""
    if array.dtype.kind not in "iu" or not ((array >= 0) & (array < count)).all():
        raise NoRuleError("the observation lies outside of its space")


# -- in a program --------------------------------------------------------------------------------------------


def preparation(space: Space, normalize: bool) -> Prepare:
    """What makes features of observations; normalize: whether pictures are scaled to 0 .. 1. Raises NoRuleError."""
    row = _PREPARATIONS.get(type(space))
    if row is None:
        raise NoRuleError(f"there is no rule for observations of {type(space).__name__}")
    return row(space, normalize)


def _of_box(space: Space, normalize: bool) -> Prepare:
    return _scaled if normalize and is_image_space(space) else _floats


def _of_multi_discrete(space: Space, normalize: bool) -> Prepare:
    if space.nvec.ndim != 1:
        raise NoRuleError("there is no rule for several axes of discrete observations")
    return partial(_several_one_hot, tuple(map(int, space.nvec)))


def _of_dict(space: Space, normalize: bool) -> Prepare:
    if any(type(part) is spaces.Dict for part in space.spaces.values()):
        raise NoRuleError("there is no rule for dicts in dicts of observations")
    return partial(_each, {key: preparation(part, normalize) for key, part in space.spaces.items()})


_PREPARATIONS: dict[type, Callable[[Space, bool], Prepare]] = {
    spaces.Box: _of_box,
    spaces.MultiBinary: lambda space, normalize: _floats,
    spaces.Discrete: lambda space, normalize: partial(_one_hot, int(space.n)),
    spaces.MultiDiscrete: _of_multi_discrete,
    spaces.Dict: _of_dict,
}


def _floats(x: torch.Tensor) -> torch.Tensor:
    return x.float()


def _scaled(x: torch.Tensor) -> torch.Tensor:
    return x.float() / 255.0


def _one_hot(count: int, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(x.long(), count).float()


def _several_one_hot(counts: tuple[int, ...], x: torch.Tensor) -> torch.Tensor:
    return torch.cat([_one_hot(count, x[:, place]) for place, count in enumerate(counts)], dim=-1)


def _each(prepared: Mapping[str, Prepare], x: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: prepared[key](part) for key, part in x.items()}
