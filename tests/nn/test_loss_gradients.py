"""Gradients of losses against torch's, and where a formula has a kink or an edge that the loss has not."""

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse.array import autograd, np
from blockfuse.nn import losses

RNG = numpy.random.default_rng(11)
SCORES = RNG.normal(size=(6, 5)) * 3
NUMBERS = RNG.normal(size=(6, 5)) * 3
SIGNS = numpy.sign(RNG.normal(size=(6, 5)))
BITS = (SIGNS + 1) / 2
CHANCES = RNG.uniform(0.05, 0.95, size=(6, 5))
SHARES = RNG.dirichlet(numpy.ones(5), size=6)
CLASSES = RNG.integers(0, 5, size=6)


def slope(criterion: losses.Loss, pred: Any, *labels: Any, dtype: str = "float64") -> numpy.ndarray:
    """The gradient of the sum of losses by the prediction."""
    x = np.array(pred, dtype=dtype)
    x.attach_grad()
    with autograd.record():
        loss = criterion(x, *(np.array(label) for label in labels))
    loss.backward()
    found: numpy.ndarray = x.grad.asnumpy()
    return found


# loss, what it is called with, torch's
TORCHS: list[tuple[losses.Loss, tuple[numpy.ndarray, ...], Callable[..., Any]]] = [
    (losses.L1Loss(), (SCORES, NUMBERS), lambda F: F.l1_loss),
    (losses.L2Loss(weight=2), (SCORES, NUMBERS), lambda F: F.mse_loss),
    (losses.HuberLoss(), (SCORES, NUMBERS), lambda F: F.smooth_l1_loss),
    (losses.SigmoidBCELoss(), (SCORES, BITS), lambda F: F.binary_cross_entropy_with_logits),
    (losses.SigmoidBCELoss(), (SCORES * 30, BITS), lambda F: F.binary_cross_entropy_with_logits),
    (losses.SigmoidBCELoss(True), (CHANCES, BITS), lambda F: F.binary_cross_entropy),
    (losses.LogisticLoss(), (SCORES, SIGNS), lambda F: F.soft_margin_loss),
    (losses.KLDivLoss(), (SCORES, SHARES), lambda F: F.kl_div),
    (losses.PoissonNLLLoss(), (SCORES / 3, abs(NUMBERS)), lambda F: F.poisson_nll_loss),
    (losses.SoftmaxCELoss(), (SCORES, CLASSES), lambda F: F.cross_entropy),
    (losses.SoftmaxCELoss(), (SCORES * 300, CLASSES), lambda F: F.cross_entropy),
    (losses.SoftmaxCELoss(sparse_label=False), (SCORES, SHARES), lambda F: F.cross_entropy),
    (losses.CosineEmbeddingLoss(), (SCORES, NUMBERS, SIGNS[:, 0]), lambda F: F.cosine_embedding_loss),
]


@pytest.mark.parametrize(("criterion", "given", "theirs"), TORCHS, ids=lambda v: getattr(v, "name", ""))
def test_gradients_are_torchs(
    criterion: losses.Loss, given: tuple[numpy.ndarray, ...], theirs: Callable[..., Any]
) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(given[0], requires_grad=True)
    loss = theirs(torch.nn.functional)(x, *map(torch.tensor, given[1:]), reduction="none")
    (loss.mean(1) if loss.ndim > 1 else loss).sum().backward()
    numpy.testing.assert_allclose(slope(criterion, *given), x.grad.numpy(), rtol=1e-7, atol=1e-12)


def test_ctc_has_torchs_gradient() -> None:
    torch = pytest.importorskip("torch")
    scores = RNG.normal(size=(4, 9, 6))
    label, sizes = RNG.integers(0, 5, size=(4, 3)), numpy.array([3, 2, 0, 1])
    x = torch.tensor(scores, requires_grad=True)
    loss = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).transpose(0, 1),
        torch.tensor(label),
        [9] * 4,
        sizes.tolist(),
        blank=5,
        reduction="none",
    )
    loss.sum().backward()
    padded = numpy.where(numpy.arange(3) < sizes[:, None], label, -1)
    numpy.testing.assert_allclose(
        slope(losses.CTCLoss(), scores, padded), x.grad.numpy(), rtol=1e-7, atol=1e-12
    )


def differences(
    criterion: losses.Loss, given: tuple[numpy.ndarray, ...], step: float = 1e-6
) -> numpy.ndarray:
    pred, *labels = given
    found = numpy.zeros_like(pred)
    for place in numpy.ndindex(pred.shape):
        moved = [pred.copy(), pred.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        above, below = (float(np.sum(criterion(np.array(x), *(np.array(v) for v in labels)))) for x in moved)
        found[place] = (above - below) / (2 * step)
    return found


@pytest.mark.parametrize(
    ("criterion", "given"),
    [
        (losses.LogCoshLoss(), (SCORES, NUMBERS)),
        (losses.HingeLoss(), (SCORES, SIGNS)),
        (losses.SquaredHingeLoss(), (SCORES, SIGNS)),
        (losses.TripletLoss(margin=50), (SCORES, SCORES + NUMBERS, NUMBERS)),
        (losses.KLDivLoss(from_logits=False), (SCORES, SHARES)),
        (losses.PoissonNLLLoss(from_logits=False, compute_full=True), (CHANCES, abs(NUMBERS))),
        (losses.CTCLoss(), (SCORES.reshape(3, 2, 5), CLASSES[:3, None] % 4)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_gradients_are_differences(criterion: losses.Loss, given: tuple[numpy.ndarray, ...]) -> None:
    numpy.testing.assert_allclose(
        slope(criterion, *given), differences(criterion, given), rtol=2e-5, atol=1e-7
    )


def test_scores_of_zero_have_the_right_slope() -> None:
    """Where nets with zero weights start; ``relu(x) - x * label + softplus(-abs(x))`` has -1 and 0 there."""
    zeros, label = numpy.zeros(2), numpy.array([1.0, 0.0])
    for criterion in (losses.SigmoidBCELoss(), losses.LogisticLoss(label_format="binary")):
        numpy.testing.assert_array_equal(slope(criterion, zeros, label), [-0.5, 0.5])
    weighted = losses.SigmoidBCELoss()
    found = slope(weighted, zeros, label, numpy.ones(2), numpy.array([3.0, 3.0]))
    numpy.testing.assert_array_equal(found, [-1.5, 0.5])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges_have_finite_slopes(dtype: str) -> None:
    huge = numpy.array([[1e30, 0.0, -1e30], [0.0, 0.0, 0.0]])
    ones = numpy.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    cases: list[tuple[losses.Loss, Any, Any]] = [
        (losses.SoftmaxCELoss(), huge, numpy.array([0, 1])),
        (losses.SoftmaxCELoss(sparse_label=False), huge, ones),
        (losses.SoftmaxCELoss(sparse_label=False), numpy.array([[0.0, -numpy.inf]]), ones[:1, :2]),
        (losses.KLDivLoss(), numpy.array([[0.0, -numpy.inf]]), ones[:1, :2]),
        (losses.SigmoidBCELoss(), huge, ones),
        (losses.LogisticLoss(), huge, 2 * ones - 1),
        (losses.LogCoshLoss(), huge, ones),
        (losses.HuberLoss(), huge, ones),
        (losses.L2Loss(), ones, ones),
    ]
    for criterion, pred, label in cases:
        assert numpy.isfinite(slope(criterion, pred, label, dtype=dtype)).all(), criterion
    cosine = losses.CosineEmbeddingLoss()
    assert numpy.isfinite(slope(cosine, numpy.zeros((2, 3)), ones, numpy.ones(2), dtype=dtype)).all()
