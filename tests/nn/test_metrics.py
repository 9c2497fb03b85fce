"""Metrics against their formulas over everything at once, in float64, batch by batch and otherwise."""

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import gluon, metric, np
from blockfuse.ir.errors import ShapeError, UsageError

RANDOM = numpy.random.default_rng(5)
N, C = 57, 5
CLASSES = RANDOM.integers(0, C, N)
SCORES = RANDOM.random((N, C)).astype("float32")
PROBABILITIES = SCORES / SCORES.sum(1, keepdims=True)
BITS = RANDOM.integers(0, 2, N)
SHARES = RANDOM.random(N).astype("float32")
X, Y = RANDOM.normal(size=(2, N, 3))


def softmax(x: numpy.ndarray) -> Any:
    e = numpy.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(probabilities: numpy.ndarray, eps: float = 1e-12) -> float:
    return float(-numpy.log(probabilities.astype("float64")[numpy.arange(N), CLASSES] + eps).mean())


def binary_counts() -> tuple[int, int, int, int]:
    positive = SHARES > 0.5
    return (
        int((positive & (BITS == 1)).sum()),
        int((~positive & (BITS == 0)).sum()),
        int((positive & (BITS == 0)).sum()),
        int((~positive & (BITS == 1)).sum()),
    )


def f_of_class(c: int, beta: float = 1) -> float:
    predicted = SCORES.argmax(1)
    hit = int(((predicted == c) & (c == CLASSES)).sum())
    precision, recall = hit / int((predicted == c).sum()), hit / int((c == CLASSES).sum())
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall) if hit else 0.0


TP, TN, FP, FN = binary_counts()
MATTHEWS = (TP * TN - FP * FN) / math.sqrt((TP + FP) * (TP + FN) * (TN + FP) * (TN + FN))

# what is made, labels, predictions, value
FORMULAS: list[tuple[Callable[[], Any], Any, Any, Any]] = [
    (metric.Accuracy, CLASSES, SCORES, (SCORES.argmax(1) == CLASSES).mean()),
    (metric.Accuracy, CLASSES, SCORES.argmax(1), (SCORES.argmax(1) == CLASSES).mean()),
    (metric.Accuracy, CLASSES[:, None].astype("float32"), SCORES, (SCORES.argmax(1) == CLASSES).mean()),
    (lambda: metric.TopKAccuracy(1), CLASSES, SCORES, (SCORES.argmax(1) == CLASSES).mean()),
    (
        lambda: metric.TopKAccuracy(3),
        CLASSES,
        SCORES,
        (numpy.argsort(-SCORES, 1)[:, :3] == CLASSES[:, None]).any(1).mean(),
    ),
    (lambda: metric.TopKAccuracy(9), CLASSES, SCORES, 1),
    (metric.BinaryAccuracy, BITS, SHARES, ((SHARES > 0.5) == BITS).mean()),
    (lambda: metric.BinaryAccuracy(threshold=0.2), BITS[:, None], SHARES, ((SHARES > 0.2) == BITS).mean()),
    (metric.F1, BITS, SHARES, 2 * TP / (2 * TP + FP + FN)),
    (metric.F1, BITS, numpy.stack([1 - SHARES, SHARES], 1), 2 * TP / (2 * TP + FP + FN)),
    (
        lambda: metric.F1(class_type="multiclass", average=None),
        CLASSES,
        SCORES,
        [f_of_class(c) for c in range(C)],
    ),
    (
        lambda: metric.F1(class_type="multiclass", average="macro"),
        CLASSES,
        SCORES,
        numpy.mean([f_of_class(c) for c in range(C)]),
    ),
    (lambda: metric.F1(class_type="multiclass"), CLASSES, SCORES, (SCORES.argmax(1) == CLASSES).mean()),
    (
        lambda: metric.Fbeta(class_type="multiclass", average=None, beta=2),
        CLASSES,
        SCORES,
        [f_of_class(c, 2) for c in range(C)],
    ),
    (
        lambda: metric.F1(class_type="multilabel"),
        numpy.stack([BITS, BITS], 1),
        numpy.stack([SHARES, SHARES], 1),
        2 * TP / (2 * TP + FP + FN),
    ),
    (metric.MCC, BITS, SHARES, MATTHEWS),
    (metric.MAE, X, Y, numpy.abs(X - Y).mean()),
    (metric.MSE, X, Y, ((X - Y) ** 2).mean()),
    (metric.RMSE, X, Y, math.sqrt(((X - Y) ** 2).mean())),
    (metric.MSE, X[:, 0], Y[:, :1], ((X[:, 0] - Y[:, 0]) ** 2).mean()),
    (metric.MeanPairwiseDistance, X, Y, numpy.sqrt(((X - Y) ** 2).sum(1)).mean()),
    (lambda: metric.MeanPairwiseDistance(p=1), X, Y, numpy.abs(X - Y).sum(1).mean()),
    (
        metric.MeanCosineSimilarity,
        X,
        Y,
        ((X * Y).sum(1) / numpy.sqrt((X * X).sum(1) * (Y * Y).sum(1))).mean(),
    ),
    (metric.CrossEntropy, CLASSES, PROBABILITIES, cross_entropy(PROBABILITIES)),
    (lambda: metric.CrossEntropy(eps=0.1), CLASSES, PROBABILITIES, cross_entropy(PROBABILITIES, 0.1)),
    (
        lambda: metric.CrossEntropy(from_logits=True),
        CLASSES,
        700 * SCORES,
        cross_entropy(softmax((700 * SCORES).astype("float64")), 0),
    ),
    (metric.NegativeLogLikelihood, CLASSES, PROBABILITIES, cross_entropy(PROBABILITIES)),
    (metric.Perplexity, CLASSES, PROBABILITIES, math.exp(cross_entropy(PROBABILITIES))),
    (metric.PearsonCorrelation, X, Y, numpy.corrcoef(X.ravel(), Y.ravel())[0, 1]),
    (metric.PearsonCorrelation, X + 1e6, 3 * X - 1e7, 1),
    (metric.Loss, X, SHARES, SHARES.astype("float64").mean()),
]
IDS = [f"{n}-{type(make()).__name__}" for n, (make, *_) in enumerate(FORMULAS)]


@pytest.mark.parametrize("sizes", [(N,), (1, 20, 0, 36), (1,) * N], ids=["whole", "parts", "single"])
@pytest.mark.parametrize(("make", "labels", "preds", "value"), FORMULAS, ids=IDS)
def test_value_is_that_of_the_formula(
    make: Any, labels: Any, preds: Any, value: Any, sizes: tuple[int, ...]
) -> None:
    measure = make()
    for round_ in range(2):
        measure.reset()
        assert math.isnan(measure.get()[1])
        start = 0
        for size in sizes:
            here = slice(start, start + size)
            measure.update(np.array(labels[here]), [preds[here], np.array(preds[here])][round_])
            start += size
        numpy.testing.assert_allclose(measure.get()[1], value, rtol=1e-9, atol=1e-12)


def test_several_arrays_count_like_several_batches() -> None:
    one, other = metric.Accuracy(), metric.Accuracy()
    one.update(
        [np.array(CLASSES[:20]), np.array(CLASSES[20:])], [np.array(SCORES[:20]), np.array(SCORES[20:])]
    )
    other.update(CLASSES, SCORES)
    assert one.get() == other.get()
    with pytest.raises(ShapeError, match="2 arrays of labels do not fit 1"):
        one.update([np.zeros(1), np.zeros(1)], [np.zeros(1)])


def test_sums_are_float64() -> None:
    loss = metric.Loss()
    loss.update(None, np.full((1 << 20,), 0.1))
    assert loss.get()[1] == pytest.approx(float(numpy.float32(0.1)), rel=1e-12)
    half = metric.MSE()
    half.update(np.full((300,), 300.0, dtype="float16"), np.zeros(300, dtype="float16"))
    assert half.get()[1] == 90000


@pytest.mark.parametrize(
    ("make", "labels", "preds", "error"),
    [
        (metric.Accuracy, [0, 1], [0.2, 0.9], UsageError),  # probabilities, not classes
        (metric.Accuracy, [0, 1], [[0.2], [0.9]], ShapeError),
        (metric.Accuracy, [0, -1], [[0.2, 0.8], [0.9, 0.1]], UsageError),
        (metric.Accuracy, [0, 1, 1], [[0.2, 0.8], [0.9, 0.1]], ShapeError),
        (metric.Accuracy, [0, float("nan")], [[0.2, 0.8], [0.9, 0.1]], UsageError),
        (metric.TopKAccuracy, [0, 2], [[0.2, 0.8], [0.9, 0.1]], UsageError),
        (metric.CrossEntropy, [0, -1], [[0.2, 0.8], [0.9, 0.1]], UsageError),
        (metric.CrossEntropy, [0, 2], [[0.2, 0.8], [0.9, 0.1]], UsageError),
        (metric.CrossEntropy, [0, 1], [[0.2, -0.8], [0.9, 0.1]], UsageError),
        (metric.CrossEntropy, [0], [[0.2, 0.8], [0.9, 0.1]], ShapeError),
        (metric.F1, [0, 2], [0.2, 0.8], UsageError),
        (metric.MCC, [0, 1, 1], [0.2, 0.8], ShapeError),
        (metric.MSE, [1.0, 2.0, 3.0], [[1.0, 2.0, 3.0]] * 3, ShapeError),  # would broadcast
        (metric.MAE, [[1.0, 2.0]], [[1.0], [2.0], [3.0]], ShapeError),
        (metric.MeanCosineSimilarity, [1.0, 2.0], [[1.0], [2.0]], ShapeError),
        (metric.MAE, ["a"], ["b"], UsageError),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    make: Any, labels: Any, preds: Any, error: Any
) -> None:
    measure = make()
    before = dict(vars(measure))
    with pytest.raises(error):
        measure.update(labels, preds)
    assert {key: str(value) for key, value in vars(measure).items()} == {
        key: str(value) for key, value in before.items()
    }


def test_ignored_labels_do_not_count() -> None:
    preds = [[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]
    for ignored in (-1, 7):
        measure = metric.Perplexity(ignore_label=ignored)
        measure.update([0, ignored, 1], preds)
        assert measure.get()[1] == pytest.approx(math.exp(-(math.log(0.5) + math.log(0.9)) / 2))
    measure.reset()
    measure.update([7, 7, 7], preds)
    assert math.isnan(measure.get()[1])


def test_ends_of_the_formulas() -> None:
    f1, mcc = metric.F1(), metric.MCC()
    for measure in (f1, mcc):
        measure.update([0, 0], [0.1, 0.2])
        assert measure.get()[1] == 0
    constant = metric.PearsonCorrelation()
    constant.update([1.0, 1.0], [1.0, 2.0])
    assert math.isnan(constant.get()[1])
    zero = metric.MeanCosineSimilarity()
    zero.update([[0.0, 0.0]], [[1.0, 2.0]])
    assert zero.get()[1] == 0
    certain = metric.CrossEntropy()
    certain.update([0], [[0.0, 1.0]])
    assert certain.get()[1] == pytest.approx(-math.log(1e-12))
    perplexity = metric.Perplexity(from_logits=True)
    perplexity.update([0], [[0.0, 1e4]])
    assert perplexity.get()[1] == math.inf


def test_equal_scores_are_ranked_by_class() -> None:
    measure = metric.TopKAccuracy(2)
    measure.update([0, 1, 2, 0], [[1.0, 1, 1], [1, 1, 1], [1, 1, 1], [float("nan")] * 3])
    assert measure.get() == ("top_k_accuracy_2", 0.5)


def test_classes_of_multiclass_counts_may_grow() -> None:
    f1 = metric.F1(class_type="multiclass", average=None)
    f1.update([0, 1], [[0.9, 0.1], [0.2, 0.8]])
    f1.update([2], [[0.1, 0.2, 0.7]])
    assert f1.get()[1].tolist() == [1, 1, 1]


def test_composite_and_names() -> None:
    both = metric.create(["acc", metric.CrossEntropy(name="ce"), ["top_k_acc"]])
    both.update(CLASSES, PROBABILITIES)
    names, values = both.get()
    assert names == ["accuracy", "ce", "top_k_accuracy_1"]
    assert both.get_name_value() == list(zip(names, values, strict=True))
    assert "accuracy" in str(both)
    both.add("mse")
    assert isinstance(both.get_metric(3), metric.MSE)
    both.reset()
    assert all(math.isnan(value) for value in both.get()[1])


def test_create_by_name() -> None:
    kept = metric.MAE()
    assert metric.create(kept) is kept
    for name in (
        "acc",
        "Accuracy",
        "ce",
        "cross-entropy",
        "nll_loss",
        "pearsonr",
        "rmse",
        "perplexity",
        "mcc",
        "f1",
    ):
        assert isinstance(metric.create(name), metric.EvalMetric)
    assert metric.create("top_k_accuracy", top_k=3).get()[0] == "top_k_accuracy_3"
    with pytest.raises(UsageError, match=r"no metric 'accuracies'.*accuracy"):
        metric.create("accuracies")

    @metric.register
    class Largest(metric.EvalMetric):
        def update(self, labels: Any, preds: Any) -> None:  # noqa: ARG002
            self.sum_metric, self.num_inst = float(preds.max()), 1

    largest = metric.create("largest", "peak")
    largest.update(None, np.array([1, 4]))
    assert largest.get() == ("peak", 4)


def test_functions_as_metrics() -> None:
    mean = metric.np(lambda label, pred: (float((label == pred).sum()), label.size), "same")
    mean.update([1, 2, 3], [1, 2, 4])
    mean.update([1], [1])
    assert mean.get() == ("same", 0.75)

    def worst(label: numpy.ndarray, pred: numpy.ndarray) -> float:
        return float(abs(label - pred).max())

    extra = metric.CustomMetric(worst, allow_extra_outputs=True)
    extra.update([np.array([1.0])], [np.array([3.0]), np.array([9.0])])
    assert extra.get() == ("worst", 2)


def test_dicts_of_named_arrays() -> None:
    measure = metric.MSE(output_names=["y"], label_names=["t"])
    measure.update_dict({"t": np.ones(2), "u": np.ones(2)}, {"y": np.zeros(2), "z": np.zeros(3)})
    assert measure.get()[1] == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: metric.TopKAccuracy(0),
        lambda: metric.F1(class_type="several"),
        lambda: metric.F1(average="weighted"),
        lambda: metric.MeanPairwiseDistance(p=0),
    ],
)
def test_impossible_arguments(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_a_hybridized_function_updates_a_metric_in_each_call() -> None:
    measure = metric.Accuracy()
    net = gluon.nn.Dense(C)
    net.initialize()

    def step(x: Any, y: Any) -> Any:
        scores = net(x)
        measure.update(y, scores)
        return scores

    compiled = blockfuse.hybridize(step)
    for n in range(1, 6):
        compiled(np.ones((3, 2)), np.zeros(3))
        assert measure.num_inst == 3 * n


def test_metrics_are_also_found_in_gluon() -> None:
    assert gluon.metric.Accuracy is metric.Accuracy
