"""Steps of training run eagerly and compiled: do losses, parameters and states agree, and how long does a step take.

NOTE [how a net is trained here]
Twice the same steps, from the same parameters, with the same random batches: ``blockfuse.train_step`` in Python, and
compiled. The command line sees nets, losses and trainers as a user does, by the public names of the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy

from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import HybridFunction
from blockfuse.runtime.cli.inputs import Input
from blockfuse.runtime.cli.measure import Comparison, alternating, difference_of, worst
from blockfuse.runtime.cli.subjects import Subject
from blockfuse.runtime.inspection import settled

# dtype -> largest difference over the largest element, after all steps; what is not here must be equal
TOLERANCES = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-11}
_APART = 1000  # between the seeds of batches; more arguments than a net has
OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"learning_rate": 0.01, "momentum": 0.9}}  # others have defaults


class UntrainableError(UsageError):
    """A net that no loss can train; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """How nets are trained."""

    loss: str | None  # a name of ``LOSSES``; None: by the output of the net
    optimizer: str
    steps: int  # that are compared


@dataclass(frozen=True)
class Labels:
    """What a loss compares predictions with."""

    loss: str  # its class in ``blockfuse.loss``
    drawn: Callable[[ndarray, numpy.random.Generator], Any]  # for an output


def _classes(output: ndarray, draw: numpy.random.Generator) -> Any:
    return draw.integers(0, output.shape[-1], output.shape[:-1])


def _numbers(output: ndarray, draw: numpy.random.Generator) -> Any:
    return draw.uniform(-1, 1, output.shape).astype(output.dtype)


def _bits(output: ndarray, draw: numpy.random.Generator) -> Any:
    return draw.integers(0, 2, output.shape).astype(output.dtype)


def _signs(output: ndarray, draw: numpy.random.Generator) -> Any:
    return _bits(output, draw) * 2 - 1


LOSSES = {
    "softmax": Labels("SoftmaxCrossEntropyLoss", _classes),
    "sigmoid": Labels("SigmoidBinaryCrossEntropyLoss", _bits),
    "l2": Labels("L2Loss", _numbers),
    "l1": Labels("L1Loss", _numbers),
    "huber": Labels("HuberLoss", _numbers),
    "hinge": Labels("HingeLoss", _signs),
}


def known_optimizer(name: str) -> str:
    """The name, if there is an optimizer of that name; raises UsageError that lists them if there is none."""
    sys.modules["blockfuse"].optimizer.create(name)
    return name


def trained(
    subject: Subject, batch: int | None, options: dict[str, Any], tolerance: float | None, recipe: Recipe
) -> Comparison:
    """Train ``subject`` both ways. options: for ``hybridize``; tolerance: in place of ``TOLERANCES``.

    Raises UntrainableError for what has no parameters, or gives no array of floats.
    """
    inputs = subject.inputs_for(batch)
    training = _training(subject, inputs, recipe)
    limits = dict.fromkeys(TOLERANCES, tolerance) if tolerance is not None else TOLERANCES
    eager = training.begun({})
    expected = training.after(recipe.steps, eager, eager.step.__wrapped__)
    compiled = training.begun(options)
    started = perf_counter()
    first = compiled.step(*training.batch(0))
    first_call = (perf_counter() - started) * 1e3
    compiled = replace(compiled, losses=(first,))
    found = training.after(recipe.steps, compiled, compiled.step)
    difference = worst([difference_of(a, b, limits) for a, b in zip(expected, found, strict=True)])
    outcome = settled(compiled.step, training.batch(0))
    before, after = alternating([eager.step.__wrapped__, compiled.step], training.batch(0))
    how = f"{training.loss}, {recipe.optimizer}"
    return Comparison(subject, inputs, outcome, difference, before, after, first_call, how)


@dataclass(frozen=True)
class _Begun:
    """A training that has begun: its step, its trainer, and the losses of the steps that were made."""

    step: HybridFunction
    trainer: Any
    losses: tuple[ndarray, ...] = ()


@dataclass(frozen=True)
class _Training:
    """A net with what it is trained by, and the parameters with which each training begins."""

    net: Any
    inputs: tuple[Input, ...]
    loss: str  # a name of ``LOSSES``
    output: ndarray  # of a batch
    optimizer: str
    initial: dict[Any, numpy.ndarray]  # parameter -> its value

    def begun(self, options: dict[str, Any]) -> _Begun:
        """A new training from the first parameters. options: for ``hybridize``."""
        package = sys.modules["blockfuse"]
        for parameter, value in self.initial.items():
            parameter.set_data(ndarray(value.copy()))
        random.seed(1)
        trainer = package.Trainer(
            self.net.collect_params(), self.optimizer, OPTIONS.get(self.optimizer.lower(), {})
        )
        criterion = getattr(package.loss, LOSSES[self.loss].loss)()
        loss = criterion if self.output.ndim else _OfOneNumber(criterion)
        return _Begun(package.train_step(self.net, loss, trainer, **options), trainer)

    def batch(self, number: int) -> list[ndarray]:
        """Arguments and labels of a step."""
        arguments = [given.array(place + _APART * number) for place, given in enumerate(self.inputs)]
        draw = numpy.random.default_rng(number)
        return [*arguments, ndarray(numpy.asarray(LOSSES[self.loss].drawn(self.output, draw)))]

    def after(self, steps: int, begun: _Begun, call: Callable[..., ndarray]) -> list[Any]:
        """Losses of all steps, then parameters and states after them."""
        losses = [*begun.losses, *(call(*self.batch(number)) for number in range(len(begun.losses), steps))]
        states = begun.trainer._state_arrays()
        del states["optimizer"]
        parameters = [parameter.data() for parameter in self.net.collect_params().values()]
        return [*losses, *parameters, *(ndarray(states[name]) for name in sorted(states))]


class _OfOneNumber:
    """A loss of a net that gives one number for a whole batch."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self, output: Any, label: Any) -> Any:
        return self.loss(output.reshape((1,)), label.reshape((1,)))


def _training(subject: Subject, inputs: tuple[Input, ...], recipe: Recipe) -> _Training:
    net = subject.make()
    if isinstance(net, HybridFunction):
        raise UntrainableError(f"{subject} is a function: only blocks have parameters to train")
    output = net(*(given.array(place) for place, given in enumerate(inputs)))
    parameters = list(dict.fromkeys(net.collect_params().values()))
    if all(parameter.grad_req == "null" for parameter in parameters):
        raise UntrainableError(f"{subject} has no parameters to train")
    if not isinstance(output, ndarray) or output.dtype.kind != "f":
        raise UntrainableError(f"{subject} gives no array of floats that a loss could take")
    initial = {parameter: parameter.data().asnumpy() for parameter in parameters}
    return _Training(net, inputs, recipe.loss or _loss_of(output), output, recipe.optimizer, initial)


def _loss_of(output: ndarray) -> str:
    """Rows of several numbers are scores of classes; all else is compared with numbers."""
    return "softmax" if output.ndim == 2 and output.shape[1] > 1 else "l2"
