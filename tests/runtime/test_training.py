"""Steps of training as programs: what they compute, what they write and when, and what others see of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, nn, np, npx
from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.validity import Validity
from blockfuse.ir.errors import AuditError, CompilerWarning, GradientError
from blockfuse.ir.lowering import Pointwise
from blockfuse.ir.operator import TABLE
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.programs.updates import Updates
from blockfuse.tracer.flow.origins import Origin

Step = Callable[..., Any]


class Told:
    """A watcher."""

    def __init__(self) -> None:
        self.told = False

    def invalidate(self) -> None:
        self.told = True


class Interrupted(Exception):  # noqa: N818 - what a signal raises here
    """Like KeyboardInterrupt, but nobody else's."""


@pytest.fixture(autouse=True)
def alarms() -> Iterator[None]:
    """SIGALRM raises ``Interrupted``."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Momentum:
    """Stochastic gradient descent with momentum; everything that changes is an array."""

    def __init__(self, net: nn.Block, rate: float = 0.1) -> None:
        self.parameters = [p for p in net.collect_params().values() if p.grad_req != "null"]
        self.rate = np.array(rate)
        self.speeds = [np.zeros(p.shape) for p in self.parameters]
        self.count = np.array(0.0)

    def step(self) -> None:
        count = self.count
        count += 1
        for parameter, speed in zip(self.parameters, self.speeds, strict=True):
            speed[...] = speed * 0.9 + parameter.grad()
            weight = parameter.data()
            weight -= self.rate * speed


def net_of(*layers: nn.Block, features: int = 6) -> nn.Sequential:
    """A net of these layers, the same in every call."""
    np.random.seed(0)
    net = nn.Sequential()
    net.add(*layers)
    net.initialize(init="xavier")
    net(np.ones((1, features)))
    return net


def classifier(activation: str = "relu") -> nn.Sequential:
    return net_of(nn.Dense(8, activation=activation), nn.Dense(3))


def loss_of(net: nn.Block, x: ndarray, labels: ndarray) -> ndarray:
    return -npx.pick(npx.log_softmax(net(x)), labels).mean()


def step_of(net: nn.Block, optimizer: Momentum) -> Step:
    def step(x: ndarray, labels: ndarray) -> ndarray:
        with autograd.record():
            loss = loss_of(net, x, labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def batches(count: int, items: int = 4, features: int = 6) -> list[tuple[ndarray, ndarray]]:
    rng = numpy.random.default_rng(3)
    return [
        (np.array(rng.normal(size=(items, features)).astype("float32")), np.array(rng.integers(0, 3, items)))
        for _ in range(count)
    ]


def arrays_of(net: nn.Block, optimizer: Momentum) -> list[np.ndarray]:
    """Everything that a step writes."""
    arrays = [p.data() for p in net.collect_params().values()] + [p.grad() for p in optimizer.parameters]
    return [*arrays, *optimizer.speeds, optimizer.count]


def held_by(net: nn.Block, optimizer: Momentum) -> list[numpy.ndarray]:
    """What these arrays hold now."""
    return [a.asnumpy() for a in arrays_of(net, optimizer)]


def twins(make: Callable[[], nn.Block], **options: Any) -> tuple[Any, Any, Step, Step, Any]:
    """Two equal nets with their optimizers, a step of each, and the hybridized one of the second."""
    plain, other = make(), make()
    first, second = Momentum(plain), Momentum(other)
    compiled = blockfuse.hybridize(step_of(other, second), **options)
    return (plain, first), (other, second), step_of(plain, first), compiled, other


def programs_of(step: Any) -> list[Program]:
    return [c.program for c in step._hybrid.cases.values() if c.program is not None]


def assert_close(found: list[numpy.ndarray], wanted: list[numpy.ndarray]) -> None:
    for a, b in zip(found, wanted, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_a_compiled_step_trains_as_the_eager_one() -> None:
    plain, other, eager, compiled, _ = twins(classifier)
    for x, labels in batches(12):
        numpy.testing.assert_allclose(float(compiled(x, labels)), float(eager(x, labels)), rtol=1e-5)
    assert_close(held_by(*other), held_by(*plain))
    (program,) = programs_of(compiled)
    assert len(program.updates) == 4 * 4 + 1  # weight, gradient, its flag and state of each; a count
    assert "compiled" in compiled.explain()


def test_the_recording_step_counts_once() -> None:
    _, other, _, compiled, _ = twins(classifier)
    compiled(*batches(1)[0])
    assert float(other[1].count) == 1
    assert programs_of(compiled)


def test_others_see_what_a_step_wrote() -> None:
    _, _, _, compiled, net = twins(classifier)
    x, labels = batches(1)[0]
    predict = blockfuse.hybridize(lambda x: net(x))
    for _ in range(4):
        predict(x)
        compiled(x, labels)
        numpy.testing.assert_allclose(predict(x).asnumpy(), net(x).asnumpy(), rtol=1e-5, atol=1e-6)


def test_a_step_sees_what_others_wrote() -> None:
    plain, other, eager, compiled, _ = twins(classifier)
    x, labels = batches(1)[0]
    for n in range(6):
        for net, optimizer in (plain, other):
            optimizer.rate[...] = 0.1 / (n + 1)
            if n == 3:
                net[0].weight.set_data(np.ones((8, 6)) * 0.1)
            if n == 4:
                optimizer.speeds[0][...] = 0
        eager(x, labels)
        compiled(x, labels)
    assert_close(held_by(*other), held_by(*plain))
    assert len(programs_of(compiled)) == 1


def test_gradients_that_add_up_do_so_over_compiled_calls() -> None:
    def accumulating(net: nn.Block) -> Step:
        net.setattr("grad_req", "add")

        def step(x: ndarray, labels: ndarray) -> ndarray:
            with autograd.record():
                loss = loss_of(net, x, labels)
            loss.backward()
            return loss

        return step

    plain, other = classifier(), classifier()
    eager, compiled = accumulating(plain), blockfuse.hybridize(accumulating(other))
    for x, labels in batches(5):
        eager(x, labels)
        compiled(x, labels)
    grads = [[p.grad().asnumpy() for p in net.collect_params().values()] for net in (other, plain)]
    assert_close(*grads)
    other.zero_grad()
    plain.zero_grad()
    x, labels = batches(1)[0]
    eager(x, labels), compiled(x, labels)
    grads = [[p.grad().asnumpy() for p in net.collect_params().values()] for net in (other, plain)]
    assert_close(*grads)
    assert programs_of(compiled)


class Halving(nn.Block):
    """The seed document's net with a loop on its own values."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(6, activation="relu", in_units=6)

    def forward(self, x: ndarray) -> ndarray:
        x = self.dense(self.dense(x))
        while np.abs(x).sum() > 1:
            x = x / 2
        return x


def halving() -> Halving:
    np.random.seed(0)
    net = Halving()
    net.initialize(init="xavier")
    return net


@pytest.mark.long
def test_the_gradient_is_that_of_the_way_taken() -> None:
    plain, other = halving(), halving()
    first, second = Momentum(plain, 0.01), Momentum(other, 0.01)

    def step_through(net: nn.Block, optimizer: Momentum) -> Step:
        def step(x: ndarray) -> ndarray:
            with autograd.record():
                loss = ((net(x) - 0.3) ** 2).sum()
                if loss > 0.5:
                    loss = loss * 0.5
            loss.backward()
            optimizer.step()
            return loss

        return step

    eager, compiled = step_through(plain, first), blockfuse.hybridize(step_through(other, second))
    rng = numpy.random.default_rng(1)
    inputs = [np.array((rng.normal(size=(2, 6)) * 4.0**n).astype("float32")) for n in range(3)]
    for x in inputs * 4:
        numpy.testing.assert_allclose(float(compiled(x)), float(eager(x)), rtol=1e-5, atol=1e-6)
        assert_close(held_by(other, second), held_by(plain, first))
    (case,) = compiled._hybrid.cases.values()
    assert case.served + case.program.executable.calls() > 1


@pytest.mark.long
def test_dropout_draws_the_same_masks() -> None:
    def dropping() -> nn.Sequential:
        return net_of(nn.Dense(16, activation="relu"), nn.Dropout(0.5), nn.Dense(3))

    plain, other, eager, compiled, _ = twins(dropping)
    for n, (x, labels) in enumerate(batches(8)):
        np.random.seed(n)
        wanted = float(eager(x, labels))
        np.random.seed(n)
        numpy.testing.assert_allclose(float(compiled(x, labels)), wanted, rtol=1e-5)
    assert_close(held_by(*other), held_by(*plain))
    assert programs_of(compiled)


def test_an_interrupt_leaves_all_or_nothing() -> None:
    """Whenever it comes, and whoever it is that writes: a call of the entry, or one by way of Python."""
    plain, other, eager, compiled, _ = twins(classifier)
    x, labels = batches(1)[0]
    for _ in range(3):
        compiled(x, labels), eager(x, labels)
    interrupted = 0
    for n in range(60):
        before = held_by(*plain)
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + 3e-6 * n)
            compiled(x, labels) if n % 2 else compiled(x=x, labels=labels)
            time.sleep(0.01)
        except Interrupted:
            interrupted += 1
        else:
            pytest.fail("nothing interrupted the call")
        eager(x, labels)
        count = float(other[1].count)
        assert count in (float(plain[1].count), float(plain[1].count) - 1)
        if count < float(plain[1].count):
            assert_close(held_by(*other), before)
            compiled(x, labels)
        assert_close(held_by(*other), held_by(*plain))
    assert interrupted == 60


def test_others_are_told_where_an_interrupt_comes_when_all_is_written() -> None:
    """Between the end of native code and the next instruction of Python nobody knows yet what the call gave."""
    array = np.zeros((2,))
    written, watcher = Updates([Origin("array", array)]), Told()
    written.bind()
    stamps.watch_buffer(array._data, watcher)
    validity = Validity(numpy.ones(1, numpy.int64))

    def entry() -> None:
        watcher.told = False  # as it was before
        raise KeyboardInterrupt

    def by_python(*_: Any) -> None:
        """No native code."""

    with pytest.raises(KeyboardInterrupt):
        written.writing_by(entry, validity, by_python)()
    assert watcher.told


def test_an_argument_in_memory_that_a_step_writes() -> None:
    """Read when the step begins, whatever it writes there."""
    held = np.array([1.0, 2.0, 3.0])

    class Holder:
        def __init__(self, array: ndarray) -> None:
            self.array = array

        def __call__(self, x: ndarray) -> ndarray:
            before = (x * 2).sum()
            self.array[...] = self.array * 3 + x
            return before + (x * 2).sum()

    other = np.array([1.0, 2.0, 3.0])
    eager, compiled = Holder(held), blockfuse.hybridize(Holder(other))
    for n in range(4):
        numpy.testing.assert_array_equal(compiled(np.ones(3) * n).asnumpy(), eager(np.ones(3) * n).asnumpy())
    for _ in range(3):
        wanted = eager(eager.array)
        numpy.testing.assert_array_equal(compiled(other).asnumpy(), wanted.asnumpy())
        numpy.testing.assert_array_equal(other.asnumpy(), held.asnumpy())


def test_updates_that_take_each_others_places() -> None:
    class Turning:
        def __init__(self) -> None:
            self.a, self.b, self.c = (np.array([n, n + 1.0]) for n in range(3))

        def __call__(self, x: ndarray) -> ndarray:
            first = self.a * 1.0
            self.a[...] = self.b
            self.b[...] = self.c + x
            self.c[...] = first
            return self.a + self.c

    eager, plain = Turning(), Turning()
    compiled = blockfuse.hybridize(eager)
    for n in range(5):
        x = np.array([n, -n])
        numpy.testing.assert_array_equal(compiled(x).asnumpy(), plain(x).asnumpy())
        for name in "abc":
            numpy.testing.assert_array_equal(getattr(eager, name).asnumpy(), getattr(plain, name).asnumpy())
    (case,) = compiled._hybrid.cases.values()
    assert case.program is not None


def test_audits_repeat_a_step_from_where_it_began() -> None:
    plain, other, eager, compiled, _ = twins(classifier, audit=1)
    for x, labels in batches(6):
        eager(x, labels)
        compiled(x, labels)
    assert_close(held_by(*other), held_by(*plain))
    (case,) = compiled._hybrid.cases.values()
    assert case.audited > 3


def test_an_audit_catches_a_wrong_update(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, compiled, _ = twins(classifier, audit=1)
    x, labels = batches(1)[0]
    compiled(x, labels), compiled(x, labels)
    writing = stamps.writing

    def wrong(arrays: list[numpy.ndarray], *write: Any) -> Any:
        result = writing(arrays, *write)
        arrays[0][...] += 1
        return result

    with monkeypatch.context() as context:
        context.setattr(stamps, "writing", wrong)
        with pytest.raises(AuditError):
            compiled(x, labels)


@contextmanager
def wrong(name: str) -> Iterator[None]:
    """Kernels compute something else for an operator; Python computes what is right."""
    row, right = TABLE[name], TABLE[name].lowering
    object.__setattr__(row, "lowering", Pointwise("exp({0})", "f"))
    try:
        yield
    finally:
        object.__setattr__(row, "lowering", right)


@pytest.mark.long
# "tanh" is in the forward, "sign" in the optimizer alone
@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["tanh", "sign"])
def test_an_audit_of_a_step_that_is_compiled_wrongly_leaves_what_was_there_before(name: str) -> None:
    net, step = signum_step()
    run = blockfuse.hybridize(step, audit=1, check=False)
    x, labels = batches(1)[0]
    with wrong(name):
        run(x, labels)
        while not programs_of(run):
            run(x, labels)
        before = [p.data().asnumpy() for p in net.collect_params().values()]
        with pytest.raises(AuditError, match=name):
            run(x, labels)
    for parameter, value in zip(net.collect_params().values(), before, strict=True):
        numpy.testing.assert_array_equal(parameter.data().asnumpy(), value)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["tanh", "sign"])
def test_a_step_that_is_compiled_wrongly_is_noticed_and_runs_in_python(name: str) -> None:
    (plain, eager), (other, step) = signum_step(), signum_step()
    compiled = blockfuse.hybridize(step)
    (x, labels), *more = batches(4)
    with wrong(name):
        with pytest.warns(CompilerWarning, match=name):
            compiled(x, labels)
        eager(x, labels)
        for x, labels in more:
            eager(x, labels), compiled(x, labels)
    assert not programs_of(compiled)
    pairs = zip(other.collect_params().values(), plain.collect_params().values(), strict=True)
    assert_close(*zip(*((a.data().asnumpy(), b.data().asnumpy()) for a, b in pairs), strict=True))


def signum_step() -> tuple[nn.Block, Step]:
    net = net_of(nn.Dense(5, activation="tanh"), nn.Dense(3))
    trainer = blockfuse.Trainer(net.collect_params(), "signum", {"learning_rate": 0.01})
    return net, blockfuse.train_step(net, blockfuse.loss.SoftmaxCrossEntropyLoss(), trainer).__wrapped__


@pytest.mark.long
def test_a_step_with_a_number_that_changes_writes_once_a_call() -> None:
    plain, other = classifier(), classifier()

    def scaled(net: nn.Block) -> Step:
        parameters = list(net.collect_params().values())

        def step(x: ndarray, labels: ndarray, rate: float) -> ndarray:
            with autograd.record():
                loss = loss_of(net, x, labels)
            loss.backward()
            for parameter in parameters:
                weight = parameter.data()
                weight -= parameter.grad() * rate
            return loss

        return step

    eager, compiled = scaled(plain), blockfuse.hybridize(scaled(other))
    for n, (x, labels) in enumerate(batches(10)):
        eager(x, labels, 0.1 / (n + 1))
        compiled(x, labels, 0.1 / (n + 1))
        pairs = zip(other.collect_params().values(), plain.collect_params().values(), strict=True)
        for a, b in pairs:
            numpy.testing.assert_allclose(a.data().asnumpy(), b.data().asnumpy(), rtol=1e-5, atol=1e-6)


def test_a_result_that_can_still_be_asked_for_gradients_is_not_compiled() -> None:
    net = classifier()

    @blockfuse.hybridize
    def forward(x: ndarray, labels: ndarray) -> ndarray:
        with autograd.record():
            return loss_of(net, x, labels)

    x, labels = batches(1)[0]
    for _ in range(3):
        loss = forward(x, labels)
        loss.backward()
    assert "gradient can still be asked for" in forward.explain()
    with pytest.raises(GradientError, match="retain_graph"):
        loss.backward()


def test_gradients_of_arrays_that_no_parameter_holds_run_in_python() -> None:
    weight = np.ones((3,))
    weight.attach_grad()

    @blockfuse.hybridize
    def step(x: ndarray) -> ndarray:
        with autograd.record():
            loss = (x * weight).sum()
        loss.backward()
        return weight.grad * 2

    for n in range(4):
        x = np.array([1.0, 2.0, 3.0]) * (n + 1)
        assert step(x).asnumpy().tolist() == [2.0 * (n + 1), 4.0 * (n + 1), 6.0 * (n + 1)]


def test_steps_of_two_nets_in_two_threads() -> None:
    pairs = [twins(classifier) for _ in range(2)]
    failures: list[BaseException] = []

    def train(pair: Any) -> None:
        try:
            for x, labels in batches(30):
                pair[3](x, labels)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for plain, other, eager, *_ in pairs:
        for x, labels in batches(30):
            eager(x, labels)
        assert_close(held_by(*other), held_by(*plain))


def test_a_parameter_that_becomes_another_array_is_found() -> None:
    plain, other, eager, compiled, _ = twins(classifier)
    x, labels = batches(1)[0]
    for n in range(8):
        if n == 4:
            for net, _ in (plain, other):
                np.random.seed(7)
                net.initialize(init="xavier", force_reinit=True)
        eager(x, labels)
        compiled(x, labels)
    assert_close(held_by(*other), held_by(*plain))


@pytest.mark.parametrize("items", [0, 1])
def test_small_batches(items: int) -> None:
    plain, other = classifier(), classifier()

    def summed(net: nn.Block) -> Step:
        def step(x: ndarray) -> ndarray:
            with autograd.record():
                loss = (net(x) ** 2).sum()
            loss.backward()
            for parameter in net.collect_params().values():
                weight = parameter.data()
                weight -= parameter.grad() * 0.1
            return loss

        return step

    eager, compiled = summed(plain), blockfuse.hybridize(summed(other))
    for _ in range(4):
        x = np.ones((items, 6))
        numpy.testing.assert_allclose(float(compiled(x)), float(eager(x)), rtol=1e-5)
    pairs = zip(other.collect_params().values(), plain.collect_params().values(), strict=True)
    for a, b in pairs:
        numpy.testing.assert_allclose(a.data().asnumpy(), b.data().asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-3}),
        ("adam", {"learning_rate": 0.01, "lr_scheduler": blockfuse.lr_scheduler.CosineScheduler(20, 0.01)}),
        ("adamw", {"learning_rate": 0.01, "clip_gradient": 0.1}),
        ("rmsprop", {"learning_rate": 0.01}),
    ],
)
def test_a_step_of_a_trainer_is_one_program(optimizer: str, options: dict[str, Any]) -> None:
    def trained(hybridized: bool) -> tuple[nn.Block, list[float], Any]:
        net = classifier()
        trainer = blockfuse.Trainer(net.collect_params(), optimizer, dict(options))
        step = blockfuse.train_step(net, blockfuse.loss.SoftmaxCrossEntropyLoss(), trainer)
        run = step if hybridized else step.__wrapped__
        return net, [float(run(x, labels).mean()) for x, labels in batches(10)], step

    plain, wanted, _ = trained(False)
    net, found, step = trained(True)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5)
    pairs = zip(net.collect_params().values(), plain.collect_params().values(), strict=True)
    assert_close(*zip(*((a.data().asnumpy(), b.data().asnumpy()) for a, b in pairs), strict=True))
    (program,) = programs_of(step)
    assert len(program.schedule.blocks) == 1
    (case,) = step._hybrid.cases.values()
    assert len(case.recordings) == 1


def test_gradients_that_nobody_has_asked_for_yet_are_set_to_zero_in_every_call() -> None:
    def summing(net: nn.Block) -> Step:
        net.setattr("grad_req", "add")

        def step(x: ndarray) -> ndarray:
            net.zero_grad()
            for _ in range(2):
                with autograd.record():
                    loss = (net(x) ** 2).mean()
                loss.backward()
            return loss

        return step

    plain, other = classifier(), classifier()
    eager, compiled = summing(plain), blockfuse.hybridize(summing(other))
    for x, _ in batches(4):
        eager(x)
        compiled(x)
        grads = [[p.grad().asnumpy() for p in net.collect_params().values()] for net in (other, plain)]
        assert_close(*grads)
    assert programs_of(compiled)


def test_a_trainer_takes_the_gradients_of_a_compiled_call_for_new_ones() -> None:
    net = classifier()
    trainer = blockfuse.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})

    @blockfuse.hybridize
    def gradients(x: ndarray, labels: ndarray) -> ndarray:
        with autograd.record():
            loss = loss_of(net, x, labels)
        loss.backward()
        return loss

    losses = []
    for _ in range(5):
        x, labels = batches(1)[0]
        losses.append(float(gradients(x, labels)))
        trainer.step(1)
    assert losses == sorted(losses, reverse=True)
    assert programs_of(gradients)
    with pytest.raises(UserWarning, match="gradient"):
        trainer.step(1)


@pytest.mark.long
def test_gradients_of_gradients_follow_what_changes() -> None:
    def penalised(net: nn.Block) -> Step:
        weight = net[0].weight

        def step(x: ndarray) -> ndarray:
            with autograd.record():
                loss = (net(x) ** 2).mean()
                slope = autograd.grad(loss, weight.data(), create_graph=True)[0]
                penalty = (slope**2).sum()
            penalty.backward()
            for parameter in net.collect_params().values():
                value = parameter.data()
                value -= parameter.grad() * 0.01
            return penalty

        return step

    def make() -> nn.Sequential:
        return net_of(nn.Dense(5, activation="tanh"), nn.Dense(2))

    plain, other = make(), make()
    eager, compiled = penalised(plain), blockfuse.hybridize(penalised(other))
    for x, _ in batches(6):
        numpy.testing.assert_allclose(float(compiled(x)), float(eager(x)), rtol=1e-4)
    assert programs_of(compiled)


def test_an_array_that_nobody_saw_made_is_no_constant() -> None:
    """It lies in the memory of an argument, and has other values in the next call."""

    @blockfuse.hybridize
    def call(x: ndarray) -> ndarray:
        return x + ndarray(x._data) * 2

    for n in range(4):
        assert call(np.ones((2,)) * n).tolist() == [3.0 * n, 3.0 * n]


def test_a_state_that_is_computed_in_its_own_memory_needs_no_other() -> None:
    class Shifted(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.mean = np.zeros((64,))

        def forward(self, x: ndarray) -> ndarray:
            self.mean[...] = self.mean * 0.5 + 1
            return x * 2

    net = Shifted()
    net.hybridize()
    for n in range(1, 4):
        net(np.ones((2,)))
        assert net.mean.tolist() == [2 - 0.5 ** (n - 1)] * 64
    assert programs_of(net)


# -- who asks for gradients, and whether they are new -----------------------------------------------------------


def test_an_argument_whose_gradient_is_asked_for_gets_it() -> None:
    plain, other, eager, compiled, _ = twins(classifier)
    (x, labels), (asked, _) = batches(2)
    for _ in range(3):
        eager(x, labels), compiled(x, labels)
    assert programs_of(compiled)
    asked.attach_grad()
    grads = []
    for step in (eager, compiled):
        step(asked, labels)
        grads.append(asked.grad.asnumpy())
    assert_close(grads[1:], grads[:1])
    assert grads[0].any()
    assert_close(held_by(*other), held_by(*plain))


def scaled_by(net: nn.Block, scale: ndarray) -> Step:
    def step(x: ndarray) -> ndarray:
        with autograd.record():
            loss = ((net(x) * scale) ** 2).mean()
        loss.backward()
        return loss

    return step


@pytest.mark.parametrize("array", ["scale", "weight"])
def test_gradients_that_are_asked_for_later_are_computed(array: str) -> None:
    """Of an array that the step encloses, and of a parameter's that was to have none."""
    found = []
    for hybridized in (False, True):
        net, scale = classifier(), np.ones((3,))
        net[0].weight.grad_req = "null"
        step = scaled_by(net, scale)
        run = blockfuse.hybridize(step) if hybridized else step
        x, _ = batches(1)[0]
        for _ in range(3):
            run(x)
        asked = {"scale": scale, "weight": net[0].weight.data()}[array]
        asked.attach_grad()
        run(x)
        found.append(asked.grad.asnumpy())
    assert found[0].any()
    assert_close(found[1:], found[:1])


def test_a_gradient_that_is_attached_anew_takes_the_place_of_the_parameters_own() -> None:
    found: list[list[numpy.ndarray]] = []
    for hybridized in (False, True):
        net = classifier()
        step = scaled_by(net, np.ones((3,)))
        run = blockfuse.hybridize(step) if hybridized else step
        x, _ = batches(1)[0]
        weight = net[0].weight
        for change in (lambda _: None, lambda w: w.attach_grad("add"), lambda w: w.drop_grad()):
            change(weight.data())
            for _ in range(3):
                run(x)
            found.append([p.data().asnumpy() for p in net.collect_params().values()])
            if weight.data().grad is not None:
                found[-1].append(weight.grad().asnumpy())
    for plain, compiled in zip(found[:3], found[3:], strict=True):
        assert_close(compiled, plain)


@pytest.mark.parametrize("whole", [True, False])
def test_a_recorded_write_into_what_a_step_writes_is_followed_from_then_on(whole: bool) -> None:
    """As eagerly, one step later: what the step itself writes is outside of record()."""
    found = []
    for hybridized in (False, True):
        net, state = classifier(), np.zeros((3,))

        def step(x: ndarray, net: nn.Block = net, state: ndarray = state) -> ndarray:
            with autograd.record():
                loss = (net(x) * (state + 1)).sum()
            loss.backward()
            state[...] = state * 0.5
            return loss.detach()

        run = blockfuse.hybridize(step) if hybridized else step
        x, _ = batches(1)[0]
        for _ in range(4):
            run(x)
        with autograd.record():
            state[slice(None) if whole else slice(1)] = (net[0].weight.data() ** 2).sum()
        run(x)
        found.append([state.asnumpy(), *(p.grad().asnumpy() for p in net.collect_params().values())])
        with pytest.raises(GradientError, match="written to outside of it"):
            run(x)
    assert_close(found[1], found[0])


@pytest.mark.parametrize("known", [True, False])
def test_the_second_call_of_a_step_is_learnt(known: bool) -> None:
    """In the first one parameters may learn their shapes, and a trainer makes its states."""
    net = nn.Dense(2, in_units=3) if known else nn.Dense(2)
    net.initialize()
    trainer = blockfuse.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})

    @blockfuse.hybridize
    def step(x: ndarray) -> None:
        with autograd.record():
            loss = (net(x) ** 2).mean()
        loss.backward()
        trainer.step(1)

    for _ in range(2):
        step(np.ones((4, 3)))
    assert programs_of(step), step.explain()
    assert trainer.optimizer.num_update == 2


def entropy(net: nn.Block, x: ndarray, labels: ndarray) -> ndarray:
    return -npx.log_softmax(net(x))[np.arange(len(x)), labels].mean()


def rows(net: nn.Block, _: ndarray, labels: ndarray) -> ndarray:
    """Two picks whose values no gradient needs, one of them without any element at all."""
    return net[0].weight.data()[labels].sum() + net[0].weight.data()[labels[:0]].sum()


@pytest.mark.parametrize("loss_of", [entropy, rows], ids=lambda loss_of: loss_of.__name__)
def test_a_step_that_returns_nothing_raises_for_what_it_picks(loss_of: Any) -> None:
    """NOTE [needed for its error]: also where no update needs the value."""
    nets = [classifier(), classifier()]

    def step_for(net: nn.Block) -> Callable[[ndarray, ndarray], None]:
        def step(x: ndarray, labels: ndarray) -> None:
            with autograd.record():
                loss = loss_of(net, x, labels)
            loss.backward()
            for parameter in net.collect_params().values():
                weight = parameter.data()
                weight -= 0.1 * parameter.grad()

        return step

    eager, compiled = step_for(nets[0]), blockfuse.hybridize(step_for(nets[1]))
    for x, labels in batches(4):
        eager(x, labels), compiled(x, labels)
    assert programs_of(compiled), compiled.explain()
    assert_close(weights_of(nets[1]), weights_of(nets[0]))
    before = weights_of(nets[1])
    with pytest.raises(IndexError):
        compiled(x, labels + 100)
    assert_close(weights_of(nets[1]), before)


def weights_of(net: nn.Block) -> list[numpy.ndarray]:
    return [a.asnumpy() for p in net.collect_params().values() for a in (p.data(), p.grad())]


@pytest.mark.long
def test_gradients_that_are_stale_in_some_calls_change_nothing_there() -> None:
    nets = []
    for hybridized in (False, True):
        net = classifier()
        trainer = blockfuse.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})
        trainer._prepare()

        def update(trainer: blockfuse.Trainer = trainer) -> None:
            trainer.step(1, ignore_stale_grad=True)

        run = blockfuse.hybridize(update) if hybridized else update
        x, _ = batches(1)[0]
        for n in range(8):
            part = net if n % 3 else net[0]
            with autograd.record():
                loss = (part(x) ** 2).mean()
            loss.backward()
            run()
        nets.append([p.data().asnumpy() for p in net.collect_params().values()])
    assert_close(nets[1], nets[0])


def bits_after(net: nn.Block, optimizer: Momentum, step: Step, batch: tuple[ndarray, ndarray]) -> list[bytes]:
    """The loss, everything that the step wrote, and where the random stream is then."""
    loss = step(*batch).asnumpy()
    return [a.tobytes() for a in (loss, *held_by(net, optimizer), np.random.get_state().asnumpy())]


@pytest.mark.long
def test_a_step_comes_to_the_same_bits_whether_it_is_recorded_or_not() -> None:
    def make() -> nn.Block:
        return net_of(nn.Dense(40, activation="tanh"), nn.Dropout(0.4), nn.Dense(3), features=67)

    first, other = make(), make()
    optimizer, same = Momentum(first), Momentum(other)
    step = blockfuse.hybridize(step_of(first, optimizer))
    for batch in batches(2, 33, 67):
        for (_, p), (_, q) in zip(
            first.collect_params().items(), other.collect_params().items(), strict=True
        ):
            q.set_data(p.data())
        for speed, copy in zip(optimizer.speeds, same.speeds, strict=True):
            copy[...] = speed
        same.count[...] = optimizer.count
        state = np.random.get_state()
        wanted = bits_after(first, optimizer, step, batch)
        np.random.set_state(state)
        recorded = blockfuse.hybridize(step_of(other, same))
        assert bits_after(other, same, recorded, batch) == wanted
        assert len(programs_of(recorded)) == 1
