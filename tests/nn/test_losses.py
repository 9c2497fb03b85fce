"""Losses against formulas in float64 and against torch: forms of labels, weights, shapes, edge values."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import gluon
from blockfuse.array import np
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn import losses

RNG = numpy.random.default_rng(3)
SCORES = RNG.normal(size=(6, 5)) * 3
NUMBERS = RNG.normal(size=(6, 5)) * 3
SIGNS = numpy.sign(RNG.normal(size=(6, 5)))
BITS = (SIGNS + 1) / 2
CHANCES = RNG.uniform(0.05, 0.95, size=(6, 5))
SHARES = RNG.dirichlet(numpy.ones(5), size=6)
CLASSES = numpy.array([0, 4, 2, 1, 3, 2])
COUNTS = RNG.poisson(3.0, size=(6, 5)).astype(float)
ROWS = numpy.array([0.5, 0.0, 2.0, 1.0, 3.0, 0.25])


def given(values: numpy.ndarray, dtype: str = "float32") -> Any:
    return np.array(values, dtype=dtype)


def check(found: Any, wanted: numpy.ndarray, dtype: str = "float32") -> None:
    assert found.dtype == dtype
    assert found.shape == wanted.shape
    rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-11, 1e-12)
    numpy.testing.assert_allclose(found.asnumpy(), wanted, rtol=rtol, atol=atol)


def log_softmax(x: numpy.ndarray, axis: int = -1) -> numpy.ndarray:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis, keepdims=True))


def sigmoid(x: numpy.ndarray) -> numpy.ndarray:
    return 1 / (1 + numpy.exp(-x))


def cross_entropy(p: numpy.ndarray, label: numpy.ndarray, weight: float = 1.0) -> numpy.ndarray:
    return -(weight * label * numpy.log(p) + (1 - label) * numpy.log(1 - p))


def stirling(n: numpy.ndarray) -> numpy.ndarray:
    safe = numpy.maximum(n, 1)
    return numpy.where(n > 1, n * numpy.log(safe) - n + 0.5 * numpy.log(2 * numpy.pi * safe), 0)


def huber(error: numpy.ndarray, rho: float) -> numpy.ndarray:
    return numpy.where(abs(error) > rho, abs(error) - rho / 2, error**2 / (2 * rho))


# loss, its two arguments, the losses of all elements by a formula
ELEMENTWISE: list[tuple[losses.Loss, numpy.ndarray, numpy.ndarray, numpy.ndarray]] = [
    (losses.L1Loss(), SCORES, NUMBERS, abs(SCORES - NUMBERS)),
    (losses.L2Loss(), SCORES, NUMBERS, (SCORES - NUMBERS) ** 2 / 2),
    (losses.HuberLoss(), SCORES, NUMBERS, huber(SCORES - NUMBERS, 1)),
    (losses.HuberLoss(rho=2.5), SCORES, NUMBERS, huber(SCORES - NUMBERS, 2.5)),
    (losses.LogCoshLoss(), SCORES, NUMBERS, numpy.log(numpy.cosh(SCORES - NUMBERS))),
    (losses.SigmoidBCELoss(), SCORES, BITS, cross_entropy(sigmoid(SCORES), BITS)),
    (losses.SigmoidBCELoss(), SCORES, CHANCES, cross_entropy(sigmoid(SCORES), CHANCES)),
    (losses.SigmoidBCELoss(from_sigmoid=True), CHANCES, BITS, cross_entropy(CHANCES, BITS)),
    (losses.LogisticLoss(), SCORES, SIGNS, numpy.log1p(numpy.exp(-SCORES * SIGNS))),
    (losses.LogisticLoss(label_format="binary"), SCORES, BITS, numpy.log1p(numpy.exp(-SCORES * SIGNS))),
    (losses.HingeLoss(), SCORES, SIGNS, numpy.maximum(0, 1 - SCORES * SIGNS)),
    (losses.HingeLoss(margin=2), SCORES, SIGNS, numpy.maximum(0, 2 - SCORES * SIGNS)),
    (losses.SquaredHingeLoss(), SCORES, SIGNS, numpy.maximum(0, 1 - SCORES * SIGNS) ** 2),
    (losses.KLDivLoss(), log_softmax(SCORES), SHARES, SHARES * (numpy.log(SHARES) - log_softmax(SCORES))),
    (losses.KLDivLoss(from_logits=False), SCORES, SHARES, SHARES * (numpy.log(SHARES) - log_softmax(SCORES))),
    (losses.PoissonNLLLoss(), SCORES / 3, COUNTS, numpy.exp(SCORES / 3) - COUNTS * SCORES / 3),
    (
        losses.PoissonNLLLoss(from_logits=False, compute_full=True),
        CHANCES,
        COUNTS,
        CHANCES - COUNTS * numpy.log(CHANCES) + stirling(COUNTS),
    ),
]
IDS = [f"{type(row[0]).__name__}-{n}" for n, row in enumerate(ELEMENTWISE)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("criterion", "pred", "label", "wanted"), ELEMENTWISE, ids=IDS)
def test_a_loss_is_the_mean_of_its_formula(
    criterion: losses.Loss, pred: numpy.ndarray, label: numpy.ndarray, wanted: numpy.ndarray, dtype: str
) -> None:
    tolerated = "float32" if criterion._label.startswith("Poisson") else dtype  # its epsilon is 1e-8
    found = criterion(given(pred, dtype), given(label, dtype))
    assert found.dtype == dtype
    check(found.astype(tolerated), wanted.mean(1), tolerated)


@pytest.mark.parametrize(("criterion", "pred", "label", "wanted"), ELEMENTWISE, ids=IDS)
def test_a_sample_weight_counts_samples_or_elements(
    criterion: losses.Loss, pred: numpy.ndarray, label: numpy.ndarray, wanted: numpy.ndarray
) -> None:
    for weight in (ROWS, ROWS[:, None], CHANCES, CHANCES[:1]):
        spread = weight[:, None] if weight.ndim == 1 else weight
        check(criterion(given(pred), given(label), given(weight)), (wanted * spread).mean(1))


@pytest.mark.parametrize(("criterion", "pred", "label", "wanted"), ELEMENTWISE, ids=IDS)
def test_shapes_and_batch_axis(
    criterion: losses.Loss, pred: numpy.ndarray, label: numpy.ndarray, wanted: numpy.ndarray
) -> None:
    if isinstance(criterion, losses.KLDivLoss):
        pytest.skip("its classes lie along the last axis")
    check(criterion(given(pred[:, 0]), given(label[:, 0])), wanted[:, 0])
    check(criterion(given(pred[:, :1]), given(label[:, 0])), wanted[:, 0])
    check(criterion(given(pred.reshape(3, 2, 5)), given(label.reshape(3, 10))), wanted.reshape(3, 10).mean(1))
    check(criterion(given(pred[:0]), given(label[:0])), wanted[:0, 0])


@pytest.mark.spread(7)
@pytest.mark.parametrize(("criterion", "pred", "label", "wanted"), ELEMENTWISE, ids=IDS)
def test_compiled_as_eager(
    criterion: losses.Loss, pred: numpy.ndarray, label: numpy.ndarray, wanted: numpy.ndarray
) -> None:
    criterion.hybridize()
    try:
        for _ in range(3):
            check(criterion(given(pred), given(label)), wanted.mean(1))
        check(criterion(given(pred[:3]), given(label[:3])), wanted[:3].mean(1))
        explained = criterion.explain()
    finally:
        criterion.hybridize(False)
    assert " 1 kernels" in explained
    assert "float32[any, 5]" in explained, "a program for every size of the batch"


def test_weight_and_batch_axis_of_the_constructor() -> None:
    pred, label = given(SCORES), given(NUMBERS)
    error = abs(SCORES - NUMBERS)
    check(losses.L1Loss(weight=3)(pred, label), 3 * error.mean(1))
    check(losses.L2Loss(weight=3)(pred, label), 1.5 * (error**2).mean(1))
    check(losses.L1Loss(batch_axis=1)(pred, label), error.mean(0))
    check(losses.L1Loss(batch_axis=1)(pred, label, given(ROWS[:5])), (error * ROWS[:5]).mean(0))
    assert repr(losses.L2Loss()) == "L2Loss(batch_axis=0, w=0.5)"


def test_labels_that_would_mix_samples_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"label of shape \(5, 6\) does not fit .*\(6, 5\)"):
        losses.L2Loss()(given(SCORES), given(NUMBERS.T))
    with pytest.raises(ShapeError, match=r"label of shape \(6,\)"):
        losses.L2Loss()(given(SCORES), given(NUMBERS[:, 0]))
    with pytest.raises(ShapeError, match="pos_weight of shape"):
        losses.SigmoidBCELoss()(given(SCORES[:, :1]), given(BITS[:, :1]), None, given(ROWS[:5]))
    with pytest.raises(ShapeError, match="sample_weight"):
        losses.L2Loss()(given(SCORES[:, :1]), given(NUMBERS[:, :1]), given(CHANCES))


def test_integer_labels_and_weights_do_not_change_the_dtype() -> None:
    check(losses.L2Loss()(given(SCORES), given(BITS, "int64")), ((SCORES - BITS) ** 2 / 2).mean(1))
    check(losses.L1Loss()(given(SCORES), BITS, BITS > 0), (abs(SCORES - BITS) * BITS).mean(1))


# -- softmax cross entropy -----------------------------------------------------------------------------------


def entropies(scores: numpy.ndarray, classes: numpy.ndarray) -> numpy.ndarray:
    return -numpy.take_along_axis(log_softmax(scores), classes[..., None], -1)[..., 0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_sparse_labels_of_every_dtype(dtype: str, shape: tuple[int, ...]) -> None:
    label = given(CLASSES.reshape(shape), dtype)
    check(losses.SoftmaxCELoss()(given(SCORES), label), entropies(SCORES, CLASSES))
    logs = given(log_softmax(SCORES))
    check(losses.SoftmaxCELoss(from_logits=True)(logs, label), entropies(SCORES, CLASSES))


def test_dense_labels() -> None:
    wanted = -(log_softmax(SCORES) * SHARES).sum(1)
    dense = losses.SoftmaxCELoss(sparse_label=False)
    check(dense(given(SCORES), given(SHARES)), wanted)
    check(dense(given(SCORES), given(SHARES), given(ROWS)), wanted * ROWS)
    logs = losses.SoftmaxCELoss(sparse_label=False, from_logits=True)
    check(logs(given(log_softmax(SCORES)), given(SHARES)), wanted)


def test_classes_along_any_axis_and_weights_of_each_label() -> None:
    scores = RNG.normal(size=(3, 7, 4))
    label = RNG.integers(0, 7, size=(3, 4))
    weight = RNG.uniform(size=(3, 4))
    wanted = entropies(scores.swapaxes(1, 2), label)
    criterion = losses.SoftmaxCELoss(axis=1)
    check(criterion(given(scores), given(label)), wanted.mean(1))
    check(criterion(given(scores), given(label), given(weight)), (wanted * weight).mean(1))
    check(criterion(given(scores), given(label), given(weight[:, None])), (wanted * weight).mean(1))
    check(criterion(given(scores), given(label), given(weight[:, 0])), (wanted * weight[:, :1]).mean(1))
    last = losses.SoftmaxCELoss(axis=0, batch_axis=1)
    check(last(given(scores.swapaxes(0, 1)), given(label)), wanted.mean(1))


def test_sparse_labels_compile_to_one_kernel() -> None:
    criterion = losses.SoftmaxCELoss()
    criterion.hybridize()
    for dtype in ("int64", "float32"):
        for _ in range(3):
            check(criterion(given(SCORES), given(CLASSES, dtype)), entropies(SCORES, CLASSES))
    check(criterion(given(SCORES[:3]), given(CLASSES[:3])), entropies(SCORES, CLASSES)[:3])
    assert criterion.explain().count(" 1 kernels") == 2
    assert "float32[any, 5]" in criterion.explain()


@pytest.mark.long
def test_classes_along_the_first_axis_of_several_sizes_compiled() -> None:
    criterion = losses.SoftmaxCELoss(axis=0, batch_axis=1)
    criterion.hybridize()
    for count in (5, 5, 3, 5):
        scores, label = SCORES.T[:count], CLASSES % count
        check(criterion(given(scores), given(label)), entropies(scores.T, label))


def test_labels_beyond_the_classes_count_as_the_nearest() -> None:
    found = losses.SoftmaxCELoss()(given(SCORES), given(numpy.array([-1, 9, 0, 4, 5, -7]), "int64"))
    check(found, entropies(SCORES, numpy.array([0, 4, 0, 4, 4, 0])))


def test_sparse_labels_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="need sparse_label=False"):
        losses.SoftmaxCELoss()(given(SCORES), given(SHARES))
    with pytest.raises(ShapeError, match="no numbers of classes"):
        losses.SoftmaxCELoss()(given(SCORES), given(CLASSES[:1]))


def test_large_scores_stay_finite() -> None:
    scores = np.array([[1e30, 0, -1e30], [-1e30, -1e30, -1e30]])
    numpy.testing.assert_allclose(
        losses.SoftmaxCELoss()(scores, np.array([0, 1])).asnumpy(), [0, math.log(3)]
    )
    hard, label = np.array([[300, -300, 300, -300]]), np.array([[1, 0, 0, 1]])
    assert float(losses.SigmoidBCELoss()(hard, label)[0]) == 150
    assert float(losses.SigmoidBCELoss()(hard, label, pos_weight=np.array([3]))[0]) == 300
    assert float(losses.LogisticLoss(label_format="binary")(hard, label)[0]) == 150
    assert float(losses.LogCoshLoss()(np.array([1e30]), np.array([0]))[0]) == np.float32(1e30)


def test_small_losses_keep_their_digits() -> None:
    tiny = np.array([1e-4, -1e-4, 0])
    found = losses.LogCoshLoss()(tiny, np.zeros(3)).asnumpy()
    numpy.testing.assert_allclose(found, [5e-9, 5e-9, 0], rtol=1e-5)
    sure = losses.SigmoidBCELoss()(np.array([-20, 20]), np.array([0, 1])).asnumpy()
    numpy.testing.assert_allclose(sure, math.log1p(math.exp(-20)), rtol=1e-5)


def test_impossible_classes_do_not_make_a_dense_loss_nan() -> None:
    scores = np.array([[0, -np.inf, 0]])
    found = losses.SoftmaxCELoss(sparse_label=False)(scores, np.array([[0.5, 0, 0.5]]))
    numpy.testing.assert_allclose(found.asnumpy(), math.log(2), rtol=1e-6)
    zeros = losses.KLDivLoss()(np.array([[0, -np.inf]]), np.array([[1, 0]]))
    assert float(zeros[0]) == 0


def test_probabilities_of_zero_and_one_give_finite_losses() -> None:
    for dtype in ("float16", "float32", "float64"):
        edge, label = np.array([0, 1, 0, 1], dtype=dtype), np.array([0, 1, 1, 0], dtype=dtype)
        found = losses.SigmoidBCELoss(from_sigmoid=True)(edge, label)
        assert found.dtype == dtype
        assert np.isfinite(found).all()
        numpy.testing.assert_allclose(found[:2].asnumpy(), 0, atol=1e-4 if dtype == "float16" else 1e-11)


def test_positives_weigh_more() -> None:
    pos_weight = numpy.array([1.0, 2.0, 0.5, 3.0, 4.0])
    wanted = cross_entropy(sigmoid(SCORES), BITS, pos_weight).mean(1)  # type: ignore[arg-type]
    check(losses.SigmoidBCELoss()(given(SCORES), given(BITS), None, given(pos_weight)), wanted)
    found = losses.SigmoidBCELoss(from_sigmoid=True)(given(CHANCES), given(BITS), None, given(pos_weight))
    check(found, cross_entropy(CHANCES, BITS, pos_weight).mean(1))  # type: ignore[arg-type]


# -- similarity ----------------------------------------------------------------------------------------------


def test_cosine_embedding() -> None:
    kind = numpy.array([1, -1, 1, -1, -1, 1])
    cosine = (
        (SCORES * NUMBERS).sum(1) / numpy.linalg.norm(SCORES, axis=1) / numpy.linalg.norm(NUMBERS, axis=1)
    )
    wanted = numpy.where(kind == 1, 1 - cosine, numpy.maximum(0, cosine - 0.1))
    criterion = losses.CosineEmbeddingLoss(margin=0.1)
    check(criterion(given(SCORES), given(NUMBERS), given(kind)), wanted)
    check(criterion(given(SCORES), given(NUMBERS), given(kind[:, None]), given(ROWS)), wanted * ROWS)
    check(criterion(given(SCORES * 1e-6), given(NUMBERS * 1e6), given(kind)), wanted)
    zeros = criterion(np.zeros((2, 5)), given(NUMBERS[:2]), np.array([1, -1]))
    numpy.testing.assert_array_equal(zeros.asnumpy(), [1, 0])


def test_triplet() -> None:
    near, far = SCORES + NUMBERS / 9, NUMBERS
    wanted = numpy.maximum(0, ((near - SCORES) ** 2 - (far - SCORES) ** 2).sum(1) + 50)
    assert (wanted > 0).any()
    assert (wanted == 0).any()
    criterion = losses.TripletLoss(margin=50)
    check(criterion(given(SCORES), given(near), given(far)), wanted)
    check(criterion(given(SCORES), given(near), given(far), given(ROWS)), wanted * ROWS)


def test_matching_pairs() -> None:
    distances = ((SCORES[:, None] - NUMBERS[None]) ** 2).sum(2)
    shares = numpy.where(numpy.eye(6) == 1, 0.8, 0.2 / 5)
    wanted = (shares * (numpy.log(shares) - log_softmax(-distances))).sum(1)
    criterion = losses.SDMLLoss(smoothing_parameter=0.2)
    check(criterion(given(SCORES), given(NUMBERS)), wanted)
    check(criterion(given(SCORES), given(NUMBERS), given(ROWS)), wanted * ROWS)


# -- sequences -----------------------------------------------------------------------------------------------


def collapsed(alignment: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(alignment) if symbol != blank)


def by_enumeration(scores: numpy.ndarray, label: tuple[int, ...]) -> float:
    """The loss of one sample, from all alignments there are. scores: ``(time, classes)``."""
    logs, (steps, classes) = log_softmax(scores), scores.shape
    total = sum(
        math.exp(sum(logs[t, symbol] for t, symbol in enumerate(alignment)))
        for alignment in itertools.product(range(classes), repeat=steps)
        if collapsed(alignment, classes - 1) == label
    )
    return -math.log(total) if total else math.inf


LABELS = [(0, 1), (1, 1), (), (2,), (0, 1, 0), (0, 0, 0)]


def padded(pad: int) -> numpy.ndarray:
    return numpy.array([[*label, *(pad,) * (3 - len(label))] for label in LABELS])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ctc_is_the_sum_over_all_alignments(dtype: str) -> None:
    scores = RNG.normal(size=(6, 4, 4))
    wanted = numpy.array([by_enumeration(s, label) for s, label in zip(scores, LABELS, strict=True)])
    assert numpy.isinf(wanted).sum() == 1  # three equal labels need two blanks between them
    found = losses.CTCLoss()(given(scores, dtype), given(padded(-1)))
    check(found, wanted, dtype)
    turned = losses.CTCLoss("TNC", "TN")(given(scores.swapaxes(0, 1), dtype), given(padded(-1).T, "int64"))
    check(turned, wanted, dtype)
    lengths = given(numpy.array([len(label) for label in LABELS]))
    check(
        losses.CTCLoss(weight=2.0)(given(scores, dtype), given(padded(1)), None, lengths), 2 * wanted, dtype
    )


def test_ctc_of_sequences_that_end_early() -> None:
    scores, steps = RNG.normal(size=(6, 4, 4)), numpy.array([4, 3, 1, 2, 4, 3])
    wanted = [by_enumeration(s[:t], label) for s, t, label in zip(scores, steps, LABELS, strict=True)]
    found = losses.CTCLoss()(given(scores), given(padded(-1)), given(steps))
    check(found, numpy.array(wanted))


@pytest.mark.long
def test_ctc_compiled_as_eager() -> None:
    scores = RNG.normal(size=(6, 4, 4))
    criterion = losses.CTCLoss()
    expected = criterion(given(scores), given(padded(-1))).asnumpy()
    criterion.hybridize()
    for _ in range(3):
        numpy.testing.assert_allclose(
            criterion(given(scores), given(padded(-1))).asnumpy(), expected, rtol=1e-5
        )


# -- torch ---------------------------------------------------------------------------------------------------


def torch_losses() -> list[tuple[str, losses.Loss, tuple[numpy.ndarray, ...], Callable[..., Any]]]:
    F = pytest.importorskip("torch").nn.functional
    return [
        ("l1", losses.L1Loss(), (SCORES, NUMBERS), F.l1_loss),
        ("l2", losses.L2Loss(weight=2), (SCORES, NUMBERS), F.mse_loss),
        ("huber", losses.HuberLoss(rho=0.7), (SCORES, NUMBERS), lambda *a, **k: F.smooth_l1_loss(*a, beta=0.7, **k)),
        ("bce", losses.SigmoidBCELoss(), (SCORES, BITS), F.binary_cross_entropy_with_logits),
        ("bce_p", losses.SigmoidBCELoss(True), (CHANCES, BITS), F.binary_cross_entropy),
        ("logistic", losses.LogisticLoss(), (SCORES, SIGNS), F.soft_margin_loss),
        ("kl", losses.KLDivLoss(), (log_softmax(SCORES), SHARES), F.kl_div),
        ("poisson", losses.PoissonNLLLoss(), (SCORES / 3, COUNTS), F.poisson_nll_loss),
        ("poisson_full", losses.PoissonNLLLoss(compute_full=True), (SCORES / 3, COUNTS),
         lambda *a, **k: F.poisson_nll_loss(*a, full=True, **k)),
    ]  # fmt: skip


def test_elementwise_losses_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    for name, criterion, arguments, theirs in torch_losses():
        wanted = theirs(*map(torch.tensor, arguments), reduction="none").mean(1).numpy()
        found = criterion(*(given(x, "float64") for x in arguments))
        numpy.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-7, err_msg=name)


def test_other_losses_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    scores, numbers = torch.tensor(SCORES), torch.tensor(NUMBERS)
    wanted = F.cross_entropy(scores, torch.tensor(CLASSES), reduction="none")
    found = losses.SoftmaxCELoss()(given(SCORES, "float64"), given(CLASSES, "int64"))
    numpy.testing.assert_allclose(found.asnumpy(), wanted.numpy(), rtol=1e-12)
    wanted = F.cross_entropy(scores, torch.tensor(SHARES), reduction="none")
    found = losses.SoftmaxCELoss(sparse_label=False)(given(SCORES, "float64"), given(SHARES, "float64"))
    numpy.testing.assert_allclose(found.asnumpy(), wanted.numpy(), rtol=1e-12)
    kind = torch.tensor(SIGNS[:, 0])
    wanted = F.cosine_embedding_loss(scores, numbers, kind, margin=0.2, reduction="none")
    found = losses.CosineEmbeddingLoss(margin=0.2)(
        given(SCORES, "float64"), given(NUMBERS, "float64"), given(SIGNS[:, 0], "float64")
    )
    numpy.testing.assert_allclose(found.asnumpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)


def test_ctc_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    scores = RNG.normal(size=(5, 12, 7)) * 2
    label, steps, sizes = RNG.integers(0, 6, size=(5, 4)), [12, 10, 12, 8, 11], [4, 3, 2, 4, 1]
    wanted = torch.nn.functional.ctc_loss(
        torch.tensor(scores).log_softmax(-1).transpose(0, 1),
        torch.tensor(label),
        torch.tensor(steps),
        torch.tensor(sizes),
        blank=6,
        reduction="none",
    )
    found = losses.CTCLoss()(given(scores, "float64"), given(label), np.array(steps), np.array(sizes))
    numpy.testing.assert_allclose(found.asnumpy(), wanted.numpy(), rtol=1e-10)


# -- names and arguments -------------------------------------------------------------------------------------


def test_names_of_gluon() -> None:
    assert blockfuse.loss is gluon.loss is losses
    assert losses.SoftmaxCELoss is losses.SoftmaxCrossEntropyLoss
    assert losses.SigmoidBCELoss is losses.SigmoidBinaryCrossEntropyLoss

    class Own(gluon.loss.Loss):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(weight=None, batch_axis=0, **kwargs)

        def forward(self, positive: Any, negative: Any) -> Any:
            return -np.sum(np.log(1 / (1 + np.exp(negative - positive))), 0, keepdims=True)

    numpy.testing.assert_allclose(Own(prefix="own_")(np.array([2.0]), np.array([1.0])).asnumpy(), 0.31326166)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: losses.HuberLoss(rho=0),
        lambda: losses.LogisticLoss(label_format="-1/1"),
        lambda: losses.CTCLoss(layout="NCT"),
    ],
)
def test_impossible_settings_are_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(UsageError):
        wrong()
