"""``export`` and ``SymbolBlock.imports``: a net without its classes, and files that lie."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from documents import python

from blockfuse import gluon, nn
from blockfuse.array import autograd, np, npx
from blockfuse.ir.errors import GraphFileError, MissingParameterError, ParameterFileError, UsageError
from blockfuse.nn import graph_files


class Halving(nn.Block):
    """A loop whose rounds depend on data, with a branch in it; a result of several parts."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.shift = nn.Dense(4), np.arange(4)

    def forward(self, x: Any, scale: Any = None) -> Any:
        x = self.dense(x) + self.shift
        while abs(x).sum() > 1:
            x = x * 0.5
            if x[0, 0] > 0.1:
                x = x - 0.01
        return {"out": x, "more": [7, x + 1], "scale": scale}


def inputs(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.array(numpy.random.default_rng(seed).normal(size=shape).astype("float32") * scale)


def begun(net: nn.Block, *given: Any) -> Any:
    np.random.seed(0)
    net.initialize(init="xavier")
    net.hybridize()
    net(*given)
    return net


def make_mlp() -> nn.Block:
    net = nn.HybridSequential()
    net.add(nn.Dense(8, activation="relu"), nn.BatchNorm(), nn.Dropout(0.5), nn.Dense(3))
    return net


def exported(net: nn.Block, folder: Path) -> tuple[str, str]:
    return net.export(folder / "net")


def imported(files: tuple[str, str]) -> gluon.SymbolBlock:
    return gluon.SymbolBlock.imports(files[0], ["data"], files[1])


@pytest.fixture(scope="module")
def mlp() -> Any:
    return begun(make_mlp(), inputs(2, 5))


@pytest.fixture
def files(mlp: Any, tmp_path: Path) -> tuple[str, str]:
    return exported(mlp, tmp_path)


def test_names_are_gluons_and_the_epoch_is_a_number(mlp: Any, tmp_path: Path) -> None:
    assert mlp.export(tmp_path / "net", epoch=12) == (
        f"{tmp_path}/net-symbol.json",
        f"{tmp_path}/net-0012.params",
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net-0012.params", "net-symbol.json"]


@pytest.mark.long
def test_a_loaded_net_gives_the_same_for_every_size_of_the_batch(mlp: Any, files: Any) -> None:
    net = imported(files)
    for compiled in (False, True):
        if compiled:
            net.hybridize()
        for size in (2, 1, 7, 2):
            x = inputs(size, 5, seed=size)
            with autograd.predict_mode():
                numpy.testing.assert_allclose(net(x), mlp(x), 1e-6, 1e-7)
    assert "float32[any, 5]): compiled" in net.explain()


def test_a_loaded_net_is_copied_and_pickled_like_others(mlp: Any, files: Any) -> None:
    loaded, x = imported(files), inputs(2, 5)
    for twin in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert twin._calls is not loaded._calls
        numpy.testing.assert_allclose(twin(x), mlp(x), 1e-6, 1e-7)


def test_random_numbers_are_those_of_the_net(tmp_path: Path) -> None:
    net = begun(nn.HybridLambda(lambda x: x + np.random.normal(size=(2, 3))), np.zeros((2, 3)))
    np.random.seed(1)
    files = exported(net, tmp_path)
    loaded = imported(files)
    assert loaded.collect_params() == {}
    drawn = loaded(np.zeros((2, 3)))
    np.random.seed(1)
    assert (drawn == net(np.zeros((2, 3)))).all()


@pytest.mark.long
def test_it_runs_in_another_process_without_the_class(files: Any, mlp: Any, tmp_path: Path) -> None:
    x = inputs(3, 5)
    npx.save(tmp_path / "x.npy", x)
    npx.save(tmp_path / "y.npy", mlp(x))
    code = f"""
from blockfuse import gluon, npx
net = gluon.SymbolBlock.imports({files[0]!r}, "data", {files[1]!r})
x, y = (npx.load({str(tmp_path)!r} + name) for name in ("/x.npy", "/y.npy"))
print(float(abs(net(x) - y).max()) < 1e-6)
"""
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_loops_and_branches_come_along(tmp_path: Path) -> None:
    net = begun(Halving(), inputs(2, 5))
    for seed in range(6):
        net(inputs(2, 5, seed=seed, scale=seed + 1))
    loaded = imported(exported(net, tmp_path))
    expected = [net(inputs(2, 5, seed=seed, scale=seed + 1)) for seed in range(6)]
    for compiled in (False, True):
        if compiled:
            loaded.hybridize()
        for seed in range(6):
            found = loaded(inputs(2, 5, seed=seed, scale=seed + 1))
            numpy.testing.assert_allclose(found["out"], expected[seed]["out"], 1e-6, 1e-7)
            numpy.testing.assert_allclose(found["more"][1], expected[seed]["more"][1], 1e-6)
            assert (found["more"][0], found["scale"]) == (7, None)
    assert "ways back (loops)" in loaded.explain()
    assert "0 ways back" not in loaded.explain()


def test_a_way_that_nobody_took_raises(tmp_path: Path) -> None:
    net = nn.HybridLambda(lambda x: x + 1 if x.sum() > 0 else x - 1)
    loaded = imported(exported(begun(net, np.ones((2, 2))), tmp_path))
    assert float(loaded(np.ones((2, 2)))[0, 0]) == 2
    with pytest.raises(UsageError, match="before any call had gone the way of this one"):
        loaded(-np.ones((2, 2)))


@pytest.mark.long
def test_one_size_stays_where_the_net_depends_on_it(tmp_path: Path) -> None:
    net = nn.HybridLambda(lambda x: x.sum(axis=0) / len(x))
    loaded = imported(exported(begun(net, np.ones((4, 2))), tmp_path))
    assert loaded(np.ones((4, 2))).asnumpy().tolist() == [1, 1]
    with pytest.raises(UsageError, match=r"with \(float32\[4, 2\]\); this one has \(float32\[5, 2\]\)"):
        loaded(np.ones((5, 2)))


@pytest.mark.long
def test_train_mode_is_refused_and_gradients_are_not(mlp: Any, files: Any) -> None:
    loaded, x = imported(files), inputs(2, 5)
    with (
        pytest.raises(UsageError, match=r"in predict mode: use record\(train_mode=False\)"),
        autograd.record(),
    ):
        loaded(x)
    gradients = []
    for net in (mlp, loaded):
        with autograd.record(train_mode=False):
            total = (net(x) ** 2).sum()
        total.backward()
        gradients.append(net.collect_params()["0.weight"].grad())
    assert abs(gradients[0]).max() > 0
    numpy.testing.assert_allclose(gradients[0], gradients[1], 1e-5, 1e-6)
    assert loaded.collect_params()["1.running_mean"].grad_req == "null"


def test_parameters_go_back_into_the_net(mlp: Any, files: Any, tmp_path: Path) -> None:
    loaded, other = imported(files), make_mlp()
    loaded.collect_params()["3.bias"].set_data(np.array([1, 2, 3]))
    loaded.save_parameters(tmp_path / "saved")
    other.initialize()
    other.load_parameters(tmp_path / "saved")
    x = inputs(2, 5)
    numpy.testing.assert_allclose(other(x), loaded(x), 1e-6, 1e-6)
    other.load_parameters(files[1])
    numpy.testing.assert_allclose(other(x), mlp(x), 1e-6, 1e-6)


def test_what_changed_since_the_last_call_is_exported_as_it_is_now(tmp_path: Path) -> None:
    class Scaled(nn.Block):
        factor = 2.0

        def forward(self, x: Any) -> Any:
            return x * self.factor

    net = begun(Scaled(), np.ones(2))
    net.factor = 3.0
    assert imported(exported(net, tmp_path))(np.ones(2)).asnumpy().tolist() == [3, 3]


@pytest.mark.long
def test_shared_parameters_and_keywords_and_several_arrays(tmp_path: Path) -> None:
    class Pair(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Dense(3, in_units=3), nn.Dense(3, in_units=3)
            self.other.share_parameters(self.one.collect_params())

        def forward(self, x: Any, *, y: Any) -> Any:
            return self.other(npx.relu(self.one(x))) + y, x - y

    net = Pair()
    net.initialize()
    net.hybridize()
    x, y = inputs(2, 3), inputs(2, 3, seed=1)
    expected = net(x, y=y)
    files = exported(net, tmp_path)
    loaded = gluon.SymbolBlock.imports(files[0], ["x", "y"], files[1])
    assert list(loaded.collect_params()) == ["one.weight", "one.bias"]
    for found, wanted in zip(loaded(inputs(2, 3), y=y), expected, strict=True):
        numpy.testing.assert_allclose(found, wanted, 1e-6, 1e-6)
    with pytest.raises(UsageError, match=r"takes \[2\] arrays, not 1"):
        gluon.SymbolBlock.imports(files[0], "data")


def test_a_cell_gives_its_state_as_output_too(tmp_path: Path) -> None:
    cell = gluon.rnn.GRUCell(4, input_size=3)
    cell.initialize()
    cell.hybridize()
    x, state = inputs(2, 3), [inputs(2, 4, seed=1)]
    expected, _ = cell(x, state)
    files = exported(cell, tmp_path)
    found, (after,) = gluon.SymbolBlock.imports(files[0], ["x", "state"], files[1])(x, state)
    assert found is after
    numpy.testing.assert_allclose(found, expected, 1e-6, 1e-6)


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    net = nn.HybridLambda(lambda x: x + x.asnumpy())
    with pytest.raises(UsageError, match="is not hybridized: call hybridize"):
        exported(net, tmp_path)
    net.hybridize()
    with pytest.raises(UsageError, match="was not called in predict mode"):
        exported(net, tmp_path)
    net(np.ones(2))
    with pytest.raises(UsageError, match=r"it runs in Python, so there is no graph of it: .*asnumpy"):
        exported(net, tmp_path)
    twice = begun(nn.HybridLambda(lambda x, y: x + y), *[np.ones(2)] * 2)
    with pytest.raises(UsageError, match="it was given one array twice"):
        exported(twice, tmp_path)
    assert not list(tmp_path.iterdir())


# -- files that lie ------------------------------------------------------------------------------------------


def rewritten(file: str, change: Callable[[Any], Any]) -> None:
    """The body changed by somebody who knows how to make the digest fit."""
    whole = json.loads(Path(file).read_text())
    change(whole["body"])
    whole["digest"] = graph_files._digest(whole["body"])
    Path(file).write_text(json.dumps(whole))


def flow(body: Any) -> Any:
    return body["calls"][0]["flow"]


def node(body: Any, number: int) -> Any:
    return flow(body)[0]["nodes"][number]


LIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown operator": (lambda b: node(b, 0).update(operator="os.system"), "no operator 'os.system'"),
    "a leaf as operator": (lambda b: node(b, 0).update(operator="hoisted"), "no operator that is called"),
    "another operator": (lambda b: node(b, 0).update(operator="matmul"), "matmul does not take|gives"),
    "wrong type": (
        lambda b: node(b, 0).update(type=["float32", [1, 9]]),
        r"float32\[1, 8\], and the file says",
    ),
    "no dtype": (lambda b: node(b, 0).update(type=["object", [1, 8]]), "'object' is no dtype"),
    "negative size": (lambda b: node(b, 0).update(type=["float32", [-1, 8]]), "a size is -1"),
    "operand ahead": (lambda b: node(b, 0).update(operands=[99, 0, 1]), "a value is 99"),
    "negative operand": (lambda b: node(b, 0).update(operands=[-1, 0, 1]), "a value is -1"),
    "operand is a text": (lambda b: node(b, 0).update(operands="abc"), "operands is 'abc'"),
    "strange attribute": (
        lambda b: node(b, 2)["attrs"].update(epsilon={"pickle": "gASVAA=="}),
        "of the kind 'pickle'",
    ),
    "unknown attribute": (lambda b: node(b, 0)["attrs"].update(axis=1), "dense does not take"),
    "short array": (
        lambda b: node(b, 2)["attrs"].update(
            epsilon={"array": {"dtype": "float32", "shape": [2], "data": ""}}
        ),
        "has 0 bytes",
    ),
    "parameter of another shape": (lambda b: b["parameters"][0].update(type=["float32", [8, 6]]), "0.weight"),
    "parameter that is not there": (lambda b: b["parameters"].pop(0), "0.weight"),
    "two parameters of a name": (lambda b: b["parameters"].append(b["parameters"][0]), "one name"),
    "no blocks": (lambda b: flow(b).clear(), "has no blocks"),
    "a block that follows and is not there": (
        lambda b: flow(b)[0].update(successors=[1, None]),
        "truth|a block",
    ),
    "no result": (lambda b: flow(b)[0]["outputs"].clear(), "other arrays than the call returns"),
    "arguments of other types": (
        lambda b: b["calls"][0]["types"][0].__setitem__(0, "int64"),
        "other arguments",
    ),
    "more arguments": (lambda b: b["calls"][0]["types"].append(["int64", []]), "not as many"),
    "results counted otherwise": (lambda b: b["calls"][0].update(gives={"array": 1}), "are counted"),
    "a container of no kind": (lambda b: b["calls"][0].update(gives={"set": [{"array": 0}]}), "set"),
    "code for a value": (
        lambda b: b["calls"][0].update(gives={"tuple": [{"array": 0}, {"value": "exit()", "type": "int"}]}),
        "malformed node",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie: str, files: Any) -> None:
    change, words = LIES[lie]
    rewritten(files[0], change)
    with pytest.raises(GraphFileError, match=words) as raised:
        imported(files)
    assert files[0] in str(raised.value)


def test_a_damaged_file_is_refused(files: Any) -> None:
    text = Path(files[0]).read_text()
    damages = {
        text[: len(text) // 2]: "is damaged",
        text.replace(
            '"version": 1', '"version": 2'
        ): "of version 2 of the format; this blockfuse reads version 1",
        text.replace("epsilon", "epsilom"): "its content is not the one whose digest",
        '{"nodes": []}': "no file that export",
        "[" * 100_000: "damaged",
        "": "damaged",
    }
    for damaged, words in damages.items():
        Path(files[0]).write_text(damaged)
        with pytest.raises(GraphFileError, match=words):
            imported(files)
    Path(files[0]).write_bytes(b"\xff\xfe\x00PK")
    with pytest.raises(GraphFileError, match="damaged"):
        imported(files)


def test_parameters_that_do_not_fit_are_refused(files: Any, tmp_path: Path) -> None:
    other = nn.Dense(3, in_units=2)
    other.initialize()
    other.save_parameters(tmp_path / "other")
    with pytest.raises(MissingParameterError, match=r"0\.weight is missing"):
        imported((files[0], str(tmp_path / "other")))
    Path(files[1]).write_bytes(Path(files[1]).read_bytes()[:200])
    with pytest.raises(ParameterFileError, match="no parameter file"):
        imported(files)


def test_registers_must_be_stored_and_blocks_must_decide(tmp_path: Path) -> None:
    net = begun(Halving(), inputs(2, 5))
    files = exported(net, tmp_path)
    content = Path(files[0]).read_text()

    def lie(change: Callable[[Any], Any], words: str) -> None:
        Path(files[0]).write_text(content)
        rewritten(files[0], change)
        with pytest.raises(GraphFileError, match=words):
            imported(files)

    lie(lambda b: flow(b)[0].update(stores=[]), "decides by something else than one truth")
    lie(lambda b: flow(b)[0].update(successors=[99, 0]), "a block is 99")
    lie(lambda b: flow(b)[0]["stores"].__setitem__(0, "elsewhere"), "where nothing was stored on some way")
