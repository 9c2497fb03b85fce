"""One step of training as a compiled call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.array import autograd
from blockfuse.array.ndarray import ndarray
from blockfuse.nn.block import Block
from blockfuse.nn.trainer import Trainer
from blockfuse.runtime.calls.function import HybridFunction, hybridize


def train_step(
    net: Block, loss: Callable[[Any, Any], ndarray], trainer: Trainer, **options: Any
) -> HybridFunction:
    """A function of a batch, ``step(X, y)`` or ``step(X1, X2, y)``, that trains ``net`` by one step and gives the loss of
    each sample (whatever ``loss(net(X), y)`` gives).

    It is a Python function like any that a user writes, hybridized: forward, backward and the optimizer are one program.
    The trainer divides gradients by the number of losses.

    net: a block, initialized. loss: a loss of ``gluon.loss``, or a function of predictions and labels that gives an array.
    trainer: a ``Trainer`` of the net's parameters. options: those of ``nn.Block.hybridize``.

    Where the trainer has a ``kvstore`` of several workers, ``X`` and ``y`` are this one's part of the batch, and the step
    is compiled in pieces, around the sum of gradients.

    A step raises what forward, backward and ``Trainer.step`` raise, having changed nothing.

    >>> import blockfuse
    >>> from blockfuse import gluon, nn, np
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize()
    >>> trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    >>> step = blockfuse.train_step(net, gluon.loss.L2Loss(), trainer)
    >>> step(np.ones((8, 2)), np.zeros((8, 1))).shape
    (8,)
    """
    trainer._prepare()
    return hybridize(TrainStep(net, loss, trainer), **options)


class TrainStep:
    """The step itself, in Python; what it holds is the state that a recording of it rests on."""

    def __init__(self, net: Block, loss: Callable[[Any, Any], ndarray], trainer: Trainer) -> None:
        self.net, self.loss, self.trainer = net, loss, trainer

    def __call__(self, *batch: Any) -> ndarray:
        *inputs, label = batch
        with autograd.record():
            value = self.loss(self.net(*inputs), label)
        value.backward()
        self.trainer.step(self.trainer.of_all_workers(value.size))
        return value
