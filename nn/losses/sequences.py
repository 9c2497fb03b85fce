"""The loss of predicted sequences whose alignment with the labels is not known."""

from __future__ import annotations

from functools import reduce
from typing import Unpack

from blockfuse.array import np, npx
from blockfuse.array.arguments import ArrayLike
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators.neural import floated
from blockfuse.nn.losses.loss import Loss
from blockfuse.nn.signatures import GluonNames

_IMPOSSIBLE = -1e30  # the logarithm of 0 that sums of logarithms, and their gradients, can be taken of
_PADDING = -1  # behind the end of a label


class CTCLoss(Loss):
    """``-log`` of the probability of the label, summed over all its alignments (Graves et al. 2006, section 4.1).

    Called as ``loss(pred, label, pred_lengths=None, label_lengths=None, sample_weight=None)``, it gives ``(batch,)`` in the
    dtype of ``pred``; float16 is computed in float32.
    pred: scores before the softmax, in ``layout`` ``"NTC"``, (batch, time, classes), or ``"TNC"``; the last class is the
    blank.
    label: numbers of classes in label_layout ``"NT"`` or ``"TN"``, filled up with -1.
    pred_lengths, label_lengths: ``(batch,)``, how many steps and labels count; by default all steps, and the labels before
    the first -1.

    The loss of a label that has no alignment, being too long, is infinite. See ``Loss`` for ``weight`` and
    ``sample_weight``.

    Raises UsageError for other layouts, ShapeError where ``pred`` has not three axes, or ``label`` not two.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.CTCLoss()(np.zeros((1, 2, 3)), np.array([[0, -1]]))  # "a-", "-a" and "aa", each with probability 1/9
    array([1.0986123])
    """

    def __init__(
        self,
        layout: str = "NTC",
        label_layout: str = "NT",
        weight: float | None = None,
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, 0, **names)
        if layout not in ("NTC", "TNC") or label_layout not in ("NT", "TN"):
            raise UsageError(
                f"layout={layout!r}, label_layout={label_layout!r}; use 'NTC' or 'TNC', and 'NT' or 'TN'"
            )
        self._layout, self._label_layout = layout, label_layout

    def forward(
        self,
        pred: ArrayLike,
        label: ArrayLike,
        pred_lengths: ArrayLike | None = None,
        label_lengths: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ndarray:
        scores = floated(np.asarray(pred))
        labels = np.asarray(label).astype("int64")
        if scores.ndim != 3 or labels.ndim != 2:
            raise ShapeError(
                f"{self._label} expects predictions of three axes and labels of two; found shapes {scores.shape} and "
                f"{labels.shape}"
            )
        wide = scores.astype("float32") if scores.dtype == "float16" else scores
        items = wide if self._layout == "NTC" else np.swapaxes(wide, 0, 1)
        rows = labels if self._label_layout == "NT" else labels.T
        loss = _negative_log_likelihood(
            npx.log_softmax(items),
            rows,
            None if pred_lengths is None else np.asarray(pred_lengths),
            _lengths(rows) if label_lengths is None else np.asarray(label_lengths).astype("int64"),
        )
        return self._weighted(loss.astype(scores.dtype), sample_weight)


@size_agnostic
def _lengths(labels: ndarray) -> ndarray:
    """How many labels stand before the first padding of each row."""
    most = labels.shape[1]
    return (
        np.min(np.where(labels == _PADDING, np.arange(most, dtype="int64"), most), 1)
        if most
        else np.sum(labels, 1)
    )


@size_agnostic
def _negative_log_likelihood(
    logs: ndarray, labels: ndarray, pred_lengths: ndarray | None, label_lengths: ndarray
) -> ndarray:
    """logs: ``(batch, time, classes)``. The forward variables of section 4.1, as logarithms."""
    blank = logs.shape[2] - 1
    symbols = _with_blanks(labels, blank)
    emitted = np.maximum(np.take_along_axis(logs, symbols[:, None], 2), _IMPOSSIBLE)
    skips = np.logical_and(symbols[:, 2:] != symbols[:, :-2], symbols[:, 2:] != blank)
    reached = np.where(np.arange(symbols.shape[1]) < 2, emitted[:, 0], _IMPOSSIBLE)
    for time in range(1, logs.shape[1]):
        following = _step(reached, skips) + emitted[:, time]
        if pred_lengths is not None:
            following = np.where(np.expand_dims(time < pred_lengths, 1), following, reached)
        reached = following
    loss = -_ended(reached, label_lengths)
    possible: ndarray = np.where(loss > -_IMPOSSIBLE / 2, np.inf, loss)
    return possible


@size_agnostic
def _with_blanks(labels: ndarray, blank: int) -> ndarray:
    """A blank before, between and behind the labels; those that are padding become blanks too."""
    symbols = np.where(labels == _PADDING, blank, labels)
    pairs = np.stack([np.full_like(symbols, blank), symbols], -1)
    start = np.reshape(pairs, (labels.shape[0], 2 * labels.shape[1]))
    return np.concatenate([start, np.full((labels.shape[0], 1), blank, symbols.dtype)], 1)


@size_agnostic
def _step(reached: ndarray, skips: ndarray) -> ndarray:
    """A symbol is reached from itself, from the one before, and past a blank between two different labels."""
    nothing = np.full((reached.shape[0], 2), _IMPOSSIBLE, reached.dtype)
    moved = np.concatenate([nothing[:, :1], reached[:, :-1]], 1)
    jumped = np.concatenate([nothing, np.where(skips, reached[:, :-2], _IMPOSSIBLE)], 1)
    return _log_of_sum(reached, moved, jumped[:, : reached.shape[1]])


def _log_of_sum(*logs: ndarray) -> ndarray:
    """The logarithm of the sum of numbers of which the logarithms are given, all finite."""
    largest = npx.stop_gradient(reduce(np.maximum, logs))
    return largest + np.log(reduce(np.add, [np.exp(x - largest) for x in logs]))


def _ended(reached: ndarray, label_lengths: ndarray) -> ndarray:
    """The probability of standing on the last label or on the blank behind it."""
    behind = np.expand_dims(2 * label_lengths, 1)
    blank = np.take_along_axis(reached, behind, 1)
    last = np.take_along_axis(reached, np.maximum(behind - 1, 0), 1)
    return np.squeeze(_log_of_sum(blank, np.where(behind > 0, last, _IMPOSSIBLE)), 1)
