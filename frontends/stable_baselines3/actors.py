"""The table of policies: which of its layers lead from an observation to an action.

NOTE [actors]
An actor is a torch module of nothing but these layers, which are the policy's own, and it is compiled as torch modules are:
weights are read where they lie, layers may be whatever torch can run. What a policy holds besides (critics, optimizers,
spaces) is not looked at. What of the policy decides how an actor is put together is read before every call, and
compared by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, SACPolicy
from stable_baselines3.sac.policies import Actor as SacActor
from stable_baselines3.td3.policies import Actor as Td3Actor
from stable_baselines3.td3.policies import TD3Policy

from blockfuse.array import foreign
from blockfuse.frontends.stable_baselines3.endings import ENDINGS, GIVEN, HIGHEST, Ending, sizes_of
from blockfuse.frontends.stable_baselines3.observations import NoRuleError, Prepare, preparation
from blockfuse.frontends.torch.knowledge import LIBRARY

assert LIBRARY.unread, "the tracer is told of torch before it is told of what derives from it"
foreign.leave_unread(BaseFeaturesExtractor, frozenset({"_observation_space"}))

Policy = Any
Reading = tuple[Any, ...]  # what of a policy decides how an actor is put together; always as many of a row


class InTrainingModeError(Exception):
    """A layer would do what it does in training; ``predict`` ends that first."""


@dataclass(frozen=True)
class Row:
    """How a class of policies finds its action."""

    layers: Callable[[Policy], tuple[Any, ...]]  # the features extractor first
    outputs: Callable[..., tuple[Any, ...]]  # (features, *other layers) -> what the ending takes
    methods: tuple[str, ...]  # of that class: a class that is derived from it must not have others
    part: str = ""  # the module of the policy that is called, or empty: the policy itself
    part_class: type = BasePolicy
    part_methods: tuple[str, ...] = ()
    ending: Ending | None = None  # None: the distribution of the part decides


def _actor_critic_layers(policy: Policy) -> tuple[Any, ...]:
    modules = policy._modules
    trunk = modules["mlp_extractor"]
    return (
        modules["pi_features_extractor"],
        trunk._modules["policy_net"] if type(trunk) is MlpExtractor else trunk,
        modules["action_net"],
        policy._parameters.get("log_std"),
    )


def _actor_critic(features: Any, trunk: Any, action_net: Any, log_std: Any) -> tuple[Any, ...]:
    of_users = hasattr(trunk, "forward_actor")
    outputs = action_net(trunk.forward_actor(features) if of_users else trunk(features))
    return (outputs,) if log_std is None else (outputs, log_std)


def _layers_of(part: str, *names: str) -> Callable[[Policy], tuple[Any, ...]]:
    def layers(policy: Policy) -> tuple[Any, ...]:
        modules = policy._modules[part]._modules
        return tuple([modules.get(name) for name in names])

    return layers


def _sac(features: Any, latent_pi: Any, mu: Any, log_std: Any) -> tuple[Any, ...]:
    latent = latent_pi(features)
    return mu(latent), torch.clamp(log_std(latent), LOG_STD_MIN, LOG_STD_MAX)


def _one_net(features: Any, net: Any) -> tuple[Any, ...]:
    return (net(features),)


ROWS: dict[type, Row] = {  # class of a policy, or one that it is derived from -> its row
    ActorCriticPolicy: Row(
        _actor_critic_layers,
        _actor_critic,
        ("_predict", "get_distribution", "_get_action_dist_from_latent"),
    ),
    SACPolicy: Row(
        _layers_of("actor", "features_extractor", "latent_pi", "mu", "log_std"),
        _sac,
        ("_predict",),
        "actor",
        SacActor,
        ("forward", "get_action_dist_params"),
    ),
    TD3Policy: Row(
        _layers_of("actor", "features_extractor", "mu"),
        _one_net,
        ("_predict",),
        "actor",
        Td3Actor,
        ("forward",),
        GIVEN,
    ),
    DQNPolicy: Row(
        _layers_of("q_net", "features_extractor", "q_net"),
        _one_net,
        ("_predict",),
        "q_net",
        QNetwork,
        ("_predict", "forward"),
        HIGHEST,
    ),
}
_METHODS = ("predict", "obs_to_tensor", "unscale_action")  # of every policy
_PART_METHODS = ("__call__", "extract_features")  # of every part
_OWN = frozenset(_METHODS + _PART_METHODS).union(*(row.methods + row.part_methods for row in ROWS.values()))


def row_of(policy: Policy) -> Row:
    """The row for the class of a policy; raises NoRuleError."""
    kind = type(policy)
    base = next((base for base in kind.__mro__ if base in ROWS), None)
    if base is None:
        raise NoRuleError(f"there is no rule for the class {kind.__module__}.{kind.__qualname__}")
    row = ROWS[base]
    _refuse_others(kind, base, _METHODS + row.methods)
    if row.part:
        _refuse_others(type(policy._modules[row.part]), row.part_class, _PART_METHODS + row.part_methods)
    return row


def _refuse_others(kind: type, base: type, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(kind, name, None) is not getattr(base, name):
            raise NoRuleError(f"{kind.__module__}.{kind.__qualname__} has a {name} of its own")


def read(policy: Policy, row: Row) -> Reading:
    """See NOTE [actors]; raises NoRuleError."""
    part = policy._modules[row.part] if row.part else policy
    own, of_part = policy.__dict__, part.__dict__
    if not (own.keys().isdisjoint(_OWN) and of_part.keys().isdisjoint(_OWN)):
        raise NoRuleError("an object of the policy has a method of its own")
    if part is not policy and (of_part["_forward_hooks"] or of_part["_forward_pre_hooks"]):
        raise NoRuleError(f"there are hooks of its {row.part}")
    return (
        *(type(part), own["_squash_output"], of_part["normalize_images"]),
        *(own["observation_space"], own["action_space"], of_part.get("action_dist")),
        *row.layers(policy),
    )


class Actor(torch.nn.Module):
    """From observations to actions, or to what they are drawn of: NOTE [actors].

    Calls take observations with an axis in front, noise where the ending takes some, and the bounds of actions in a Box.
    """

    def __init__(self, policy: Policy, row: Row, draws: bool) -> None:
        super().__init__()
        part = policy._modules[row.part] if row.part else policy
        distribution = part.__dict__.get(
            "action_dist"
        )  # not kept: stable-baselines3 writes to it at each call
        self.ending = row.ending or _ending_of(distribution, draws)
        self.sizes = sizes_of(distribution) if distribution is not None else ()
        self.prepare: Prepare = preparation(policy.observation_space, part.normalize_images)
        self.outputs, self.layers = row.outputs, row.layers(policy)
        self.squashed = policy.squash_output
        self.bounded = _is_bounded(policy.action_space)

    def forward(self, observation: Any, *given: torch.Tensor) -> torch.Tensor:
        """Actions, (samples, size of an action)."""
        _refuse_training(self.layers)
        extractor, *others = self.layers
        noise = None if self.ending.noise is None else given[0]
        with torch.no_grad():
            outputs = self.outputs(extractor(self.prepare(observation)), *others)
            actions = self.ending.compute(self.sizes, noise, *outputs)
            return self._scaled(actions, *given[-2:]) if self.bounded else actions

    def _scaled(self, actions: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        if self.squashed:
            return low + (0.5 * (actions + 1.0) * (high - low))
        return torch.minimum(torch.maximum(actions, low), high)


def _ending_of(distribution: Any, draws: bool) -> Ending:
    endings = ENDINGS.get(type(distribution))
    if endings is None:
        raise NoRuleError(f"there is no rule for the distribution {type(distribution).__name__}")
    return endings[draws]


def _is_bounded(space: Any) -> bool:
    """Whether actions are numbers between bounds."""
    if type(space) not in (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary):
        raise NoRuleError(f"there is no rule for actions of {type(space).__name__}")
    if type(space) is not spaces.Box:
        return False
    if space.dtype not in ("float32", "float64"):
        raise NoRuleError("actions are of an unusual dtype")
    return True


def _refuse_training(layers: tuple[Any, ...]) -> None:
    modules = (layer for layer in layers if isinstance(layer, torch.nn.Module))
    if any(part.training for layer in modules for part in layer.modules()):
        raise InTrainingModeError
