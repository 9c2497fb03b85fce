"""What becomes of the last layer of a policy: the parameters of a distribution, and the action that is its mode or is drawn.

NOTE [what stable-baselines3 refuses]
Distributions of torch refuse parameters that are nan. Where one is, the result of a program says so, as nan or as an index
below zero; then stable-baselines3 computes the call, and its error is the answer.

NOTE [draws]
A draw takes from torch's random numbers what stable-baselines3 would take, in its order: one seed gives the same actions.
Torch draws one of several classes as the largest of their probabilities, each divided by a number of the exponential
distribution. So that is the noise of discrete actions. Bits are drawn by torch itself, after the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
    SquashedDiagGaussianDistribution,
)
from torch import Tensor

Sizes = tuple[int, ...]  # see `sizes_of`


@dataclass(frozen=True)
class Ending:
    """From what the layers of a policy give to actions (samples, size of an action)."""

    compute: Callable[..., Tensor]  # (sizes, noise or None, *what the layers give), in a program
    noise: Callable[[Sizes, int], Tensor] | None = None  # (sizes, samples)
    draw: Callable[[Tensor], Tensor] | None = None  # actions from what was computed


# -- continuous actions --------------------------------------------------------------------------------------


def _gaussian(sizes: Sizes, noise: Tensor | None, mean: Tensor, log_std: Tensor) -> Tensor:
    std = torch.ones_like(mean) * log_std.exp()
    actions = mean if noise is None else mean + noise * std
    return torch.where(std > 0, actions, torch.nan)  # NOTE [what stable-baselines3 refuses]


def _squashed(sizes: Sizes, noise: Tensor | None, mean: Tensor, log_std: Tensor) -> Tensor:
    return torch.tanh(_gaussian(sizes, noise, mean, log_std))


def _given(sizes: Sizes, noise: Tensor | None, actions: Tensor) -> Tensor:
    return actions


# -- discrete actions ----------------------------------------------------------------------------------------


def _class(sizes: Sizes, noise: Tensor | None, logits: Tensor) -> Tensor:
    valid = torch.isfinite(torch.amax(logits, dim=1))
    weights = logits if noise is None else torch.softmax(logits, dim=1) / noise
    return torch.where(valid, torch.argmax(weights, dim=1), -1)  # NOTE [what stable-baselines3 refuses]


def _classes(sizes: Sizes, noise: Tensor | None, logits: Tensor) -> Tensor:
    parts = torch.split(logits, list(sizes), dim=1)
    noises = [None] * len(sizes) if noise is None else torch.split(noise, list(sizes), dim=1)
    return torch.stack([_class(sizes, *pair) for pair in zip(noises, parts, strict=True)], dim=1)


def _rounded(sizes: Sizes, noise: Tensor | None, logits: Tensor) -> Tensor:
    return torch.round(torch.sigmoid(logits))


def _chances(sizes: Sizes, noise: Tensor | None, logits: Tensor) -> Tensor:
    return torch.sigmoid(logits)


def _highest(sizes: Sizes, noise: Tensor | None, values: Tensor) -> Tensor:
    return torch.argmax(values, dim=1)


# -- noise ---------------------------------------------------------------------------------------------------


def _normal(sizes: Sizes, samples: int) -> Tensor:
    return torch.randn(samples, *sizes)


def _exponential(sizes: Sizes, samples: int) -> Tensor:
    parts = [torch.empty(samples, size).exponential_() for size in sizes]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


# class of the distribution -> the action that is likeliest, one that is drawn
ENDINGS: dict[type, tuple[Ending, Ending]] = {
    DiagGaussianDistribution: (Ending(_gaussian), Ending(_gaussian, _normal)),
    SquashedDiagGaussianDistribution: (Ending(_squashed), Ending(_squashed, _normal)),
    CategoricalDistribution: (Ending(_class), Ending(_class, _exponential)),
    MultiCategoricalDistribution: (Ending(_classes), Ending(_classes, _exponential)),
    BernoulliDistribution: (
        Ending(_rounded),
        Ending(_chances, draw=lambda chances: torch.bernoulli(chances)),
    ),
}
GIVEN, HIGHEST = Ending(_given), Ending(_highest)  # of policies that have no distribution


def sizes_of(distribution: Any) -> Sizes:
    """How many numbers an action has, or how many classes each of its parts."""
    sizes: Any = getattr(distribution, "action_dims", None) or getattr(distribution, "action_dim", 0)
    return (sizes,) if isinstance(sizes, int) else tuple(map(int, sizes))


def is_refused(computed: numpy.ndarray) -> bool:
    """See NOTE [what stable-baselines3 refuses]."""
    if computed.dtype.kind != "f":
        return bool(computed.item() < 0 if computed.size == 1 else computed.min() < 0)
    flat = computed.reshape(-1)
    total = flat.dot(flat)  # of squares: nan where one is
    return bool(total != total)
