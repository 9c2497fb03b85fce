"""Normalising layers: what torch computes, its gradients and theirs, and the running statistics of batches."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, gluon, nn, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import NotInitializedError, ShapeError, UsageError

torch = pytest.importorskip("torch")

RNG = numpy.random.default_rng(4)
# Gluon's default epsilons, in which torch's differ; its momentum is the share that a batch gets
EPSILON = 1e-5
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}


def torch_of_last(module: Any) -> Callable[[Any], Any]:
    """A module for channels in axis 1, of channels in the last one."""
    return lambda x: module(x.transpose(1, -1)).transpose(1, -1)


def in_front_of_relu(channels: int) -> Any:
    """Torch's batch norm, as one module with a ReLU behind it."""
    module = torch.nn.BatchNorm2d(channels)
    module.register_forward_hook(lambda _, x, result: torch.relu(result))
    return module


# layer, torch's, whether channels are last, shape of the input
PAIRS: dict[str, tuple[Callable[[], nn.Block], Callable[[int], Any], bool, tuple[int, ...]]] = {
    "batch 2-D": (nn.BatchNorm, torch.nn.BatchNorm1d, False, (5, 4)),
    "batch 3-D": (nn.BatchNorm, torch.nn.BatchNorm1d, False, (5, 4, 3)),
    "batch 4-D": (nn.BatchNorm, torch.nn.BatchNorm2d, False, (3, 4, 2, 3)),
    "batch 5-D": (nn.BatchNorm, torch.nn.BatchNorm3d, False, (3, 4, 2, 3, 2)),
    "batch, last axis": (lambda: nn.BatchNorm(axis=-1), torch.nn.BatchNorm2d, True, (3, 2, 3, 4)),
    "batch and relu": (nn.BatchNormReLU, in_front_of_relu, False, (3, 4, 2, 3)),
    "batch of several devices": (nn.SyncBatchNorm, torch.nn.BatchNorm2d, False, (3, 4, 2, 3)),
    "layer": (nn.LayerNorm, lambda n: torch.nn.LayerNorm(n), None, (3, 2, 4)),
    "groups of one": (nn.GroupNorm, lambda n: torch.nn.GroupNorm(1, n), False, (3, 4, 2, 3)),
    "two groups": (lambda: nn.GroupNorm(2), lambda n: torch.nn.GroupNorm(2, n), False, (3, 4, 5)),
    "groups of a table": (lambda: nn.GroupNorm(2), lambda n: torch.nn.GroupNorm(2, n), False, (3, 4)),
    "groups of channels": (lambda: nn.GroupNorm(4), lambda n: torch.nn.GroupNorm(4, n), False, (3, 4, 5)),
    "instance": (
        lambda: nn.InstanceNorm(scale=True),
        lambda n: torch.nn.InstanceNorm2d(n, affine=True),
        False,
        (3, 4, 2, 3),
    ),
    "instance, last axis": (
        lambda: nn.InstanceNorm(axis=-1, scale=True),
        lambda n: torch.nn.InstanceNorm1d(n, affine=True),
        True,
        (3, 5, 4),
    ),
    "mean square": (nn.RMSNorm, lambda n: torch.nn.RMSNorm(n, eps=EPSILON), None, (3, 2, 4)),
}
STATISTICS = ("running_mean", "running_var")
BATCHES = [name for name in PAIRS if name.startswith("batch")]


def pair(name: str) -> tuple[nn.Block, Any, Callable[[Any], Any], numpy.ndarray]:
    """A layer in float64, torch's with the same parameters, torch's as a function of our input, and an input."""
    make, theirs, last, shape = PAIRS[name]
    rng = numpy.random.default_rng(2)
    x = rng.normal(2, 3, shape)
    layer, module = make(), theirs(4).double()
    layer.cast("float64")
    layer.initialize()
    layer(ndarray(x))
    for mine, other in (("gamma", "weight"), ("beta", "bias")):
        if hasattr(layer, mine):
            value = rng.normal(1, 1, 4)
            getattr(layer, mine).set_data(value)
            getattr(module, other).data[...] = torch.tensor(value)
    return layer, module, torch_of_last(module) if last else module, x


def of_gluon(module: Any, x: numpy.ndarray, momentum: float = 0.9) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Torch's running statistics after one batch, without the correction of Bessel that it puts into them."""
    count = x.size // 4
    variance = (module.running_var.numpy() - momentum) * (count - 1) / count + momentum
    return module.running_mean.numpy(), variance


# -- values and gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_trains_as_torch_does(name: str) -> None:
    layer, module, theirs, values = pair(name)
    x, t = ndarray(values), torch.tensor(values, requires_grad=True)
    x.attach_grad()
    head = numpy.random.default_rng(6).normal(size=values.shape)
    with autograd.record():
        y = layer(x)
    y.backward(ndarray(head))
    wanted = theirs(t)
    wanted.backward(torch.tensor(head))
    numpy.testing.assert_allclose(y.asnumpy(), wanted.detach().numpy(), **CLOSE)
    numpy.testing.assert_allclose(x.grad.asnumpy(), t.grad.numpy(), **CLOSE)
    for mine, other in (("gamma", "weight"), ("beta", "bias")):
        if hasattr(layer, mine):
            numpy.testing.assert_allclose(
                getattr(layer, mine).grad().asnumpy(), getattr(module, other).grad.numpy(), **CLOSE
            )


@pytest.mark.parametrize("name", BATCHES)
def test_running_statistics_follow_the_batches_and_serve_predictions(name: str) -> None:
    layer, module, theirs, values = pair(name)
    with autograd.train_mode():
        layer(ndarray(values))
    theirs(torch.tensor(values))
    mean, variance = of_gluon(module, values)
    numpy.testing.assert_allclose(layer.running_mean.data().asnumpy(), mean, **CLOSE)
    numpy.testing.assert_allclose(layer.running_var.data().asnumpy(), variance, **CLOSE)
    module.running_var[...] = torch.tensor(variance)
    module.eval()
    found = layer(ndarray(values)).asnumpy()
    numpy.testing.assert_allclose(found, theirs(torch.tensor(values)).detach().numpy(), **CLOSE)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_gradients_are_those_of_torch(name: str) -> None:
    layer, module, theirs, values = pair(name)
    x, t = ndarray(values), torch.tensor(values, requires_grad=True)
    x.attach_grad()
    head = numpy.random.default_rng(6).normal(size=values.shape)
    with autograd.record():
        slope = autograd.grad((layer(x) * ndarray(head)).sum(), x, create_graph=True)[0]
        total = (slope**3).sum()
    total.backward()
    (theirs_slope,) = torch.autograd.grad((theirs(t) * torch.tensor(head)).sum(), t, create_graph=True)
    (theirs_slope**3).sum().backward()
    numpy.testing.assert_allclose(x.grad.asnumpy(), t.grad.numpy(), rtol=1e-7, atol=1e-9)
    numpy.testing.assert_allclose(
        layer.gamma.grad().asnumpy(), module.weight.grad.numpy(), rtol=1e-7, atol=1e-9
    )


def test_frozen_statistics_have_gradients_as_in_torch() -> None:
    layer, module, _, values = pair("batch 4-D")
    mean, variance = RNG.normal(size=4), RNG.uniform(0.5, 2, 4)
    layer.use_global_stats = True
    layer.running_mean.set_data(mean)
    layer.running_var.set_data(variance)
    module.eval()
    module.running_mean[...], module.running_var[...] = torch.tensor(mean), torch.tensor(variance)
    x, t = ndarray(values), torch.tensor(values, requires_grad=True)
    x.attach_grad()
    with autograd.record():
        loss = (layer(x) ** 3).sum()
    loss.backward()
    (module(t) ** 3).sum().backward()
    numpy.testing.assert_allclose(x.grad.asnumpy(), t.grad.numpy(), **CLOSE)
    numpy.testing.assert_allclose(layer.gamma.grad().asnumpy(), module.weight.grad.numpy(), **CLOSE)
    numpy.testing.assert_allclose(layer.beta.grad().asnumpy(), module.bias.grad.numpy(), **CLOSE)
    numpy.testing.assert_array_equal(layer.running_mean.data().asnumpy(), mean)


def test_output_mean_var_gives_the_statistics_without_gradients() -> None:
    x = np.array(RNG.normal(size=(6, 3)))
    gamma, states = np.ones(3), (np.zeros(3), np.ones(3))
    x.attach_grad()
    with autograd.record():
        y, mean, inverse = npx.batch_norm(x, gamma, gamma, *states, eps=1e-3, output_mean_var=True)
    numpy.testing.assert_allclose(mean.asnumpy(), x.asnumpy().mean(0), rtol=1e-5, atol=1e-6)
    numpy.testing.assert_allclose(inverse.asnumpy(), 1 / numpy.sqrt(x.asnumpy().var(0) + 1e-3), rtol=1e-5)
    y.backward()
    with pytest.raises(blockfuse.ir.errors.GradientError):
        mean.backward()


# -- running statistics --------------------------------------------------------------------------------------


def held(net: nn.Block) -> dict[str, numpy.ndarray]:
    return {name: p.data().asnumpy().copy() for name, p in net.collect_params().items()}


def assert_same(found: nn.Block, wanted: nn.Block, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    for (name, a), b in zip(held(found).items(), held(wanted).values(), strict=True):
        numpy.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


def of_batches(*layers: nn.Block, features: int = 6) -> nn.Sequential:
    np.random.seed(0)
    net = nn.Sequential(*layers)
    net.initialize(init="xavier")
    net(np.ones((2, features)))
    return net


def normalised() -> nn.Sequential:
    return of_batches(nn.Dense(8), nn.BatchNorm(), nn.Activation("relu"))


def batch(seed: int, items: int = 5, features: int = 6) -> ndarray:
    return np.array(numpy.random.default_rng(seed).normal(1, 2, (items, features)).astype("float32"))


def test_predictions_leave_running_statistics_alone() -> None:
    layer = nn.BatchNorm(in_channels=6)
    layer.initialize()
    before = held(layer)
    with autograd.record(train_mode=False):
        layer(batch(1))
    with autograd.record(), autograd.predict_mode():
        layer(batch(1))
    layer(batch(1))
    assert all((held(layer)[name] == value).all() for name, value in before.items())
    with autograd.train_mode():
        layer(batch(1))
    assert not (held(layer)["running_mean"] == before["running_mean"]).any()


def test_one_layer_in_two_places_follows_both_batches() -> None:
    layer = nn.BatchNorm(momentum=0.5, in_channels=6)
    layer.initialize()
    with autograd.record():
        layer(layer(batch(1)) + 3)
    once = batch(1).asnumpy().mean(0) / 2
    numpy.testing.assert_allclose(layer.running_mean.data().asnumpy(), once / 2 + 1.5, rtol=1e-4)


def test_momentum_epsilon_and_scale_may_change() -> None:
    layer = nn.BatchNorm(in_channels=6)
    layer.initialize()
    x = batch(2)
    layer.hybridize()
    assert float(abs(layer(x) - x).max()) < 1e-4
    layer.epsilon = 3.0
    numpy.testing.assert_allclose(layer(x).asnumpy(), x.asnumpy() / 2, rtol=1e-5)
    layer.gamma.set_data(np.full((6,), 4.0))
    numpy.testing.assert_allclose(layer(x).asnumpy(), x.asnumpy() * 2, rtol=1e-5)
    layer.scale = False
    numpy.testing.assert_allclose(layer(x).asnumpy(), x.asnumpy() / 2, rtol=1e-5)


def test_a_layer_without_scale_or_center_does_not_learn_them() -> None:
    layer = nn.BatchNorm(scale=False, center=False, in_channels=6)
    layer.initialize()
    reqs = {name: p.grad_req for name, p in layer.collect_params().items()}
    assert set(reqs.values()) == {"null"}
    assert list(reqs) == ["gamma", "beta", "running_mean", "running_var"]


def test_a_trainer_leaves_running_statistics_alone() -> None:
    net = normalised()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "wd": 0.5})
    with autograd.record():
        loss = net(batch(1)).sum()
    loss.backward()
    before = held(net)
    trainer.step(5)
    after = held(net)
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed == {name for name in before if "running" not in name}
    assert set(net.collect_params(".*running")) == {"1.running_mean", "1.running_var"}


def test_running_statistics_are_saved_and_loaded(tmp_path: Path) -> None:
    net, other = normalised(), normalised()
    with autograd.train_mode():
        net(batch(1))
    net.save_parameters(tmp_path / "net.npz")
    other.load_parameters(tmp_path / "net.npz")
    assert_same(other, net, 0, 0)
    assert_same(copy.deepcopy(net), net, 0, 0)


def test_what_a_batch_of_one_and_a_batch_with_nan_leave() -> None:
    layer = nn.BatchNorm(in_channels=2)
    layer.initialize()
    with autograd.train_mode():
        numpy.testing.assert_array_equal(layer(np.array([[3.0, 4.0]])).asnumpy(), [[0, 0]])
        numpy.testing.assert_allclose(layer.running_var.data().asnumpy(), 0.9, rtol=1e-6)
        odd = layer(np.array([[1.0, numpy.nan], [2.0, 1.0]])).asnumpy()
    assert numpy.isfinite(odd[:, 0]).all()
    assert numpy.isnan(odd[:, 1]).all()
    assert numpy.isnan(layer.running_mean.data().asnumpy()).tolist() == [False, True]


def test_an_empty_batch_is_refused_in_training_and_predicted() -> None:
    layer = nn.BatchNorm(in_channels=2)
    layer.initialize()
    assert layer(np.ones((0, 2))).shape == (0, 2)
    before = held(layer)
    with autograd.train_mode(), pytest.raises(ShapeError, match="have no elements: leave empty batches out"):
        layer(np.ones((0, 2, 4)))
    assert all((held(layer)[name] == value).all() for name, value in before.items())


def test_halves_are_computed_in_float32_whatever_their_squares() -> None:
    layer = nn.BatchNorm(in_channels=2)
    layer.initialize()
    layer.cast("float16")
    assert {p.dtype.name for p in layer.collect_params().values()} == {"float32"}
    x = np.array([[1000.0, 1.0], [3000.0, 2.0]], dtype="float16")
    with autograd.record():
        y = layer(x)
    assert y.dtype == "float16"
    numpy.testing.assert_allclose(y.asnumpy(), [[-1, -1], [1, 1]], rtol=1e-3)
    numpy.testing.assert_allclose(layer.running_var.data().asnumpy(), [100000.9, 0.925], rtol=1e-4)
    for dtype, wanted in (("int8", "float32"), ("int32", "float64"), ("float64", "float64")):
        with autograd.train_mode():
            trained = layer(x.astype(dtype))
        assert trained.dtype == layer(x.astype(dtype)).dtype == wanted


# -- programs ------------------------------------------------------------------------------------------------


def test_a_hybridized_net_learns_statistics_outside_of_a_step_and_switches_modes() -> None:
    plain, net = normalised(), normalised()
    net.hybridize()
    for n in range(6):
        x = batch(n)
        with autograd.train_mode() if n % 3 else autograd.record():
            wanted, found = plain(x), net(x)
        numpy.testing.assert_allclose(found.asnumpy(), wanted.asnumpy(), rtol=1e-4, atol=1e-5)
        numpy.testing.assert_allclose(net(x).asnumpy(), plain(x).asnumpy(), rtol=1e-4, atol=1e-5)
        assert_same(net, plain)
    programs = {signature[2]: case.program for signature, case in net._hybrid.cases.items()}
    assert [update.name for update in programs[True].recording.updates] == [
        "1.running_mean",
        "1.running_var",
    ]
    assert not programs[False].recording.updates


def test_predictions_compute_nothing_of_a_norm_behind_a_product() -> None:
    net = normalised()
    net.hybridize()
    net(batch(0))
    (case,) = net._hybrid.cases.values()
    kernels = [step.kernel.name for step in case.program.schedule.steps]
    assert kernels == ["dense_relu"]


def test_a_momentum_that_is_an_array_changes_without_a_new_program() -> None:
    layer = nn.BatchNorm(momentum=np.array(0.5), in_channels=6)
    layer.initialize()
    layer.hybridize()
    wanted = numpy.zeros(6)
    with autograd.train_mode():
        for n, momentum in enumerate((0.5, 0.75, 0.25)):
            layer.momentum[...] = momentum
            layer(batch(n))
            wanted = wanted * momentum + batch(n).asnumpy().mean(0) * (1 - momentum)
    numpy.testing.assert_allclose(layer.running_mean.data().asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    (case,) = layer._hybrid.cases.values()
    assert case.served == 2


def test_an_unknown_number_of_channels_is_learnt_by_a_step() -> None:
    net, plain = nn.Sequential(nn.BatchNorm(), nn.Dense(1, in_units=6)), nn.Sequential()
    net.initialize(init="ones")
    plain = copy.deepcopy(net)
    net.hybridize()
    for n in range(3):
        with autograd.train_mode():
            net(batch(n)), plain(batch(n))
    assert_same(net, plain)


def test_two_threads_train_nets_of_their_own() -> None:
    nets = [normalised() for _ in range(3)]

    def train(net: nn.Block) -> None:
        net.hybridize()
        for n in range(10):
            with autograd.train_mode():
                net(batch(n))
            net(batch(n))

    threads = [threading.Thread(target=train, args=(net,)) for net in nets[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    train(nets[2])
    for net in nets[:2]:
        assert_same(net, nets[2])


@pytest.mark.long
def test_steps_of_training_in_turn_draw_and_learn_as_the_eager_ones_do() -> None:
    def dropping() -> nn.Sequential:
        return of_batches(nn.Dropout(0.2), nn.BatchNorm(), nn.Dropout(0.5))

    loss, nets = gluon.loss.L2Loss(), [dropping() for _ in range(4)]
    trainers = [gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1}) for net in nets]
    steps = [blockfuse.train_step(nets[n], loss, trainers[n]) for n in (2, 3)]
    wanted, found = [], []
    np.random.seed(5)
    for n in range(4):
        for net, trainer in zip(nets[:2], trainers[:2], strict=True):
            with autograd.record():
                value = loss(net(batch(n)), batch(n + 9))
            value.backward()
            trainer.step(5)
            wanted += [value.asnumpy(), net(batch(n)).asnumpy()]
    np.random.seed(5)
    for n in range(4):
        for net, step in zip(nets[2:], steps, strict=True):
            found += [step(batch(n), batch(n + 9)).asnumpy(), net(batch(n)).asnumpy()]
    for a, b in zip(found, wanted, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for n in (0, 1):
        assert_same(nets[n + 2], nets[n])
    for step in steps:
        (case,) = step._hybrid.cases.values()
        assert case.served + case.program.executable.calls() == 3
        written = {update.name for update in case.program.recording.updates}
        assert {"1.running_mean", "1.running_var"} <= written


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.BatchNorm(in_channels=3),
            (2, 4),
            r"BatchNorm expects 3 elements along axis 1; found 4 .*\(2, 4\)",
        ),
        (nn.BatchNorm(axis=-1, in_channels=3), (2, 3, 4), "expects 3 elements along axis 2; found 4"),
        (nn.BatchNorm(), (3,), r"1 axes or more, and channels along axis 1; found .*\(3,\)"),
        (nn.RMSNorm(in_channels=3), (2, 4), "RMSNorm expects 3 elements along axis 1"),
        (nn.RMSNorm(), (), "found an input of shape ()"),
        (nn.GroupNorm(3), (2, 4), r"in 3 groups of equal size; found an input of shape \(2, 4\)"),
        (nn.GroupNorm(), (4,), "2 axes or more"),
        (nn.InstanceNorm(), (2, 4), "3 axes or more"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Block) else None,
)
def test_inputs_of_other_shapes_are_refused_by_name(
    layer: nn.Block, shape: tuple[int, ...], message: str
) -> None:
    layer.initialize()
    with pytest.raises(ShapeError, match=message):
        layer(np.ones(shape))


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="in_channels as an int of 0 or more"):
        nn.BatchNorm(in_channels=-1)
    with pytest.raises(UsageError, match="num_groups=3, in_channels=4"):
        nn.GroupNorm(3, in_channels=4)
    with pytest.raises(UsageError, match="axis 0 is the batch"):
        nn.InstanceNorm(axis=0)
    with pytest.raises(NotInitializedError, match="gamma"):
        nn.BatchNorm(in_channels=6)(batch(0))
    layer = nn.BatchNorm(in_channels=6)
    layer.initialize()
    with pytest.raises(TypeError, match="expects an array; found list"):
        layer([1.0])


def test_functions_refuse_what_does_not_fit() -> None:
    x, ones = np.ones((2, 4)), np.ones(4)
    with pytest.raises(ShapeError, match=r"gamma has shape \(3,\), and there are 4 channels"):
        npx.batch_norm(x, np.ones(3), ones, ones, ones, fix_gamma=False)
    with autograd.train_mode(), pytest.raises(TypeError, match="writes into running_mean"):
        npx.batch_norm(x, ones, ones, [0.0] * 4, ones)
    mean = np.zeros(4)
    with autograd.train_mode(), pytest.raises(ShapeError, match=r"running_var has shape \(3,\)"):
        npx.batch_norm(x, ones, ones, mean, np.ones(3))
    with autograd.train_mode(), pytest.raises(ShapeError, match=r"beta has shape \(3,\)"):
        npx.batch_norm(x, ones, np.ones(3), mean, ones)
    assert not mean.any()
    with pytest.raises(ShapeError, match=r"4 channels .* cannot be 3 groups"):
        npx.group_norm(x, ones, ones, 3)
    with pytest.raises(ShapeError, match="instance_norm expects an input of shape"):
        npx.instance_norm(x, ones, ones)


class _Residual(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2D(4, 3, padding=1, in_channels=4)
        self.norm = nn.BatchNorm(in_channels=4)

    def forward(self, x: Any) -> Any:
        return npx.relu(self.norm(self.convolution(x)) + x)


def test_predictions_follow_what_training_does_to_weights_and_statistics() -> None:
    net = _Residual()
    net.initialize(init="xavier")
    net.hybridize()
    theirs = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4)).eval()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    x = RNG.normal(size=(2, 4, 5, 5)).astype("float32")
    for _ in range(3):
        own = net.convolution, net.norm
        with torch.no_grad():
            for mine, name in zip(
                (0, 0, 1, 1, 1, 1), ("weight", "bias", "gamma", "beta", *STATISTICS), strict=True
            ):
                target = getattr(theirs[mine], {"gamma": "weight", "beta": "bias"}.get(name, name))
                target.copy_(torch.tensor(getattr(own[mine], name).data().asnumpy()))
            wanted = torch.relu(theirs(torch.tensor(x)) + torch.tensor(x))
        for _ in range(2):
            numpy.testing.assert_allclose(net(np.array(x)).asnumpy(), wanted, rtol=1e-5, atol=1e-5)
        with autograd.record():
            loss = (net(np.array(x)) ** 2).mean()
        loss.backward()
        trainer.step(1)
    assert "convolution_add_relu" in net.explain()
