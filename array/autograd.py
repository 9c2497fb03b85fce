"""Gluon's ``autograd`` scopes that say whether layers train or predict."""

from __future__ import annotations

from contextlib import AbstractContextManager

from blockfuse.array.modes import is_training, training

__all__ = ["is_training", "predict_mode", "train_mode"]


def train_mode() -> AbstractContextManager[None]:
    """Layers behave as in training: dropout drops.

    >>> with train_mode():
    ...     is_training()
    True
    """
    return training(True)


def predict_mode() -> AbstractContextManager[None]:
    """Layers behave as in prediction (the default)."""
    return training(False)
