"""Whole trainings beside torch's: after hundreds of steps losses are as near to float64 as torch's are.

NOTE [how losses are compared]
Rounding grows over steps, so two float32 trainings part, and equal losses say nothing. What can be held against each other
is how far each is from the same formulas in float64 (torch's), by the root of the mean square over all steps: ours may be at
most twice as far as torch's, or as far as numbers of float32 are apart where the losses are. Ours must also be near to
float64 itself.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy
import pytest

import blockfuse
from blockfuse import gluon, nn, np

torch = pytest.importorskip("torch")

BATCH = 32
OPTIMIZERS = {
    "sgd": ({"learning_rate": 0.02, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.9}),
    "adam": ({"learning_rate": 0.003}, {"lr": 0.003}),
}


def parameters_of(units: tuple[int, ...]) -> list[numpy.ndarray]:
    """Weights, units times inputs, and biases."""
    rng = numpy.random.default_rng(0)
    shapes = [shape for before, after in pairwise(units) for shape in ((after, before), (after,))]
    return [rng.uniform(-1, 1, s).astype("float32") * (3 / s[-1]) ** 0.5 for s in shapes]


def batches(units: tuple[int, ...], steps: int) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Points around as many centres as there are classes."""
    rng = numpy.random.default_rng(1)
    centres = rng.normal(size=(units[-1], units[0]))
    for _ in range(steps):
        labels = rng.integers(0, units[-1], BATCH)
        yield (centres[labels] + 2 * rng.normal(size=(BATCH, units[0]))).astype("float32"), labels


def our_losses(units: tuple[int, ...], steps: int, optimizer: str) -> numpy.ndarray:
    drawn = parameters_of(units)
    net = nn.Sequential()
    for weight in drawn[::2]:
        activation = None if weight is drawn[-2] else "relu"
        net.add(nn.Dense(len(weight), activation=activation, in_units=weight.shape[1]))
    net.initialize()
    for parameter, value in zip(net.collect_params().values(), drawn, strict=True):
        parameter.set_data(np.array(value))
    trainer = gluon.Trainer(net.collect_params(), optimizer, OPTIMIZERS[optimizer][0])
    step = blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    losses = [numpy.asarray(step(x, labels)).mean(dtype=float) for x, labels in batches(units, steps)]
    assert ": compiled" in step.explain().splitlines()[0]
    return numpy.array(losses)


def torch_losses(units: tuple[int, ...], steps: int, optimizer: str, dtype: str) -> numpy.ndarray:
    kind = getattr(torch, dtype)
    parameters = [torch.tensor(p, dtype=kind, requires_grad=True) for p in parameters_of(units)]
    changing = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](
        parameters, **OPTIMIZERS[optimizer][1]
    )
    losses = []
    for x, labels in batches(units, steps):
        h = torch.tensor(x, dtype=kind)
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            h = torch.relu(torch.nn.functional.linear(h, weight, bias))
        scores = torch.nn.functional.linear(h, *parameters[-2:])
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels), reduction="none")
        changing.zero_grad()
        loss.mean().backward()
        changing.step()
        losses.append(loss.detach().numpy().mean(dtype=float))
    return numpy.array(losses)


def distance(losses: numpy.ndarray, wanted: numpy.ndarray) -> float:
    return float(numpy.sqrt(((losses - wanted) ** 2).mean()))


def assert_as_near_as_torch(units: tuple[int, ...], steps: int, optimizer: str) -> None:
    wanted = torch_losses(units, steps, optimizer, "float64")
    ours = distance(our_losses(units, steps, optimizer), wanted)
    theirs = distance(torch_losses(units, steps, optimizer, "float32"), wanted)
    assert wanted[-5:].mean() < 0.8 * wanted[:5].mean()  # they learn
    spacing = float(numpy.finfo("float32").eps * wanted.mean())
    assert ours <= max(2 * theirs, spacing), (ours, theirs)
    assert ours < 1e-5 * wanted.max(), ours


@pytest.mark.spread(2)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_short_training_is_as_near_to_float64_as_torchs(optimizer: str) -> None:
    assert_as_near_as_torch((24, 16, 5), 60, optimizer)


@pytest.mark.long
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("units", [(64, 64, 10), (784, 256, 128, 10)], ids=str)
def test_a_training_of_200_steps_is_as_near_to_float64_as_torchs(
    units: tuple[int, ...], optimizer: str
) -> None:
    assert_as_near_as_torch(units, 200, optimizer)
