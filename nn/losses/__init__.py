"""Losses: ``from blockfuse.gluon import loss``, or ``blockfuse.loss``."""

from blockfuse.nn.losses.classification import (
    HingeLoss,
    KLDivLoss,
    LogisticLoss,
    SigmoidBCELoss,
    SigmoidBinaryCrossEntropyLoss,
    SoftmaxCELoss,
    SoftmaxCrossEntropyLoss,
    SquaredHingeLoss,
)
from blockfuse.nn.losses.loss import Loss
from blockfuse.nn.losses.regression import HuberLoss, L1Loss, L2Loss, LogCoshLoss, PoissonNLLLoss
from blockfuse.nn.losses.sequences import CTCLoss
from blockfuse.nn.losses.similarity import CosineEmbeddingLoss, SDMLLoss, TripletLoss

__all__ = [
    "CTCLoss",
    "CosineEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "L2Loss",
    "LogCoshLoss",
    "LogisticLoss",
    "Loss",
    "PoissonNLLLoss",
    "SDMLLoss",
    "SigmoidBCELoss",
    "SigmoidBinaryCrossEntropyLoss",
    "SoftmaxCELoss",
    "SoftmaxCrossEntropyLoss",
    "SquaredHingeLoss",
    "TripletLoss",
]
