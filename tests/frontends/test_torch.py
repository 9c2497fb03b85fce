"""Modules of torch: calls give what torch gives, see every write to a parameter, and leave to torch what is torch's."""

from __future__ import annotations

import copy
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import blockfuse  # noqa: E402
from blockfuse.frontends.torch import tensors  # noqa: E402
from blockfuse.ir.errors import UsageError  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Draw torch's numbers by the seed of the run."""
    torch.manual_seed(random.randrange(1 << 31))


class FixedHiddenMLP(nn.Module):
    """A net with a loop that depends on data."""

    def __init__(self) -> None:
        super().__init__()
        self.rand_weight = torch.rand((20, 20), requires_grad=False)
        self.linear = nn.Linear(20, 20)

    def forward(self, X: Any) -> Any:
        X = self.linear(X)
        X = F.relu(torch.mm(X, self.rand_weight) + 1)
        X = self.linear(X)
        while X.abs().sum() > 1:
            X /= 2
        return X.sum()


class NestMLP(nn.Module):
    """A net in a net."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.linear = nn.Linear(32, 16)

    def forward(self, X: Any) -> Any:
        return self.linear(self.net(X))


class Tagger(nn.Module):
    """Words to classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(30, 4), nn.LSTM(4, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, words: Any) -> Any:
        return F.log_softmax(self.out(self.lstm(self.embedding(words))[0]), -1)


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))


def checked(module: nn.Module, *args: Any, calls: int = 3) -> Any:
    """The compiled module, whose calls gave what the module gives."""
    module.eval()
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for _ in range(calls):
            found = list(tensors.tensors_in(net(*[copy.copy(a) for a in args])))
            expected = list(tensors.tensors_in(module(*args)))
            assert len(found) == len(expected) > 0
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)
    return net


def is_compiled(net: Any) -> bool:
    return ": compiled" in net.explain()


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]]]] = {
    "MLP": (mlp, lambda: (torch.rand(2, 20),)),
    "chimera": (
        lambda: nn.Sequential(NestMLP(), nn.Linear(16, 20), FixedHiddenMLP()),
        lambda: (torch.rand(2, 20),),
    ),
    "pictures": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(48, 4),
        ),
        lambda: (torch.rand(2, 1, 8, 8),),
    ),
    "tagger": (Tagger, lambda: (torch.randint(0, 30, (2, 5)),)),
    "GRU": (lambda: nn.GRU(3, 4), lambda: (torch.rand(4, 2, 3), torch.rand(1, 2, 4))),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1),
        lambda: (torch.rand(2, 4, 8),),
    ),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", NETS)
def test_nets_are_compiled_and_right(name: str) -> None:
    make, arguments = NETS[name]
    assert is_compiled(checked(make(), *arguments()))


def test_a_loop_is_native_and_says_where_it_is() -> None:
    net = checked(FixedHiddenMLP(), torch.rand(2, 20))
    assert "1 ways back (loops)" in net.explain()
    assert "test_torch.py:" in net.explain()
    with torch.no_grad():
        for scale in (1, 3, 50):
            X = torch.rand(2, 20) * scale
            torch.testing.assert_close(net(X), net.module(X))


def test_numpy_arrays_give_numpy_arrays() -> None:
    net = checked(mlp(), torch.rand(2, 20))
    with torch.no_grad():
        assert type(net(numpy.ones((2, 20), "float32"))) is numpy.ndarray
        assert type(net(torch.ones(2, 20))) is torch.Tensor


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_with_padding_gives_torchs_zeros_in_every_call() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    module = nn.TransformerEncoder(layer, 1).eval()
    X, padding = torch.rand(2, 3, 4), torch.tensor([[False, False, True], [False, False, False]])
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        expected = module(X, src_key_padding_mask=padding)
        assert not expected[0, 2].any()
        for _ in range(4):
            torch.testing.assert_close(net(X, src_key_padding_mask=padding), expected, rtol=2e-4, atol=2e-5)
        assert not torch.overrides.has_torch_function((X,))
        torch.testing.assert_close(net(X), module(X), rtol=2e-4, atol=2e-5)


# -- parameters ----------------------------------------------------------------------------------------------------


def _by_optimizer(net: nn.Module) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5, fused=True)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


WRITES: dict[str, Callable[[Any], Any]] = {
    "data": lambda net: net[0].weight.data.add_(1),
    "numpy": lambda net: net[0].weight.detach().numpy().__setitem__((0, 0), 9),
    "optimizer": _by_optimizer,
    "state": lambda net: net.load_state_dict({k: v + 1 for k, v in net.state_dict().items()}),
    "parameter": lambda net: setattr(net[0], "weight", nn.Parameter(torch.rand(8, 20))),
    "memory": lambda net: setattr(net[0].weight, "data", torch.rand(8, 20)),
    "layout": lambda net: setattr(net[0].weight, "data", torch.rand(20, 8).T),
    "module": lambda net: net.__setitem__(2, nn.Linear(8, 5)),
    "bias": lambda net: setattr(net[0], "bias", None),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("write", WRITES)
def test_every_change_of_a_parameter_is_seen(write: str) -> None:
    X, module = torch.rand(2, 20), mlp()
    net = checked(module, X)
    before = net(X)
    WRITES[write](module)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(net(X), module(X), rtol=2e-4, atol=2e-5)
        assert net(X).shape != before.shape or not torch.equal(net(X), before)


@pytest.mark.parametrize("kind", ["negative", "bfloat16", "sparse"])
def test_weights_that_are_no_arrays_are_left_to_torch(kind: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            x = torch.rand(3)
            odd = {"negative": torch._neg_view(x), "bfloat16": x.bfloat16(), "sparse": x.to_sparse()}
            self.register_buffer("scale", odd[kind])

        def forward(self, x: Any) -> Any:
            return x + self.scale.to_dense()

    net, X = blockfuse.compile(Scaled(), threads=1), torch.rand(3)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(net(X), net.module(X))
    assert not is_compiled(net)


def test_frozen_weights_stay_until_refresh() -> None:
    X, module = torch.rand(2, 20), mlp()
    net = blockfuse.compile(module, weights="frozen", threads=1)
    with torch.no_grad():
        before = [net(X) for _ in range(3)][-1]
        module[0].weight.data.add_(1)
        assert torch.equal(net(X), before)
        net.refresh()
        for _ in range(2):
            torch.testing.assert_close(net(X), module(X), rtol=2e-4, atol=2e-5)
    assert is_compiled(net)
    with pytest.raises(UsageError, match="weights="):
        blockfuse.compile(module, weights="hot")


# -- what torch runs -----------------------------------------------------------------------------------------------


def test_gradients_are_torchs() -> None:
    net = checked(mlp(), torch.rand(2, 20))
    X = torch.rand(2, 20)
    net(X).sum().backward()
    assert net.module[0].weight.grad is not None
    assert "1 calls ran in torch: gradients are recorded" in net.explain()


class Scaled(nn.Module):
    """Multiplies by a tensor that is no parameter, and requires gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.rand(3, requires_grad=True)

    def forward(self, x: Any) -> Any:
        return x * self.scale


def test_gradients_of_a_tensor_that_is_no_parameter_are_torchs() -> None:
    net, X = blockfuse.compile(Scaled(), threads=1), torch.rand(3)
    for _ in range(2):
        with torch.no_grad():
            assert all(not net(X).requires_grad for _ in range(3))
        for _ in range(3):
            net(X).sum().backward()
    torch.testing.assert_close(net.module.scale.grad, X * 6)
    assert is_compiled(net)


def test_torch_runs_where_somebody_looks_on() -> None:
    net, X = checked(mlp(), torch.rand(2, 20)), torch.rand(2, 20)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(X).dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.vmap(net)(X[None]).shape == (1, 2, 3)
        assert net(X.double().to(torch.float32)).dtype == torch.float32
        assert net.explain().count("ran in torch") == 2


class Doubled(nn.Module):
    """Takes tensors of any kind."""

    def forward(self, X: Any) -> Any:
        return X * 2


@pytest.mark.parametrize("call", ["by position", "by keyword", "in a list"])
@pytest.mark.parametrize(
    "kind",
    [
        lambda: torch.complex(torch.rand(2, 3), torch.rand(2, 3)),
        lambda: torch.rand(2, 3, dtype=torch.complex128),
        lambda: torch._to_functional_tensor(torch.rand(2, 3)),
    ],
)
def test_tensors_that_our_arrays_cannot_hold_are_left_to_torch(kind: Callable[[], Any], call: str) -> None:
    module = InList(Doubled()) if call == "in a list" else Doubled()
    net, odd = blockfuse.compile(module), kind()
    with torch.no_grad():
        for X in (odd, torch.rand(2, 3), odd):
            found = {
                "by position": lambda X: net(X),
                "by keyword": lambda X: net(X=X),
                "in a list": lambda X: net([X]),
            }[call](X)
            assert torch._is_functional_tensor(found) == torch._is_functional_tensor(X)
            assert (found == X * 2).all()
    assert "cannot be read where it lies" in net.explain()


class InList(nn.Module):
    """Hands the one tensor of a list on."""

    def __init__(self, taken: Any) -> None:
        super().__init__()
        self.taken = taken

    def forward(self, given: list[Any]) -> Any:
        return self.taken(given[0])


@pytest.mark.parametrize("kind", ["negative", "meta", "subclass", "strided"])
def test_odd_tensors_are_right_or_left_to_torch(kind: str) -> None:
    net, X = checked(mlp(), torch.rand(2, 20)), torch.rand(2, 20)
    odd = {
        "negative": lambda: torch.complex(X, -X).conj().imag,
        "meta": lambda: X.to("meta"),
        "subclass": lambda: nn.Parameter(X, requires_grad=False),
        "strided": lambda: torch.rand(20, 4).T[::2],
    }[kind]()
    module = copy.deepcopy(net.module).to(odd.device)
    with torch.no_grad():
        if kind == "meta":
            with pytest.raises((RuntimeError, NotImplementedError)):
                net(odd)
        else:
            torch.testing.assert_close(net(odd), module(odd), rtol=2e-4, atol=2e-5)


def test_training_draws_by_torch_and_evaluation_is_compiled() -> None:
    module = nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5))
    net, X = blockfuse.compile(module, threads=1), torch.rand(4, 20)
    with torch.no_grad():
        for mode in (True, False, True):
            module.train(mode)
            for seed in range(3):
                torch.manual_seed(seed)
                found = net(X)
                torch.manual_seed(seed)
                torch.testing.assert_close(found, module(X), rtol=2e-4, atol=2e-5)


def test_running_statistics_are_written_once() -> None:
    module = nn.BatchNorm1d(4).train()
    twin, net = copy.deepcopy(module), blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for n in range(4):
            X = torch.rand(5, 4) + n
            torch.testing.assert_close(net(X), twin(X))
            torch.testing.assert_close(module.running_mean, twin.running_mean)
        assert int(module.num_batches_tracked) == 4


def test_writes_to_arguments_happen_once() -> None:
    net, X = blockfuse.compile(Of(lambda x: x.add_(1)), threads=1), torch.zeros(3)
    with torch.no_grad():
        for n in range(1, 4):
            assert net(X).tolist() == X.tolist() == [n, n, n]


def test_hooks_run() -> None:
    module, seen = mlp().eval(), []
    module[0].register_forward_hook(lambda _module, _args, result: result * 2)
    net = checked(module, torch.rand(2, 20))
    module[2].register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        net(torch.rand(2, 20))
        net(torch.rand(2, 20))
    assert len(seen) == 2


def test_counters_count_every_call() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x * self.calls

    net = blockfuse.compile(Counting(), threads=1)
    with torch.no_grad():
        assert [net(torch.ones(1)).item() for _ in range(6)] == [1, 2, 3, 4, 5, 6]


# -- what could go wrong silently ----------------------------------------------------------------------------------


def _written_alias(x: Any) -> Any:
    whole = torch.zeros(3)
    part = whole[:2]
    part += x[:2]
    return whole * 2


def _written_copy(x: Any) -> Any:
    first = x * 1
    second = first.float()
    second += 1
    return first + second


def _written_turned(x: Any) -> Any:
    y = x.reshape(1, 3) * 2
    y.t_()
    y[1] = 7
    return y + 1


SNEAKY: dict[str, Callable[..., Any]] = {
    "alias of a constant": _written_alias,
    "the same tensor": _written_copy,
    "turned in place": _written_turned,
    "through numpy": lambda x: x + float(x.numpy().sum()),
    "constructor": lambda x: torch.Tensor(x.tolist()) + x,
    "item": lambda x: x * x.sum().item(),
    "size": lambda x: x.sum() / x.shape[0],
    "flags": lambda x: x[x > 0.5].sum() + x,
    "data": lambda x: x + x.data.sum(),
    "branch": lambda x: x * 2 if bool((x > 0.5).any()) else x - 1,
    "out": lambda x: torch.add(x, 1, out=torch.empty(3)),
    "inplace relu": lambda x: F.relu_(x - 0.5) + 1,
    "split writes": lambda x: next(part.mul_(2) for part in (x * 1).split(1)) + x,
    "dtype": lambda x: x + torch.arange(3) / 2,
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", SNEAKY)
def test_values_never_stay_those_of_the_recorded_call(name: str) -> None:
    module = Of(SNEAKY[name])
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for _ in range(6):
            X = torch.rand(3)
            torch.testing.assert_close(net(X.clone()), module(X.clone()))


# -- around --------------------------------------------------------------------------------------------------------


def test_what_has_no_rule_is_told_at_once() -> None:
    module = Of(lambda x: torch.special.i0(x) + torch.cummax(x, 0).values)
    assert blockfuse.missing(module, torch.rand(3)) == ("torch.special.i0", "torch.cummax")
    assert blockfuse.missing(mlp(), torch.rand(2, 20)) == ()
    net = blockfuse.compile(module, example=torch.rand(3), threads=1)
    assert "torch.special.i0 has no rule) at test_torch.py" in net.explain()
    with pytest.raises(ValueError, match="example"):
        blockfuse.missing(module)


def test_copies_and_pickles_are_compiled_anew() -> None:
    net, X = checked(mlp(), torch.rand(2, 20)), torch.rand(2, 20)
    with torch.no_grad():
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            torch.testing.assert_close(other(X), net(X))
            other.module[0].weight.data.add_(1)
            torch.testing.assert_close(other(X), other.module(X), rtol=2e-4, atol=2e-5)
            assert not torch.equal(other(X), net(X))


def test_threads_call_at_once() -> None:
    net, wrong = blockfuse.compile(mlp(), threads=1), []

    def call(seed: int) -> None:
        with torch.no_grad():
            for n in range(10):
                X = torch.full((2, 20), float(seed + n))
                if not torch.allclose(net(X), net.module(X), rtol=1e-3, atol=1e-3):
                    wrong.append(seed)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_audited_calls_are_held_against_torch() -> None:
    net = blockfuse.compile(mlp(), audit=1.0, threads=1)
    with torch.no_grad():
        for _ in range(4):
            net(torch.rand(2, 20))
    assert is_compiled(net)


def test_several_results_and_arguments_in_containers() -> None:
    class Pairs(nn.Module):
        def forward(self, pair: Any, scale: float = 1.0) -> Any:
            a, b = pair
            return {"sum": (a + b) * scale, "both": [a * 2, b - 1]}

    module = Pairs()
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for _ in range(3):
            pair = (torch.rand(3), torch.rand(3))
            found, expected = net(pair, scale=2.0), module(pair, scale=2.0)
            torch.testing.assert_close(found, expected)


def test_an_installed_module_is_called_as_ever() -> None:
    X, module = torch.rand(2, 20), mlp()
    expected = module(X).detach()
    net = blockfuse.torch.install(module, threads=1)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(module(X), expected, rtol=2e-4, atol=2e-5)
        assert is_compiled(net)
        assert copy.deepcopy(module)._compiled_call_impl is None
    module(X).sum().backward()
    assert module[0].weight.grad is not None
    blockfuse.torch.uninstall(module)
    assert module._compiled_call_impl is None


def test_an_installed_part_of_a_net_is_followed() -> None:
    X, module = torch.rand(2, 20), nn.Sequential(mlp(), nn.Tanh())
    blockfuse.torch.install(module[0], threads=1)
    assert is_compiled(checked(module, X))


class Asking(nn.Module):
    """Computes by what it asks of its arguments."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, *args):
        return args[0] * 2 if self.ask(*args) else args[0] * 3


_ASKED = {
    "order": (lambda x: x.is_contiguous(), lambda: (torch.rand(3, 3),), lambda: (torch.rand(3, 3).t(),)),
    "gradients": (
        lambda x: x.requires_grad,
        lambda: (torch.rand(3),),
        lambda: (torch.rand(3, requires_grad=True),),
    ),
    "kind": (
        lambda x: isinstance(x, nn.Parameter),
        lambda: (torch.rand(3),),
        lambda: (nn.Parameter(torch.rand(3)),),
    ),
    "identity": (
        lambda x, y: x is y,
        lambda: (torch.rand(3), torch.rand(3)),
        lambda: (torch.rand(3),) * 2,
    ),
}


@pytest.mark.parametrize("what", _ASKED)
def test_what_code_asks_of_arguments_is_told_for_each_call(what):
    ask, usual, other = _ASKED[what]
    module = Asking(ask)
    net = blockfuse.compile(module)
    with torch.no_grad():
        for make in (usual, usual, other, other, usual):
            args = make()
            assert torch.equal(net(*args), module(*args))


def test_whether_grad_mode_is_on_is_told_for_each_call():
    module = Asking(lambda x: torch.is_grad_enabled())
    net, x = blockfuse.compile(module), torch.rand(3)
    for on in (False, False, True, True, False):
        with torch.set_grad_enabled(on):
            assert torch.equal(net(x), module(x))


_UNSEEN = {
    "set_": lambda x: (x * 1).set_(x * 2),
    "set_ of nothing": lambda x: torch.empty(0).set_(x) * 2,
    "parameter of an argument": lambda x: nn.Parameter(x) * 2,
    "no array of ours": lambda x: x * x.bfloat16(),
    "nothing": lambda x: None,
    "vmap": lambda x: torch.vmap(lambda row: row * 2)(x),
}


@pytest.mark.parametrize("what", _UNSEEN)
def test_what_arrays_cannot_hold_or_nobody_saw_runs_in_torch(what):
    class Net(nn.Module):
        def forward(self, x):
            return _UNSEEN[what](x)

    net = blockfuse.compile(Net())
    with torch.no_grad():
        for _ in range(3):
            x = torch.rand(2, 3)
            found, expected = net(x), _UNSEEN[what](x)
            assert found is None if expected is None else torch.equal(found, expected)
