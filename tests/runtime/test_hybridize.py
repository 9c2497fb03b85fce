"""``hybridize()`` over nets, arguments and options: every call gives what the same net without it gives."""

from __future__ import annotations

import collections
import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from tolerances import TOLERANCES

import blockfuse
from blockfuse import MixedDtypesWarning, autograd, nn, np, npx
from blockfuse.array.modes import UNUSUAL
from blockfuse.runtime.calls import cases

pytestmark = pytest.mark.spread(3)

Point = collections.namedtuple("Point", "x y")


def numbers(seed: int = 1, shape: tuple[int, ...] = (3, 4), dtype: str = "float32") -> Any:
    return np.array(numpy.random.default_rng(seed).uniform(0.1, 9, shape).astype(dtype))


def made(kind: Callable[[], Any], **options: Any) -> tuple[Any, Any]:
    nets = []
    for _ in range(2):
        np.random.seed(3)
        net = kind()
        net.initialize(init=blockfuse.init.Uniform(0.5))
        nets.append(net)
    nets[1].hybridize(**options)
    return nets[0], nets[1]


def same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, tuple | list):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        same(list(found.values()), list(wanted.values()))
    elif isinstance(wanted, np.ndarray | numpy.ndarray):
        a, b = (v.asnumpy() if isinstance(v, np.ndarray) else v for v in (found, wanted))
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        rtol, _ = TOLERANCES.get(b.dtype.name, (0, 0))
        largest = float(abs(b).max()) if b.size and b.dtype != bool else 1.0
        numpy.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1.0, largest))
    else:
        assert repr(found) == repr(wanted)


def agree(nets: tuple[Any, Any], *calls: tuple[tuple[Any, ...], dict[str, Any]], rounds: int = 4) -> None:
    for _ in range(rounds):
        for args, kwargs in calls:
            np.random.seed(11)
            wanted = nets[0](*copy.deepcopy(args), **copy.deepcopy(kwargs))
            after = np.random.uniform(size=(2,))
            np.random.seed(11)
            same(nets[1](*copy.deepcopy(args), **copy.deepcopy(kwargs)), wanted)
            same(np.random.uniform(size=(2,)), after)


def compiled(net: Any) -> bool:
    return all(case.program is not None for case in net._hybrid.cases.values())


def block(forward: Callable[..., Any]) -> Callable[[], Any]:
    def kind() -> Any:
        return type(
            "Kind", (nn.Block,), {"forward": lambda self, *args, **kwargs: forward(*args, **kwargs)}
        )()

    return kind


def deep() -> Any:
    net = nn.Sequential()
    net.add(nn.Dense(8, activation="relu"), nn.LayerNorm(), nn.Dropout(0.5), nn.Dense(3), nn.Dropout(0.2))
    return net


# -- calls -----------------------------------------------------------------------------------------------------


def test_the_first_call_with_waiting_shapes_gives_the_eager_result_and_compiles() -> None:
    nets = made(deep)
    agree(nets, ((numbers(),), {}))
    assert compiled(nets[1]), nets[1].explain()


def test_shapes_ranks_and_dtypes_may_change_from_call_to_call() -> None:
    nets = made(block(lambda x: np.tanh(x).sum(axis=-1) + x.shape[0]))
    shapes = [(3, 4), (1, 4), (0, 4), (3, 1), (7,), (2, 3, 4), (3, 4)]
    calls = [((numbers(1, s, d),), {}) for s in shapes for d in ("float32", "float64")]
    agree(nets, *calls, rounds=3)
    assert len(nets[1]._hybrid.cases) == 12


@pytest.mark.long
def test_more_signatures_than_are_kept_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MAX_SIGNATURES", 6)
    nets = made(block(lambda x: x * 2 + x.shape[1]))
    agree(nets, *(((numbers(1, (2, n)),), {}) for n in range(1, 10)), rounds=2)
    assert len(nets[1]._hybrid.cases) == 6


def test_train_and_predict_mode_are_told_apart_and_draw_the_eager_stream() -> None:
    nets = made(deep)
    x = numbers()
    for train in (False, True, False, True, True, False):
        for seed in (1, 2):
            results = []
            for net in nets:
                np.random.seed(seed)
                with autograd.train_mode() if train else autograd.predict_mode():
                    results.append([net(x), net(x), np.random.uniform(size=(3,))])
            same(results[1], results[0])
    assert "in train mode: compiled" in nets[1].explain()


def test_calls_in_train_mode_run_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(x: Any) -> Any:
        while np.abs(x).sum() > 1:
            x = x / 2
        return npx.dropout(x, 0.0)

    for kind in (deep, block(halved)):
        (plain, fast), x = made(kind), numbers()
        with autograd.train_mode():
            agree((plain, fast), ((x,), {}), rounds=1)
            (case,) = fast._hybrid.cases.values()
            monkeypatch.setattr(case.program.executable, "run", None)
            calls = case.calls, case.program.executable.calls()
            np.random.seed(1)
            found = [fast(x) for _ in range(3)]
            np.random.seed(1)
            same(found, [plain(x) for _ in range(3)])
            assert (case.calls, case.program.executable.calls()) == (calls[0] + 3, calls[1])
            entry = case.program.entry
            assert entry(x) is entry(x, None) is entry(x, x, UNUSUAL) is entry() is NotImplemented
            assert entry(x, UNUSUAL) is not NotImplemented
        monkeypatch.undo()


def test_random_draws_of_blockfuse_are_compiled_and_in_the_eager_order() -> None:
    def noisy(x: Any) -> Any:
        a = np.random.normal(size=x.shape)
        b = np.random.uniform(0, 2, size=x.shape)
        return x + a - b * npx.relu(x)

    nets = made(block(noisy))
    agree(nets, ((numbers(),), {}), ((numbers(2, (5, 2)),), {}))
    same(*([net(numbers()) for _ in range(5) if np.random.seed(1) is None] for net in nets))
    assert nets[1].explain().count("): compiled") == 2


def test_keyword_nested_none_number_and_text_arguments_are_part_of_the_signature() -> None:
    def forward(x: Any, y: Any = None, *rest: Any, scale: Any = 1, mode: str = "add", **more: Any) -> Any:
        for part in rest:
            x = x + (part["a"][0] if isinstance(part, dict) else part)
        x = x * scale if mode == "add" else x - scale
        if y is not None:
            x = x + (y[0] * y[1] if isinstance(y, tuple | list) else y)
        return x + sum(more.values()) if more else x * 1

    x, z = numbers(1), numbers(2)
    nets = made(block(forward))
    agree(
        nets,
        ((x,), {}),
        ((x, None), {}),
        ((x, z), {}),
        ((x, (z, x)), {}),
        ((x, [z, 2]), {}),
        ((x, Point(z, x)), {}),
        ((x, 1), {}),
        ((x, 1.0), {}),
        ((x, True), {}),
        ((x,), {"scale": 2}),
        ((x,), {"scale": 2.0}),
        ((x,), {"scale": z}),
        ((x,), {"scale": -0.0}),
        ((x,), {"scale": 0.0}),
        ((x,), {"mode": "sub"}),
        ((x,), {"mode": "sub", "scale": 3}),
        ((x, None, z), {}),
        ((x, None, {"a": [z]}, 2), {}),
        ((x,), {"p": z, "q": 2}),
        ((x,), {"q": 2, "p": z}),
    )
    agree(nets, ((), {"x": x, "y": z}), ((), {"y": z, "x": x}))


def test_arguments_of_other_types_run_eagerly() -> None:
    class Box:
        def __init__(self, value: Any) -> None:
            self.value = value

    nets = made(block(lambda x, box: x * box.value))
    for value in (1.0, 2.0, numbers(5)):
        agree(nets, ((numbers(), Box(value)), {}))
    agree(made(block(lambda x, by: x * by)), *(((numbers(), numpy.float32(n)), {}) for n in (1, 2)))
    agree(made(block(lambda x, kept: x * len(kept))), *(((numbers(), set(range(n))), {}) for n in (1, 2)))


def test_structures_of_results_are_the_eager_ones() -> None:
    for forward in (
        lambda x: (x * 2,),
        lambda x: [x * 2, (x + 1, {"a": x.sum(), "b": [x - 1]})],
        lambda x: {"a": x * 2, 1: x + 1, None: "text"},
        lambda x: Point(x * 2, Point(x + 1, 3)),
        lambda x: (x * 2, None, 1, 2.5, True, "text", -0.0, (), [], {}),
        lambda x: (),
        lambda x: 5,
        lambda x: x.shape,
        lambda x: x.sum(),
        lambda x: x[0, 0] * 1,
    ):
        agree(made(block(forward)), ((numbers(),), {}))


def test_an_array_that_a_result_holds_twice_is_one_array_of_a_program_too() -> None:
    def forward(x: Any) -> Any:
        y = np.tanh(x)
        return {"state": [y, x + 1], "out": y}

    nets = made(block(forward))
    agree(nets, ((numbers(),), {}))
    assert compiled(nets[1])
    result = nets[1](numbers())
    assert result["state"][0] is result["out"]
    assert result["state"][1] is not result["out"]
    with blockfuse.autograd.record():  # two halves
        result = nets[1](numbers())
    assert result["state"][0] is result["out"]
    memory = {"state": [np.zeros((3, 4)), np.zeros((3, 4))], "out": np.zeros((3, 4))}
    function = blockfuse.hybridize(forward)
    for _ in range(3):
        same(function(numbers(), out=memory), forward(numbers()))
    assert memory["state"][0] is not memory["out"]


def test_two_views_in_a_result_stay_views() -> None:
    def forward(x: Any) -> Any:
        y = np.tanh(x)
        return y, y[0]

    nets = made(block(forward))
    for _ in range(3):
        whole, part = nets[1](numbers())
        part[:] = 7
        assert whole[0].asnumpy().tolist() == [7.0] * 4


def test_lists_and_dicts_in_results_are_new_at_every_call() -> None:
    _, fast = made(block(lambda x: {"all": [x * 2, []], "more": {}}))
    for _ in range(4):
        result = fast(numbers())
        assert (len(result["all"]), result["all"][1], result["more"]) == (2, [], {})
        result["all"].append(1)
        result["all"][1].append(1)
        result["more"]["key"] = 1


def test_wrong_arguments_raise_what_eager_raises() -> None:
    nets = made(lambda: nn.Dense(3, in_units=4))
    agree(nets, ((numbers(),), {}))
    for args in ((), (numbers(1, (3, 5)),), (numbers(), 1), ("text",), (None,)):
        messages = []
        for net in nets:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                net(*args)
            messages.append((caught.type, str(caught.value)))
        assert messages[0] == messages[1]
    agree(nets, ((numbers(),), {}))


def decoded(h: Any, table: Any, count: int = 6) -> Any:
    """The next state is computed behind the last token, too, where nobody needs it."""
    tokens = []
    for _ in range(count):
        token = np.argmax(np.dot(table, h))
        tokens.append(token)
        h = np.tanh(h) + table[token]
    return np.stack(tokens)


def picked(x: Any, index: Any) -> tuple[Any, Any]:
    """One of the results needs what is picked, to which the other is the smaller one."""
    x[index] + x[2 * index]
    return x * 2, x.sum() > 0


def unused(x: Any, index: Any) -> Any:
    x[index[:0]], np.linalg.inv(x)
    return np.arange(3)


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("function", "good", "bad", "error"),
    [
        (decoded, ((3,), (5, 3)), None, None),
        (picked, ((3, 3), 1), ((3, 3), 2), IndexError),
        (picked, ((3, 3), 0), ((3, 3), -4), IndexError),
        (unused, ((3, 3), [1, 7]), (numpy.ones((3, 3)), [1, 7]), numpy.linalg.LinAlgError),
    ],
)
def test_what_may_raise_and_nobody_needs_is_compiled_and_raises(
    function: Any, good: Any, bad: Any, error: Any
) -> None:
    """NOTE [needed for its error]."""

    def given(what: Any) -> Any:
        return tuple(numbers(2, one) if isinstance(one, tuple) else np.array(one) for one in what)

    fast = blockfuse.hybridize(function)
    for _ in range(3):
        same(fast(*given(good)), function(*given(good)))
    assert fast.explain().splitlines()[0].endswith("compiled"), fast.explain()
    if bad is not None:
        for call in (function, fast, fast):
            with pytest.raises(error):
                call(*given(bad))
    same(fast(*given(good)), function(*given(good)))


# -- arrays ----------------------------------------------------------------------------------------------------


def plain(dtype: str = "float32") -> numpy.ndarray:
    return numpy.random.default_rng(2).uniform(0.1, 9, (4, 4)).astype(dtype)


def read_only() -> numpy.ndarray:
    x = plain()
    x.flags.writeable = False
    return x


def unaligned() -> numpy.ndarray:
    return numpy.frombuffer(b"\0" + plain().tobytes(), numpy.uint8)[1:].view(numpy.float32).reshape(4, 4)


LAYOUTS: dict[str, Callable[[], numpy.ndarray]] = {
    "contiguous": plain,
    "Fortran": lambda: numpy.asfortranarray(plain()),
    "transposed": lambda: plain().T,
    "reversed": lambda: plain()[::-1, ::-1],
    "strided": lambda: numpy.repeat(plain(), 2, axis=1)[:, ::2],
    "broadcast": lambda: numpy.broadcast_to(plain()[0], (4, 4)),
    "swapped bytes": lambda: plain().astype(">f4"),
    "read-only": read_only,
    "unaligned": unaligned,
    "empty": lambda: plain()[:0],
    "one row": lambda: plain()[:1],
    "subclass": lambda: plain().view(numpy.matrix),
    "float64": lambda: plain("float64"),
    "float16": lambda: plain("float16"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_numpy_arrays_of_any_layout_give_numpy_arrays(name: str) -> None:
    nets = made(lambda: nn.Dense(3, in_units=4, activation="relu"))
    agree(nets, ((plain(),), {}))
    for _ in range(3):
        results = [net(LAYOUTS[name]()) for net in nets]
        assert type(results[1]) is numpy.ndarray
        same(results[1], results[0])
        assert results[1].flags.writeable


@pytest.mark.parametrize("name", [n for n in LAYOUTS if n not in ("swapped bytes", "subclass")])
def test_our_arrays_of_any_layout_give_the_eager_result(name: str) -> None:
    nets = made(block(lambda x: (x * 2, x.T + 1, x.sum(axis=0), npx.relu(x - 3))))
    for order in (("contiguous", name), (name, "contiguous")):
        for layout in order * 2:
            results = [net(np.ndarray(LAYOUTS[layout]())) for net in nets]
            same(results[1], results[0])


def test_scalars_without_axes_and_empty_arrays_are_compiled() -> None:
    nets = made(block(lambda x: np.exp(x) * 2 + x.sum()))
    calls = [((numbers(1, s),), {}) for s in ((), (1,), (0,), (0, 3), (3, 0), (1, 1, 1))]
    agree(nets, *calls)
    assert compiled(nets[1]), nets[1].explain()


def test_numpy_and_our_arrays_together_give_ours() -> None:
    nets = made(block(lambda x, y: {"sum": x + y, "all": (x * 2, [y - 1])}))
    ours, theirs = numbers(1, (4, 4)), plain()
    agree(nets, ((ours, theirs), {}), ((theirs, ours), {}), ((theirs,), {"y": theirs}), ((ours, ours), {}))


@pytest.mark.spread(6)
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
)
def test_graphs_of_every_dtype(dtype: str) -> None:
    nets = made(block(lambda x: (x + x, x * 2, x.sum(axis=1), x > 1, np.where(x > 1, x, 0), x.max(), x / 2)))
    agree(nets, ((numbers(1, (3, 5), dtype),), {}), ((numbers(2, (1, 1), dtype),), {}))


def test_integer_overflow_division_and_special_values_are_those_of_eager() -> None:
    nets = made(block(lambda x, y: (x + y, x * y, x // y, x % y, x**2)))
    for dtype in ("int8", "uint8", "int32", "float32", "float64"):
        x, y = np.array([127, 100, -128, 5, 0], dtype="int64"), np.array([1, 100, 3, -7, 2])
        agree(nets, ((x.astype(dtype), y.astype(dtype)), {}))
    nan, inf = float("nan"), float("inf")
    special = np.array([nan, inf, -inf, 0.0, -0.0, 1e38, -1e-45])
    nets = made(
        block(lambda x: (x * 10, x + 1, npx.relu(x), np.exp(x), np.maximum(x, 0), x == x, np.sign(x)))
    )
    with numpy.errstate(all="ignore"):
        for net in nets:
            net(special)
        for a, b in zip(nets[1](special), nets[0](special), strict=True):
            numpy.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


def test_host_operators_run_beside_kernels() -> None:
    def hosted(x: Any) -> Any:
        y = np.sort((x * 2).ravel()).reshape(x.shape) + 1
        return np.cumsum(y, axis=0) * 0.5, np.argsort(x.astype("float16"), axis=1)

    nets = made(block(hosted))
    agree(nets, ((numbers(),), {}), ((numbers(3, (2, 7)),), {}))


# -- options and modes -----------------------------------------------------------------------------------------


def test_hybridize_false_goes_back_to_python_and_true_compiles_again() -> None:
    _, fast = made(deep)
    x = numbers()
    wanted = fast(x)
    for active in (False, True, False, True, True):
        fast.hybridize(active)
        for _ in range(3):
            same(fast(x), wanted)
        assert (fast._hybrid is not None) is active
        assert ("plain Python" in fast.explain()) is not active


def test_unknown_options_are_refused_and_change_nothing() -> None:
    _, fast = made(deep)
    fast(numbers())
    for options in ({"static": True}, {"Threads": 1}):
        with pytest.raises(TypeError, match="has no option"):
            fast.hybridize(**options)
    with pytest.raises(TypeError, match="has no option"):
        blockfuse.hybridize(lambda x: x, static_alloc=True)
    assert fast._hybrid is not None
    for options in ({"backend": "gpu"}, {"threads": 0}, {"threads": "two"}):
        with pytest.raises(Exception, match=next(iter(options))):
            fast.hybridize(**options)


@pytest.mark.parametrize(
    "options",
    [{"backend": "cpu"}, {"threads": 1}, {"threads": 2}, {"static_alloc": True, "static_shape": True}],
)
def test_options_change_no_result(options: dict[str, Any]) -> None:
    agree(made(deep, **options), ((numbers(),), {}), ((numbers(1, (200, 4)),), {}))


def test_sub_blocks_hybridized_alone_and_within_agree() -> None:
    eager, fast = made(deep)
    fast.hybridize(False)
    fast[0].hybridize()
    agree((eager, fast), ((numbers(),), {}))
    fast.hybridize()
    agree((eager, fast), ((numbers(),), {}))
    fast[0].hybridize()  # within a net that is compiled
    agree((eager, fast), ((numbers(),), {}))
    same(fast[0](numbers()), eager[0](numbers()))


def test_copies_and_pickles_are_independent_nets() -> None:
    eager, fast = made(deep)
    agree((eager, fast), ((numbers(),), {}))
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        agree((eager, twin), ((numbers(),), {}))
        twin[0].weight.data()[:] = 0
        agree((eager, fast), ((numbers(),), {}))
        assert not numpy.allclose(twin(numbers()).asnumpy(), fast(numbers()).asnumpy())


def test_recursion_and_a_block_used_twice_agree() -> None:
    class Recursive(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(4, in_units=4, activation="tanh")

        def forward(self, x: Any, depth: int = 3) -> Any:
            return self(self.dense(x), depth - 1) + x if depth else self.dense(self.dense(x))

    agree(made(Recursive), ((numbers(),), {}), ((numbers(), 1), {}), ((numbers(),), {"depth": 5}))


def test_a_hybridized_function_called_from_a_hybridized_net_agrees() -> None:
    double = blockfuse.hybridize(lambda x: x * 2)
    agree(made(block(lambda x: double(x) + double(x + 1))), ((numbers(),), {}))


# -- explain ---------------------------------------------------------------------------------------------------


def test_explain_names_files_and_lines() -> None:
    def forward(x: Any) -> Any:
        return np.exp(x) * 2

    def leaving(x: Any) -> Any:
        return x * float(x.sum())

    _, fast = made(block(forward))
    assert "not called yet" in fast.explain()
    fast(numbers())
    line = forward.__code__.co_firstlineno + 1
    assert f"test_hybridize.py:{line}" in fast.explain()
    assert "float32[3, 4]" in fast.explain()
    _, fast = made(block(leaving))
    fast(numbers())
    line = leaving.__code__.co_firstlineno + 1
    assert f"float()) at test_hybridize.py:{line}" in fast.explain(), fast.explain()


def test_a_tuple_of_values_is_returned_itself() -> None:
    class Sized(nn.Block):
        def forward(self, x: Any) -> Any:
            return x + 1, self.size, {"size": self.size}

    net, x = Sized(), np.ones((2, 3))
    net.size = (1, (2.0, "a"), ())
    net.hybridize()
    for _ in range(4):
        result, size, named = net(x)
        assert size is net.size
        assert named["size"] is net.size
        assert result.shape == (2, 3)
    net.size = (3, 4)
    assert net(x)[1] is net.size


def test_calls_through_python_take_turns_with_one_workspace_and_keep_their_results() -> None:
    net = block(lambda x: np.sort(np.tanh(x) * 2, axis=0) @ (x.T + 1))()
    net.hybridize()
    inputs = [np.full((50, 5), n / 10) for n in range(6)]
    net(inputs[0])
    (executable,) = (case.program.executable for case in net._hybrid.cases.values())
    assert executable.entry is None  # so many are sorted by NumPy
    found = [net(x) for x in inputs]
    (kept,) = executable._runner.spaces
    same([net(x) for x in inputs], found)
    assert [id(space) for space in executable._runner.spaces] == [id(kept)]
    same(found, [net.forward(x) for x in inputs])


@pytest.mark.long
def test_results_of_several_arrays_go_when_nobody_holds_them() -> None:
    call = blockfuse.hybridize(lambda x: (x * 2, {"sum": [x.sum(), 3]}))
    x = np.ones((1 << 16,))
    for _ in range(3):
        call(x)
    gc.collect()
    gc.disable()
    try:
        held = [weakref.ref(call(x)[0]._data) for _ in range(4)]
        assert [reference() for reference in held] == [None] * 4
    finally:
        gc.enable()


@pytest.mark.long
def test_large_products_of_several_dtypes_are_told_once_with_the_cure() -> None:
    net = nn.Sequential()
    net.add(nn.Dense(128, activation="relu", in_units=150), nn.Dense(4, in_units=128))
    net.initialize()
    net.hybridize()
    given = [numpy.ones((3, 150)), np.ones((2, 150), dtype="float64"), numpy.ones((4, 150))]
    with pytest.warns(MixedDtypesWarning) as told:
        found = [net(x).dtype for x in given * 3]
    assert set(found) == {numpy.dtype("float64")}
    assert len(told) == 1
    assert told[0].filename == __file__
    text = str(told[0].message)
    assert "dense of float64 with float32 in float64, at 0 (Dense)" in text
    assert 'x.astype("float32")' in text
    assert 'cast("float64")' in text
    assert "dense of float64 with float32 in float64 from 0 (Dense), 1 (Dense)" in net.explain()
    assert 'x.astype("float32") for the input, or cast("float64") for the net' in net.explain()
    assert "numpy dense" not in net.explain()


MIXED = [
    *(
        ("float64", "float32", "float32"),
        ("float32", "float64", "float32"),
        ("float32", "float32", "float64"),
    ),
    *(("float32", "float64", "float64"), ("uint8", "float32", "float32"), ("int64", "float32", "float32")),
    *(("bool", "float64", "float32"), ("float16", "float32", "float32"), ("float32", "float16", "float64")),
]


@pytest.mark.spread(19)
@pytest.mark.parametrize("dtypes", MIXED, ids="-".join)
def test_products_of_several_dtypes_are_numpys(dtypes: tuple[str, str, str]) -> None:
    rng = numpy.random.default_rng(0)
    shapes = (3, 20), (17, 20), (17,)
    x, weight, bias = ((rng.uniform(0, 3, s)).astype(d) for s, d in zip(shapes, dtypes, strict=True))
    for call, given in (
        (lambda x, w, b: npx.fully_connected(x, w, b, num_hidden=17), (x, weight, bias)),
        (lambda x, w: npx.fully_connected(x, w, no_bias=True, num_hidden=17), (x, weight)),
        (lambda x, w: np.matmul(w, x), (x[0], weight)),
    ):
        net = blockfuse.hybridize(call)
        want = call(*map(np.array, given)).asnumpy()
        for _ in range(3):
            got = net(*given)
        assert got.dtype == want.dtype
        tolerance = 1e-5 if "float32" in {str(numpy.result_type(*dtypes[:2])), str(want.dtype)} else 1e-12
        numpy.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        assert "numpy dense" not in net.explain()
        assert "numpy matmul" not in net.explain()


def test_promoted_parameters_are_those_of_now() -> None:
    net = nn.Dense(6, in_units=5)
    net.initialize()
    net.hybridize()
    x = numpy.random.default_rng(0).normal(size=(3, 5))
    for _ in range(3):
        net(x)
    net.weight.set_data(net.weight.data() * 2 + 1)
    want = x @ net.weight.data().asnumpy().T.astype("float64") + net.bias.data().asnumpy()
    numpy.testing.assert_allclose(net(x), want, rtol=1e-12)


def test_products_of_one_dtype_and_other_operators_are_not_told() -> None:
    net = nn.Dense(6, in_units=5)
    net.initialize()
    net.hybridize()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(np.ones((3, 5)))
        blockfuse.hybridize(lambda x, y: x * y)(np.ones(3), np.ones(3, dtype="float64"))
        net.cast("float64")
        net(np.ones((3, 5), dtype="float64"))
