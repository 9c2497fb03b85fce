"""A policy of stable-baselines3, or an algorithm, whose ``predict`` is compiled."""

from __future__ import annotations

import operator
import warnings
from collections import Counter
from typing import Any

import numpy
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from blockfuse.frontends.stable_baselines3.actors import (
    Actor,
    InTrainingModeError,
    read,
    row_of,
)
from blockfuse.frontends.stable_baselines3.endings import is_refused
from blockfuse.frontends.stable_baselines3.observations import NoRuleError, batch_of
from blockfuse.frontends.torch.torch_block import TorchBlock
from blockfuse.frontends.torch.torch_net import unusual
from blockfuse.ir.errors import CompilerWarning
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.calls.options import OPTIONS
from blockfuse.runtime.explanation import Explanation

DIFFERS = "stable-baselines3 computes something else here than the rule says"
REFUSED = "the distribution of actions has parameters that it refuses"
LEFT = "its layers cannot be compiled"
TRIES = 16  # calls that torch runs, mostly in a row, before stable-baselines3 gets them


def compiled(model: Any, options: dict[str, Any]) -> CompiledAlgorithm | CompiledPolicy:
    """The algorithm, or the policy, with a compiled ``predict``."""
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"compile() has no option {name!r}; it has {', '.join(OPTIONS)}")
    if isinstance(model, BaseAlgorithm):
        return CompiledAlgorithm(model, options)
    return CompiledPolicy(_policy(model), options)


def lacking(model: Any) -> tuple[str, ...]:
    """Why ``predict`` runs in stable-baselines3."""
    policy = _policy(model)
    try:
        row = row_of(policy)
        read(policy, row)
        Actor(policy, row, draws=False)
    except NoRuleError as refusal:
        return (f"{type(policy).__name__}: {refusal}",)
    return ()


def _policy(model: Any) -> Any:
    policy = model.policy if isinstance(model, BaseAlgorithm) else model
    if not isinstance(policy, BasePolicy):
        raise TypeError(f"compile() takes an algorithm or a policy, not {type(model).__name__}")
    return policy


class _Wrapper:
    """All but ``predict`` is the model's own: attributes that are set here are set there."""

    _model: Any
    _options: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._model, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._model, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._model, self._options)

    def __repr__(self) -> str:
        return f"compiled({self._model!r})"


class CompiledAlgorithm(_Wrapper):
    """An algorithm with its own ``predict``, which finds a compiled policy.

    So whatever an algorithm does beside (exploration of DQN), it does here. What ``learn``, loading or an optimizer
    changes is seen by the next call, and so is another policy.
    """

    def __init__(self, model: Any, options: dict[str, Any]) -> None:
        self.__dict__.update(_model=model, _options=options, _compiled=CompiledPolicy(model.policy, options))

    @property
    def policy(self) -> CompiledPolicy:
        """The policy that the algorithm has now, compiled."""
        known: CompiledPolicy = self.__dict__["_compiled"]
        if known._model is not self._model.policy:
            known = self.__dict__["_compiled"] = CompiledPolicy(self._model.policy, self._options)
        return known

    @policy.setter
    def policy(self, policy: Any) -> None:
        self._model.policy = policy

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As ``predict`` of the algorithm: the action, or one for each observation, and the state."""
        if "predict" in self._model.__dict__:
            return self._model.predict(*args, **kwargs)
        return type(self._model).predict(self, *args, **kwargs)

    def explain(self) -> str:
        """What was compiled, and why calls ran in stable-baselines3."""
        return self.policy.explain()


class CompiledPolicy(_Wrapper):
    """A policy whose ``predict`` runs in a program from the observation to the action, or to what it is drawn from.

    What has no rule, and what stable-baselines3 refuses, is left to it: errors are its own.
    """

    def __init__(self, policy: Any, options: dict[str, Any]) -> None:
        self.__dict__.update(
            _model=policy,
            _options=options,
            _nets={},  # whether actions are drawn -> the net
            _refusals=Counter(),  # reason -> calls that ran in stable-baselines3
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the policy does it."""
        return self._model(*args, **kwargs)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        **more: Any,
    ) -> tuple[Any, Any]:
        """As ``predict`` of the policy: the action, or one for each observation, and the state as it was given."""
        try:
            if more:
                raise NoRuleError("it was called with more than an observation")
            return self._actions(observation, bool(deterministic)), state
        except NoRuleError as refusal:
            self._refusals[str(refusal)] += 1
            result: tuple[Any, Any] = self._model.predict(
                observation, state, episode_start, deterministic, **more
            )
        except Exception as error:  # most often stable-baselines3 refuses the call as well: it has the word
            if came_from_handler(error):
                raise
            result = self._model.predict(observation, state, episode_start, deterministic)
            self._note_failure(f"{type(error).__name__}: {error}")
        return result

    def _actions(self, observation: Any, deterministic: bool) -> Any:
        policy = self._model
        if policy.training:
            policy.set_training_mode(False)
        net = self._net(policy, not deterministic)
        batch, several = batch_of(observation, policy.observation_space)
        problem = unusual()
        if problem:
            raise NoRuleError(problem)
        if net.proven:
            return net.actions(batch, several)
        return self._proven(net, batch, several, observation)

    def _net(self, policy: Any, draws: bool) -> PolicyNet:
        known: PolicyNet | None = self._nets.get(draws)
        if known is None or not known.fits(policy):
            known = self._nets[draws] = PolicyNet(policy, draws, self._options)
        if known.wrong:
            raise NoRuleError(DIFFERS)
        return known

    def _proven(self, net: PolicyNet, batch: Any, several: bool, observation: Any) -> Any:
        """The first actions of a net, held against those of stable-baselines3, which draws again."""
        if not self._options.get("check", True):
            net.proven = True
            return net.actions(batch, several)
        with torch.random.fork_rng(devices=[]):
            actions = net.actions(batch, several)
        expected = self._model.predict(observation, deterministic=not net.draws)[0]
        if not _agree(actions, expected):
            net.wrong = True
            self._warn(f"{DIFFERS}; it computes such calls from now on")
            self._refusals[DIFFERS] += 1
        net.proven = not net.wrong
        return expected

    def _note_failure(self, reason: str) -> None:
        if not self._refusals[reason]:
            self._warn(f"stable-baselines3 computed what failed here with {reason}")
        self._refusals[reason] += 1

    def _warn(self, what: str) -> None:
        warnings.warn(f"{type(self._model).__name__}.predict: {what}", CompilerWarning, stacklevel=5)

    def explain(self) -> str:
        """What was compiled, and why calls ran in stable-baselines3."""
        nets = [net.explain() for net in self._nets.values()]
        ran = [f"{count} calls in stable-baselines3: {reason}" for reason, count in self._refusals.items()]
        return Explanation("\n".join([*nets, *ran]) or "nothing was called yet")


class PolicyNet:
    """The compiled way of one policy, as it was read, from batches of observations to actions."""

    def __init__(self, policy: Any, draws: bool, options: dict[str, Any]) -> None:
        self._kind, self._row, self.draws = type(policy), row_of(policy), draws
        self._reading = read(policy, self._row)
        self.proven = self.wrong = False
        self._actor, self._space = Actor(policy, self._row, draws), policy.action_space
        self._policy, self._block, self._calls = policy, TorchBlock(self._actor), 0
        self._block.hybridize(**options)

    def fits(self, policy: Any) -> bool:
        """Whether the policy is still what it was."""
        return self._kind is type(policy) and all(map(operator.is_, read(policy, self._row), self._reading))

    def actions(self, batch: Any, several: bool) -> numpy.ndarray:
        """One action, or one for each observation."""
        actor, space = self._actor, self._space
        self._calls += 1
        if self._block.runs > max(TRIES, self._calls // 2):
            raise NoRuleError(LEFT)
        given: list[Any] = []
        if actor.ending.noise is not None:
            samples = len(next(iter(batch.values())) if type(batch) is dict else batch)
            given.append(actor.ending.noise(actor.sizes, samples).numpy())
        if actor.bounded:
            given += (space.low.reshape(-1), space.high.reshape(-1))
        computed = self._computed(batch, given)
        if actor.sizes and is_refused(computed):
            raise NoRuleError(REFUSED)
        if actor.ending.draw is not None:
            computed = actor.ending.draw(torch.from_numpy(computed)).numpy()
        return computed.reshape((-1, *space.shape) if several else space.shape)

    def _computed(self, batch: Any, given: list[Any]) -> numpy.ndarray:
        try:
            return self._block(batch, *given)
        except InTrainingModeError:
            self._policy.set_training_mode(False)
            return self._block(batch, *given)

    def explain(self) -> str:
        """What was compiled."""
        return self._block.explain().replace(type(self._block).__name__, type(self._policy).__name__)


def _agree(actions: numpy.ndarray, expected: numpy.ndarray) -> bool:
    alike = actions.dtype == expected.dtype and actions.shape == expected.shape
    return alike and numpy.allclose(actions, expected, 1e-3, 1e-4, equal_nan=True)
