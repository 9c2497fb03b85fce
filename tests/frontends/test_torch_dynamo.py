"""``torch.compile(backend="blockfuse")``: calls give what torch gives, values, layout, memory and gradients alike."""

from __future__ import annotations

import gc
import random
import sys
import threading
import tomllib
import weakref
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import blockfuse  # noqa: E402
from blockfuse.frontends.torch import dynamo  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Draw torch's numbers by the seed of the run, and let nothing that Dynamo knows pass from test to test."""
    torch.manual_seed(random.randrange(1 << 31))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, backend=blockfuse.torch.backend, options={"threads": 1, **options})


def checked(function: Any, *args: Any, calls: int = 3, **kwargs: Any) -> str:
    """What became of a function whose calls gave what torch gives."""
    found = compiled(function)
    for _ in range(calls):
        ours, theirs = found(*args, **kwargs), function(*args, **kwargs)
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)
    return blockfuse.torch.explain()


class Net(nn.Module):
    """A net in a net, with a keyword and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 4), nn.Tanh()))
        self.register_buffer("shift", torch.rand(4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Any, *, scale: float = 1.0) -> Any:
        return self.drop(self.body(x)) * scale + self.shift


# -- the way in ----------------------------------------------------------------------------------------------------


def test_the_entry_point_names_the_backend() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    group = "torch_dynamo_backends"
    assert (
        EntryPoint("blockfuse", project["entry-points"][group]["blockfuse"], group).load() is dynamo.backend
    )


def test_options_are_those_of_hybridize() -> None:
    with pytest.raises(Exception, match=r"UsageError.*mode="):
        torch.compile(torch.sin, backend=dynamo.backend, mode="max-autotune")(torch.rand(3))
    with pytest.raises(Exception, match="weights="):
        compiled(torch.sin, weights="hot")(torch.rand(3))
    with pytest.raises(Exception, match="thread"):
        torch.compile(torch.sin, backend=dynamo.backend, options={"thread": 1})(torch.rand(3))


def test_a_module_is_compiled_and_lines_are_those_of_its_code() -> None:
    net = Net().eval()
    with torch.no_grad():
        text = checked(net, torch.rand(2, 6), scale=2.0)
    assert ": compiled" in text
    assert "ran in torch" not in text
    line = Net.forward.__code__.co_firstlineno + 1
    assert f"test_torch_dynamo.py:{line}" in text


def test_frozen_weights_stay() -> None:
    net, x = nn.Linear(3, 2), torch.rand(2, 3)
    found = compiled(net, weights="frozen")
    with torch.no_grad():
        before = [found(x) for _ in range(3)][-1]
        net.weight.zero_()
        assert torch.equal(found(x), before)


# -- what differs from call to call --------------------------------------------------------------------------------


def test_every_change_of_weights_is_seen() -> None:
    net, x = Net().eval(), torch.rand(2, 6)
    found = compiled(net)

    def check() -> None:
        with torch.no_grad():
            for _ in range(3):
                torch.testing.assert_close(found(x), net(x), rtol=2e-4, atol=2e-5)

    check()
    net.body[0].weight.data.mul_(2)
    check()
    net.shift.numpy()[:] = 7
    check()
    net.body[0].weight = nn.Parameter(torch.rand(8, 6))
    check()
    net.load_state_dict({k: v - 1 for k, v in net.state_dict().items()})
    check()
    net.body[2][0] = nn.Linear(8, 4, bias=False)
    check()
    assert ": compiled" in blockfuse.torch.explain()


def test_modules_of_one_class_have_their_own_weights() -> None:
    nets, x = [nn.Linear(3, 2) for _ in range(dynamo.SETS + 3)], torch.rand(2, 3)
    found = [compiled(net) for net in nets]
    with torch.no_grad():
        for _ in range(3):
            for net, one in zip(nets, found, strict=True):
                torch.testing.assert_close(one(x), net(x), rtol=2e-4, atol=2e-5)


def test_sets_of_weights_beyond_the_bound_run_in_torch_until_others_are_idle() -> None:
    graphs: list[Any] = []

    def capture(graph: Any, _: Any) -> Any:
        graphs.append(dynamo.CompiledGraph(graph, "live", {"threads": 1}))
        return graphs[-1].__call__

    with torch.no_grad():
        torch.compile(nn.Linear(3, 2), backend=capture)(torch.rand(2, 3))
        graph, x = graphs[0], torch.rand(2, 3)
        nets = [nn.Linear(3, 2) for _ in range(dynamo.SETS + 1)]
        for n in range(2 * dynamo.IDLE):
            net = nets[n % len(nets)]
            torch.testing.assert_close(graph(net.weight, net.bias, x)[0], net(x), rtol=2e-4, atol=2e-5)
        assert "sets of weights in turn" in graph.explain()
        before = graph.explain()
        for _ in range(2 * dynamo.IDLE):
            graph(nets[-1].weight, nets[-1].bias, x)
        assert graph.explain() != before
        assert len(graph._nets) == dynamo.SETS
        assert graph._nets[-1].weights[0] is nets[-1].weight


def test_one_program_serves_batches_of_any_size() -> None:
    net = Net().eval()
    found = compiled(net)
    with torch.no_grad():
        for n in (2, 3, 5, 8, 13, 21, 2):
            x = torch.rand(n, 6)
            torch.testing.assert_close(found(x), net(x), rtol=2e-4, atol=2e-5)
    assert "float32[any, 6]): compiled" in blockfuse.torch.explain()


def test_sizes_that_code_uses_are_those_of_the_call() -> None:
    def function(x: Any) -> Any:
        return x.view(x.size(0) * 2, -1).sum(0) / x.size(0), x.new_ones(x.size(0)) + x.sum()

    found = compiled(function)
    for n in (2, 3, 5, 8, 3):
        x = torch.rand(n, 4)
        torch.testing.assert_close(found(x), function(x))


def test_a_branch_on_values_breaks_the_graph_and_both_ways_are_right() -> None:
    def function(x: Any) -> Any:
        y = torch.tanh(x) * 2
        return y + 1 if y.sum() > 0 else y - x

    found = compiled(function)
    for sign in (1, -1, 1, 1, -1, -1):
        x = torch.rand(4) * sign
        torch.testing.assert_close(found(x), function(x))
    assert blockfuse.torch.explain().count(": compiled") >= 3


def test_grad_mode_may_be_switched_between_calls() -> None:
    net, x = Net().eval(), torch.rand(2, 6)
    found = compiled(net)
    for on in (False, True, False, True, True):
        with torch.set_grad_enabled(on):
            result = found(x)
            torch.testing.assert_close(result, net(x), rtol=2e-4, atol=2e-5)
            assert result.requires_grad == on
            assert torch.is_grad_enabled() == on
    net.zero_grad()
    found(x).sum().backward()
    ours = net.body[0].weight.grad.clone()
    net.zero_grad()
    net(x).sum().backward()
    torch.testing.assert_close(ours, net.body[0].weight.grad)
    assert "gradients are recorded" in blockfuse.torch.explain()


def test_gradients_of_arguments_and_of_tensors_around_are_torchs() -> None:
    scale = torch.rand(3, requires_grad=True)
    found = compiled(lambda x: (x * scale).sum())
    for _ in range(3):
        found(torch.ones(3)).backward()
    assert scale.grad.tolist() == [3, 3, 3]
    x = torch.rand(3, requires_grad=True)
    compiled(lambda x: (x * 2).sum())(x).backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_training_draws_by_torch() -> None:
    net, x = Net(), torch.rand(40, 6)
    found = compiled(net)
    with torch.no_grad():
        for mode in (True, False, True):
            net.train(mode)
            for seed in range(3):
                torch.manual_seed(seed)
                ours = found(x)
                torch.manual_seed(seed)
                torch.testing.assert_close(ours, net(x), rtol=2e-4, atol=2e-5)


def test_running_statistics_are_written_once() -> None:
    net, twin = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    found = compiled(net)
    with torch.no_grad():
        for n in range(4):
            x = torch.rand(5, 4) + n
            torch.testing.assert_close(found(x), twin(x))
            torch.testing.assert_close(net.running_mean, twin.running_mean)
    assert int(net.num_batches_tracked) == 4


def test_threads_call_at_once() -> None:
    net, wrong = Net().eval(), []
    found = compiled(net)

    def call(seed: int) -> None:
        with torch.no_grad():
            for n in range(10):
                x = torch.full((2, 6), float(seed + n))
                if not torch.allclose(found(x), net(x), rtol=1e-3, atol=1e-3):
                    wrong.append(seed)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_graphs_go_with_their_modules() -> None:
    net = Net().eval()
    gone = weakref.ref(net.body[0].weight)
    with torch.no_grad():
        compiled(net)(torch.rand(2, 6))
    del net
    torch.compiler.reset()
    gc.collect()
    assert gone() is None


# -- what a caller could tell apart --------------------------------------------------------------------------------


def _switched(x: Any) -> Any:
    with torch.no_grad():
        y = x * 2
    return y + 1


def _left_off(x: Any) -> Any:
    with torch.no_grad():
        y = x * 2
        torch._dynamo.graph_break()
        z = y + 1
    return z * 3


def _autocast(x: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x


SNEAKY: dict[str, Callable[..., Any]] = {
    "a view of an argument": lambda x: x.view(-1),
    "the argument": lambda x: (x, x * 2),
    "results that share": lambda x: (y := x * 2, y.t()),
    "parts of one": lambda x: (x * 2).split(1),
    "a transposed result": lambda x: (x @ x).t(),
    "results in other orders": lambda x: (x.t() + 1, x.unsqueeze(0).permute(2, 0, 1) * 3, x - 1),
    "a broadcast result": lambda x: x.sum().expand(3),
    "a write to an argument": lambda x: x.add_(1),
    "a write to an argument, and a result": lambda x: x.mul_(2).sum() + x,
    "a write to a part": lambda x: x[0].zero_() + 1,
    "grad mode switched": _switched,
    "grad mode off at a break": _left_off,
    "autocast": _autocast,
    "vmap": lambda x: torch.vmap(lambda row: row * 2)(x),
    "grad": lambda x: torch.func.grad(lambda v: (v**2).sum())(x),
    "cond": lambda x: torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,)),
    "bfloat16": lambda x: x.bfloat16() * 2,
    "complex": lambda x: torch.complex(x, x) * 2,
    "no rule": lambda x: torch.special.i0(x),
    "None and numbers": lambda x: (x * 2, None, 3, x.shape[0]),
    "in containers": lambda x: {"a": [x + 1], "b": (x - 1, {"c": x.sum()})},
    "constants": lambda x: x + torch.tensor([1.0, 2.0, 3.0]) + torch.arange(3),
    "numpy": lambda x: x + torch.from_numpy(x.numpy() * 2),
    "item": lambda x: x * x.sum().item(),
    "flags": lambda x: x[x > 0.5].sum() + x,
    "properties": lambda x: x.T + x.mT + x.dim() + x.numel(),
    "printing": lambda x: (sys.stdout.write(""), x * 2)[1],
    "inference": lambda x: torch.inference_mode()(lambda v: v * 2)(x),
    "in place on what it made": lambda x: F.relu_(x - 0.5).add_(x),
    "a word for a loss": lambda x: F.mse_loss(x, x + 1, reduction="sum"),
}


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", SNEAKY)
def test_results_are_torchs_in_values_layout_and_memory(name: str) -> None:
    function = SNEAKY[name]
    found = compiled(function)
    for grads in (True, True, False, False, True):
        with torch.set_grad_enabled(grads):
            x = torch.rand(3, 3) - 0.3
            one, other = x.clone(), x.clone()
            ours, theirs = found(one), function(other)
            torch.testing.assert_close(ours, theirs)
            torch.testing.assert_close(one, other)
            assert torch.is_grad_enabled() == grads
            pairs = list(zip(_tensors((ours, one)), _tensors((theirs, other)), strict=True))
            for a, b in pairs:
                assert _strides(a) == _strides(b)
                assert (a.dtype, a.requires_grad, a.is_inference()) == (
                    b.dtype,
                    b.requires_grad,
                    b.is_inference(),
                )
            assert _sharing([a for a, _ in pairs]) == _sharing([b for _, b in pairs])


def _tensors(value: Any) -> list[Any]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _strides(tensor: Any) -> list[int]:
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def _sharing(every: list[Any]) -> list[list[bool]]:
    places = [one.untyped_storage().data_ptr() for one in every]
    return [[a == b for b in places] for a in places]


@pytest.mark.parametrize("kind", ["subclass", "double", "strided", "empty", "meta"])
def test_odd_arguments_are_right(kind: str) -> None:
    x = torch.rand(4, 6)
    odd = {
        "subclass": lambda: nn.Parameter(x, requires_grad=False),
        "double": lambda: x.double(),
        "strided": lambda: torch.rand(6, 8).T[::2],
        "empty": lambda: x[:0],
        "meta": lambda: x.to("meta"),
    }[kind]()
    net = Net().eval().to(odd.device, odd.dtype)
    found = compiled(net)
    with torch.no_grad():
        for given in (odd, odd):
            ours, theirs = found(given), net(given)
            assert ours.device == theirs.device
            if kind != "meta":
                torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)
