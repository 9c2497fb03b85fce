"""Torch's border in native code: it takes plain calls, sees whatever makes one no plain call, and leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import random
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.nn.modules import module as hooks  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import blockfuse  # noqa: E402
from blockfuse.frontends.torch import border, tensor_layout, tensors, torch_net  # noqa: E402

torch.set_num_threads(1)

pytestmark = pytest.mark.skipif(
    tensor_layout.LAYOUT is None or border.border(print) is None,
    reason="this torch keeps its tensors elsewhere: Python takes the calls",
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Draw torch's numbers by the seed of the run."""
    torch.manual_seed(random.randrange(1 << 31))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def warm(module: nn.Module, *args: Any) -> Any:
    """The compiled module, whose calls native code takes."""
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for _ in range(3):
            net(*args)
        assert net._entry is not None
        assert net._entry(*args) is not NotImplemented
    return net


@pytest.fixture(scope="module")
def net() -> Any:
    return warm(mlp(), torch.rand(2, 4))


def same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5)


# -- states in which torch runs ----------------------------------------------------------------------------------


class Looking(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Dispatching(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class _Double:
    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_: Any) -> None:
        torch.set_default_dtype(torch.float32)


class _Hooked:
    """There is a hook for all modules, of one kind."""

    def __init__(self, number: int) -> None:
        self.register = (
            hooks.register_module_forward_hook,
            hooks.register_module_forward_pre_hook,
            hooks.register_module_full_backward_hook,
            hooks.register_module_full_backward_pre_hook,
        )[number]

    def __enter__(self) -> None:
        self.handle = self.register(lambda *_: None)

    def __exit__(self, *_: Any) -> None:
        self.handle.remove()


STATES: dict[str, Callable[[], Any]] = {
    "grad mode": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "function mode": Looking,
    "default device": lambda: torch.device("cpu"),
    "dispatch mode": Dispatching,
    "default dtype": _Double,
    "tangents": forward_ad.dual_level,
    **{f"hook {n}": lambda n=n: _Hooked(n) for n in range(4)},
}


@pytest.mark.parametrize("state", STATES)
def test_native_code_leaves_calls_to_python_where_torch_may_have_to_run(net: Any, state: str) -> None:
    X = torch.rand(2, 4)
    with torch.no_grad(), STATES[state]():
        assert net._entry(X) is NotImplemented
        same(net(X), net.module(X))
    with torch.no_grad():
        same(net._entry(X), net.module(X))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_transforms_and_traces_see_through(net: Any) -> None:
    X, told = torch.rand(2, 4), []

    def asked(x: Any) -> Any:
        told.append(net._entry(X) is NotImplemented)
        return x * 2

    with torch.no_grad():
        torch.vmap(asked)(X)
        torch.func.jvp(asked, (X,), (X,))
        torch.func.vjp(asked, X)
        torch.func.functionalize(asked)(X)
        torch.jit.trace(asked, X, check_trace=False)
    assert told == [True] * 5


def test_states_are_those_of_the_thread(net: Any) -> None:
    X, told = torch.rand(2, 4), []

    def ask() -> None:
        told.append(net._entry(X) is NotImplemented)  # grad mode is on where nobody turned it off
        with torch.no_grad():
            told.append(net._entry(X) is NotImplemented)

    with torch.no_grad():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert told == [True, False]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_tangents_are_not_lost() -> None:
    module = mlp()
    net, X, tangent = warm(module, torch.rand(2, 4)), torch.rand(2, 4), torch.rand(2, 4)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(X, tangent)
        found, expected = (forward_ad.unpack_dual(f(dual)).tangent for f in (net, module))
        assert found is not None
        same(found, expected)
    assert "ran in torch: tensors may have tangents" in net.explain()


def test_inference_mode_gives_what_torch_gives_there(net: Any) -> None:
    X = torch.rand(2, 4)
    with torch.inference_mode():
        inside = torch.rand(2, 4)
        for given in (X, inside):
            found = net._entry(given)
            same(found, net.module(given))
            assert found.is_inference()
    with torch.no_grad():
        same(net._entry(inside), net.module(inside))
        assert not net._entry(inside).is_inference()


# -- arguments ---------------------------------------------------------------------------------------------------


class Sub(torch.Tensor):
    pass


def _with_attribute() -> Any:
    x = torch.rand(2, 4)
    x.mask = 1
    return x


REFUSED: dict[str, Callable[[], Any]] = {
    "a parameter": lambda: nn.Parameter(torch.rand(2, 4), requires_grad=False),
    "a subclass": lambda: torch.rand(2, 4).as_subclass(Sub),
    "one that requires gradients": lambda: torch.rand(2, 4, requires_grad=True),
    "one that was computed of such": lambda: _computed(),
    "one with an attribute": _with_attribute,
    "a negative one": lambda: torch.complex(torch.rand(2, 4), torch.rand(2, 4)).conj().imag,
    "a conjugate one": lambda: torch.complex(torch.rand(2, 4), torch.rand(2, 4)).conj(),
    "a complex one": lambda: torch.complex(torch.rand(2, 4), torch.rand(2, 4)),
    "bfloat16": lambda: torch.rand(2, 4).bfloat16(),
    "meta": lambda: torch.rand(2, 4).to("meta"),
    "sparse": lambda: torch.rand(2, 4).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.rand(2, 4), 0.1, 0, torch.quint8),
    "six axes": lambda: torch.rand(1, 1, 1, 1, 2, 4),
    "another dtype": lambda: torch.rand(2, 4).double(),
    "another shape": lambda: torch.rand(2, 5),
    "nothing in it": lambda: torch.rand(0, 4),
    "an array": lambda: numpy.ones((2, 4), "float32"),
    "our array": lambda: blockfuse.np.ones((2, 4)),
    "no array": lambda: 3.5,
    "none": lambda: None,
}


def _computed() -> Any:
    with torch.enable_grad():
        return torch.rand(2, 4, requires_grad=True) * 2


@pytest.mark.filterwarnings("ignore:torch.quantize")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_tensor_comes_to_python(net: Any, kind: str) -> None:
    with torch.no_grad():
        odd = REFUSED[kind]()
        before = sys.getrefcount(odd)
        assert net._entry(odd) is NotImplemented
        assert odd is None or sys.getrefcount(odd) == before


TAKEN: dict[str, Callable[[], Any]] = {
    "new": lambda: torch.rand(2, 4),
    "detached": lambda: torch.rand(2, 4, requires_grad=True).detach(),
    "transposed": lambda: torch.rand(4, 2).t(),
    "every second": lambda: torch.rand(4, 8)[::2, ::2],
    "behind others": lambda: torch.rand(7, 4)[5:],
    "one row twice": lambda: torch.rand(1, 4).expand(2, 4),
    "one number": lambda: torch.rand(1).expand(2, 4),
    "in NumPy's memory": lambda: torch.from_numpy(numpy.random.default_rng(0).random((2, 4), "float32")),
    "in memory that was moved": lambda: torch.rand(1).resize_(2, 4).fill_(0.5),
    "turned in place": lambda: torch.rand(4, 2).t_(),
    "in other memory": lambda: torch.rand(3).set_(torch.rand(2, 4)),
    "shared": lambda: torch.rand(2, 4).share_memory_(),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_plain_tensors_are_read_where_they_lie(net: Any, kind: str) -> None:
    with torch.no_grad():
        given = TAKEN[kind]()
        expected = net.module(given)
        for _ in range(2):
            found = net._entry(given)
            same(found, expected)
        assert type(found) is torch.Tensor
        assert (found.is_contiguous(), found.requires_grad, found.is_leaf) == (True, False, True)


def test_a_tensor_that_is_given_twice_comes_to_python() -> None:
    class Sum(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a * 2 + b if a is b else a + b

    a, b = torch.rand(3), torch.rand(3)
    net = warm(Sum(), a, b)
    with torch.no_grad():
        assert net._entry(a, a) is NotImplemented
        same(net(a, a), a * 3)
        same(net(a, b), a + b)
        same(net._entry(a, a[:]), a + a)  # another tensor in the same memory


def test_numbers_of_arguments(net: Any) -> None:
    class Sum(nn.Module):
        def forward(self, *given: Any) -> Any:
            return sum(given[1:], given[0])

    X = torch.rand(2, 4)
    with torch.no_grad():
        assert net._entry() is NotImplemented
        assert net._entry(X, torch.rand(2, 4)) is NotImplemented
        with pytest.raises(TypeError):
            net()
        for count in (8, 9):
            many = [torch.rand(3) for _ in range(count)]
            summing = blockfuse.compile(Sum(), threads=1)
            for _ in range(3):
                same(summing(*many), sum(many[1:], many[0]))
            assert (summing._entry(*many) is NotImplemented) == (count > 8)


@pytest.mark.spread(3)
@pytest.mark.parametrize("dtype", sorted({*tensor_layout.DTYPES} - {torch.float16}, key=str), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3, 1, 2)])
def test_dtypes_and_shapes_go_in_and_out(dtype: Any, shape: tuple[int, ...]) -> None:
    class Twice(nn.Module):
        def forward(self, x: Any) -> Any:
            return x | x if x.dtype is torch.bool else x + x

    X = (torch.rand(shape) * 9).to(dtype)
    net = warm(Twice(), X)
    with torch.no_grad():
        found, expected = net._entry(X), net.module(X)
        for of in ("dtype", "shape"):
            assert getattr(found, of) == getattr(expected, of)
        assert found.stride() == expected.stride()
        assert torch.equal(found, expected)


def test_results_that_are_no_single_array_are_right() -> None:
    class Pair(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 1, x * 2

    class Named(nn.Module):
        def forward(self, x: Any) -> Any:
            return {"more": x + 1, "parts": [x * 2, (x - 1,)]}

    X = torch.rand(3)
    with torch.no_grad():
        for module in (Pair(), Named()):
            net = blockfuse.compile(module, threads=1)
            for _ in range(4):
                torch.testing.assert_close(net(X), module(X))


# -- weights -----------------------------------------------------------------------------------------------------


MOVES: dict[str, Callable[[Any], Any]] = {
    "other memory": lambda w: setattr(w, "data", torch.rand(8, 4)),
    "another place there": lambda w: setattr(w, "data", torch.rand(9, 4)[1:]),
    "another order": lambda w: setattr(w, "data", torch.rand(4, 8).t()),
    "the same numbers turned": lambda w: w.data.resize_(4, 8).t_(),
    "another dtype": lambda w: setattr(w, "data", w.data.double()),
    "another class": lambda w: setattr(w, "__class__", Weight),
    "new values": lambda w: w.data.copy_(torch.rand(8, 4)),
    "set_": lambda w: w.data.set_(torch.rand(8, 4)),
    "shared memory": lambda w: w.share_memory_(),
    "another sign in the same memory": lambda w: setattr(w, "data", torch._neg_view(w.data)),
    "gradients": lambda w: w.requires_grad_(False),
}


class Weight(nn.Parameter):
    pass


@pytest.mark.spread(3)
@pytest.mark.parametrize("move", MOVES)
def test_weights_that_moved_are_read_where_they_lie_now(move: str) -> None:
    module, X = mlp(), torch.rand(2, 4)
    net = warm(module, X)
    with torch.no_grad():
        MOVES[move](module[0].weight)
        if module[0].weight.dtype is torch.float64:
            with pytest.raises(RuntimeError):
                net(X)
            return
        for _ in range(3):
            same(net(X), module(X))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "train": lambda m: m.train(),
    "attribute": lambda m: setattr(m[1], "inplace", True),
    "another layer": lambda m: m.__setitem__(1, nn.Tanh()),
    "one more layer": lambda m: m.append(nn.Tanh()),
    "no bias": lambda m: setattr(m[2], "bias", None),
    "another weight": lambda m: setattr(m[0], "weight", nn.Parameter(torch.rand(8, 4))),
    "a hook": lambda m: m[0].register_forward_hook(lambda _m, _a, result: result * 2),
    "a hook before": lambda m: m[0].register_forward_pre_hook(lambda _m, args: (args[0] * 2,)),
    "a function of its own": lambda m: setattr(m[1], "forward", torch.tanh),
    "another class": lambda m: setattr(m[1], "__class__", nn.Sigmoid),
    "other attributes": lambda m: setattr(m[0], "__dict__", copy.deepcopy(nn.Linear(4, 8)).__dict__),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("change", CHANGES)
def test_modules_that_changed_are_seen(change: str) -> None:
    module, X = mlp(), torch.rand(2, 4)
    net = warm(module, X)
    CHANGES[change](module)
    with torch.no_grad():
        assert net._entry(X) is NotImplemented
        for _ in range(3):
            same(net(X), module(X))


def test_writes_between_calls_are_read_without_a_look() -> None:
    module, X = mlp(), torch.rand(2, 4)
    net = warm(module, X)
    with torch.no_grad():
        for _ in range(5):
            module[0].weight.detach().numpy()[:] *= -1.5
            same(net._entry(X), module(X))
        module.train()
        module.eval()
        net(X)
        same(net._entry(X), module(X))


# -- memory ------------------------------------------------------------------------------------------------------


def test_results_hold_their_memory_and_are_their_owners() -> None:
    net, X = warm(mlp(), torch.rand(2, 4)), torch.rand(2, 4)
    with torch.no_grad():
        expected = net.module(X)
        first, second = net._entry(X), net._entry(X)
        view = first[1:]
        first.add_(1)
        same(second, expected)
        del net, first
        gc.collect()
        same(view, expected[1:] + 1)
        assert second.untyped_storage().data_ptr() != view.untyped_storage().data_ptr()


def test_nothing_is_left_of_calls(net: Any) -> None:
    X = torch.rand(2, 4)
    gone = weakref.ref(X)

    def counts() -> list[int]:
        held = (torch.Tensor, numpy.ndarray, numpy.dtype("float32"), NotImplemented, net._block, True, False)
        return [sys.getrefcount(one) for one in held]

    with torch.no_grad():
        before = counts()
        for given in (X, X.double(), X.requires_grad_(False)):
            for _ in range(1000):
                net._entry(given)
        assert max(abs(a - b) for a, b in zip(before, counts(), strict=True)) < 20
        result = net._entry(X)
    del X, given
    assert gone() is None
    assert result.shape == (2, 3)


def test_results_go_in_any_thread(net: Any) -> None:
    X = torch.rand(2, 4)
    with torch.no_grad():
        results = [net._entry(X) for _ in range(200)]
    threads = [threading.Thread(target=results.clear) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.no_grad():
        same(net._entry(X), net.module(X))


def test_large_results_give_their_memory_back() -> None:
    module = nn.Linear(4, 5000)
    wide, X = warm(module, torch.rand(100, 4)), torch.rand(100, 4)
    with torch.no_grad():
        places = {wide._entry(X).data_ptr() for _ in range(20)}
        same(wide._entry(X), module(X))
    assert len(places) < 10


# -- where native code cannot look -------------------------------------------------------------------------------


def test_python_takes_calls_of_a_torch_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_layout, "LAYOUT", None)
    monkeypatch.setattr(border, "LAYOUT", None)
    module, X = mlp(), torch.rand(2, 4)
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for _ in range(4):
            same(net(X), module(X))
            module[0].weight.data = torch.rand(8, 4)
    assert net._entry is None
    assert ": compiled" in net.explain()


def test_what_fails_in_the_compiler_leaves_calls_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Any) -> Any:
        raise ValueError("injected")

    monkeypatch.setattr(torch_net, "border", failing)
    module, X = mlp(), torch.rand(2, 4)
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        with pytest.warns(blockfuse.CompilerWarning, match="injected"):
            net(X)
        net(X)
        same(net(X), module(X))


def test_fields_tell_where_tensors_lie() -> None:
    known = tensor_layout.LAYOUT
    assert known is not None
    for tensor in tensor_layout._changed():
        assert tensor_layout._is_as_told(known, tensor)
    told = tensors.held(nn.Parameter(torch.rand(2, 3)), "it")[1]
    assert len(told.comparisons()) == 1
    assert tensors.held(nn.Parameter(torch.rand(1, 1, 1, 1, 1, 2)), "it")[1].comparisons() == ()


def test_an_installed_module_reaches_native_code() -> None:
    module, X = mlp(), torch.rand(2, 4)
    expected = module(X).detach()
    net = blockfuse.torch.install(module, threads=1)
    with torch.no_grad():
        for _ in range(4):
            same(module(X), expected)
        [program] = [case.program for case in net._block._hybrid.cases.values() if case.program]
        before = program.executable.calls()
        same(module(X), expected)
        assert program.executable.calls() == before + 1
        same(module(input=X), expected)
    for grad in (torch.enable_grad, nullcontext):
        with grad():
            assert module(X).requires_grad
