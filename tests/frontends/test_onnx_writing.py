"""``blockfuse.to_onnx``: every row of the operator table, nets, names, and what is refused."""

import re

import numpy
import pytest

import blockfuse
from blockfuse import autograd, nn, np, npx
from blockfuse.frontends import compiling
from blockfuse.gluon import rnn
from blockfuse.ir.errors import NotInitializedError, UnsupportedOperatorsError, UsageError
from blockfuse.ir.operator import TABLE

onnx = pytest.importorskip("onnx")
from blockfuse.frontends.onnx.writing import model as writing  # noqa: E402

# rows whose calls nobody writes in a forward: what passes make, what draws, leaves
INNER = {
    *(
        "argument",
        "captured",
        "carried",
        "checked",
        "constant",
        "drawn",
        "fused",
        "hoisted",
        "pack",
        "parameter",
    ),
    *(
        "packed_product",
        "picked",
        "reserve",
        "routed",
        "window_product",
        "int8_codes",
        "int8_scales",
        "rounded",
    ),
    *("bfloat16_bits", "interleave", "pair_steps"),
}
REFUSED = {  # in all calls or some
    *(
        "add_at",
        "put_at",
        "arctan2",
        "convolution_weights",
        "cumprod",
        "eigh",
        "eigvalsh",
        "gamma",
        "digamma",
        "gammaln",
        "hypot",
        "inverse",
    ),
    *("left_shift", "max_picking", "max_unpooling", "qr", "right_shift", "signbit", "sliding_windows"),
    *("cholesky", "solve", "solve_lower", "solve_upper", "sum_unpooling", "take_at"),
}
INTEGERS = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift"}
ROWS = [
    pytest.param(name, n, id=f"{name}-{n}")
    for name, operator in sorted(TABLE.items())
    for n in range(len(operator.examples))
    if name not in INNER and not operator.random
]


class Row(nn.Block):
    """One call of an operator."""

    def __init__(self, operator, attrs):
        super().__init__()
        self.operator, self.attrs = operator, attrs

    def forward(self, *operands):
        return self.operator(*operands, **self.attrs)


def operands_of(name, example):
    draw = numpy.random.default_rng(len(name))
    for place, shape in enumerate(example.shapes):
        if place in example.integers:
            yield draw.integers(0, int(example.high), shape)
        elif name in INTEGERS:
            yield draw.integers(0, 9, shape).astype("int32")
        else:
            x = draw.uniform(example.low, example.high, shape).astype("float32")
            yield x @ x.swapaxes(-1, -2) + numpy.eye(shape[-1], dtype="float32") if example.definite else x


@pytest.mark.spread(3)
@pytest.mark.parametrize(("name", "number"), ROWS)
def test_a_row_gives_the_same_as_a_model(name, number):
    operator, example = TABLE[name], TABLE[name].examples[number]
    arrays = [np.array(x, dtype=x.dtype) for x in operands_of(name, example)]
    net = Row(operator, example.attrs)
    try:
        check(net, arrays)
    except UnsupportedOperatorsError as error:
        assert name in REFUSED
        assert re.search(rf"ONNX has no form of {name}.* \(at test_onnx_writing.py:", str(error))  # noqa: PT017 - some calls


def check(net, arrays, path=None, tolerance=1e-5):
    """The model, after it gave in ONNX Runtime (if there is one) and in ours what the net gives."""
    model = blockfuse.to_onnx(net, arrays, path)
    expected = _listed(net(*arrays))
    back = blockfuse.compile(model)
    back.hybridize(False)
    results = [
        [x.asnumpy() for x in _listed(back(*arrays))] if arrays else _listed(back()),
        *in_runtime(model, arrays),
    ]
    for found in results:
        for x, y in zip(expected, found, strict=True):
            y = numpy.asarray(y)
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            numpy.testing.assert_allclose(y, x.asnumpy(), rtol=1e-4, atol=tolerance)
    return model


def _listed(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def in_runtime(model, arrays):
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [given.name for given in session.get_inputs()]
    yield session.run(None, dict(zip(names, [x.asnumpy() for x in arrays], strict=True)))


# -- nets ------------------------------------------------------------------------------------------------------------


def dense():
    return nn.Sequential(nn.Dense(8, activation="relu"), nn.Dense(3)), [(2, 5)]


def lenet():
    net = nn.Sequential(
        *(nn.Conv2D(4, 5, padding=2, activation="sigmoid"), nn.AvgPool2D(2, 2)),
        *(nn.Conv2D(6, 5, activation="sigmoid"), nn.AvgPool2D(2, 2), nn.Flatten()),
        *(nn.Dense(12, activation="sigmoid"), nn.Dense(10)),
    )
    return net, [(2, 1, 16, 16)]


class Residual(nn.Block):
    def __init__(self, channels, strides):
        super().__init__()
        self.conv1 = nn.Conv2D(channels, 3, padding=1, strides=strides)
        self.conv2 = nn.Conv2D(channels, 3, padding=1)
        self.conv3 = nn.Conv2D(channels, 1, strides=strides)
        self.bn1, self.bn2 = nn.BatchNorm(), nn.BatchNorm()

    def forward(self, X):
        Y = npx.relu(self.bn1(self.conv1(X)))
        return npx.relu(self.bn2(self.conv2(Y)) + self.conv3(X))


def resnet():
    net = nn.Sequential(
        *(nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(3, 2, 1)),
        *(Residual(4, 1), Residual(8, 2), nn.GlobalAvgPool2D(), nn.Dense(5)),
    )
    return net, [(2, 3, 8, 8)]


class Encoder(nn.Block):
    """Attention over three steps, as in a transformer's encoder; it asks for no sizes."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(11, width)
        self.queries, self.keys, self.values = (nn.Dense(width, flatten=False) for _ in range(3))
        self.norm1, self.norm2 = nn.LayerNorm(), nn.LayerNorm()
        self.inner, self.outer = nn.Dense(2 * width, flatten=False), nn.Dense(width, flatten=False)

    def forward(self, tokens):
        X = self.embedding(tokens)
        parts = [f(X).reshape(-1, 3, self.heads, 4).transpose(0, 2, 1, 3) for f in self.projections]
        scores = np.matmul(parts[0], parts[1].transpose(0, 1, 3, 2)) / 2
        attended = np.matmul(npx.softmax(scores), parts[2]).transpose(0, 2, 1, 3)
        attended = attended.reshape(-1, 3, 8)
        X = self.norm1(X + attended)
        return self.norm2(X + self.outer(npx.gelu(self.inner(X))))

    @property
    def projections(self):
        return self.queries, self.keys, self.values


def encoder():
    return Encoder(8, 2), [numpy.array([[1, 2, 10], [0, 3, 9]])]


def deconvolution():
    layers = (nn.Conv2DTranspose(3, 4, strides=2, padding=1, output_padding=1), nn.LeakyReLU(0.1))
    return nn.Sequential(*layers, nn.Conv2D(2, 3, groups=1, dilation=2)), [(2, 4, 5, 5)]


def recurrent():
    return nn.Sequential(nn.Embedding(7, 4), rnn.LSTM(5, layout="NTC")), [numpy.array([[1, 2, 3], [0, 6, 5]])]


def gated():
    return rnn.GRU(4, num_layers=2), [(3, 2, 5)]


@pytest.mark.parametrize(
    "make", [dense, lenet, resnet, encoder, deconvolution, recurrent, gated], ids=lambda make: make.__name__
)
def test_nets_give_the_same_in_other_runtimes_and_when_they_come_back(make):
    net, examples = make()
    net.initialize()
    arrays = [
        np.array(x, dtype=x.dtype) if isinstance(x, numpy.ndarray) else np.random.normal(size=x)
        for x in examples
    ]
    model = check(net, arrays)
    held = {tensor.name for tensor in model.graph.initializer}
    assert set(net.collect_params()) <= held
    for name, parameter in net.collect_params().items():
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        assert (onnx.numpy_helper.to_array(tensor) == parameter.data().asnumpy()).all()
    if make is not gated:
        assert _sizes(model.graph.input[0])[0] == "batch"
        check_other_size(net, model, arrays[0])


def check_other_size(net, model, x):
    wide = np.concatenate([x, x, x[:1]])
    back = blockfuse.compile(model)
    back.hybridize(False)
    for found in ([back(wide).asnumpy()], *in_runtime(model, [wide])):
        numpy.testing.assert_allclose(found[0], net(wide).asnumpy(), rtol=1e-4, atol=1e-5)


def _sizes(value):
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


# -- what a model says -----------------------------------------------------------------------------------------------


class Several(nn.Block):
    """Two arguments, results of all kinds, arrays that are no parameters."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(3, in_units=3)
        self.second = self.first
        self.offset = np.array([1, 2, 3])

    def forward(self, left, right):
        total = self.second(self.first(left)) + right * self.offset
        return {"total": total, "parts": [left, total, total.argmax(axis=1)]}


def test_inputs_outputs_and_parameters_have_names(tmp_path):
    net = Several()
    net.initialize()
    x, y = np.random.normal(size=(2, 3)), np.random.normal(size=(2, 3))
    path = tmp_path / "several.onnx"
    model = blockfuse.to_onnx(net, [x, (2, 3)], path)
    assert onnx.load(path) == model
    assert [v.name for v in model.graph.input] == ["left", "right"]
    assert [v.name for v in model.graph.output] == ["total", "parts_0", "parts_1", "parts_2"]
    assert [t.name for t in model.graph.initializer] == ["first.weight", "first.bias", "constant"]
    assert [_sizes(v) for v in model.graph.output] == [["batch", 3]] * 3 + [["batch"]]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert all("test_onnx_writing.py" in n.doc_string for n in model.graph.node if n.op_type == "Mul")
    found = blockfuse.compile(model)(x, y)
    expected = net(x, y)
    for a, b in zip(found, [expected["total"], *expected["parts"]], strict=True):
        numpy.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-5, atol=1e-6)


class Named(nn.Block):
    """Names of arguments and parameters that outputs ask for too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter("weight", shape=(3,), init="ones")

    def forward(self, x):
        return {"x": x + 1, "weight": x * self.weight.data(), "y_0": x * 2, "y": [x * 3]}


def test_outputs_that_have_the_name_of_another_value_get_a_number():
    net = Named()
    net.initialize()
    x = numpy.arange(3, dtype="float32")
    model = blockfuse.to_onnx(net, x, None)
    assert [output.name for output in model.graph.output] == ["x_2", "weight_2", "y_0", "y_0_2"]
    assert [y.tolist() for y in blockfuse.compile(model)(x)] == [[1, 2, 3], [0, 1, 2], [0, 2, 4], [0, 3, 6]]


def test_infinities_divide_to_the_next_whole_number_below():
    x, y = (
        np.array([v.ravel() for v in numpy.meshgrid([-2.5, -0.0, 0.0, 1.5], [-numpy.inf, numpy.inf])][n])
        for n in (0, 1)
    )
    check(Row(np.floor_divide, {}), [x, y])


def test_of_no_truths_none_holds_and_all():
    check(Row(lambda x: ((x > 0).any(axis=0), (x > 0).all(axis=0)), {}), [np.ones((0, 3))])


def test_a_net_is_as_it_was():
    net = nn.Sequential(nn.Dense(3), nn.Dropout(0.5))
    net.initialize()
    model = blockfuse.to_onnx(net, (2, 4))  # also where parameters have no shape yet
    assert net._hybrid is None
    assert net[0].weight.shape == (3, 4)
    assert "Dropout" not in {node.op_type for node in model.graph.node}
    net.hybridize()
    hybrid = net._hybrid
    with autograd.record():
        blockfuse.to_onnx(net, np.ones((2, 4)))
    assert net._hybrid is hybrid
    assert not hybrid.cases
    assert net._entry is None


def test_functions_are_written_too():
    @blockfuse.hybridize
    def scaled(x, y):
        return np.maximum(x, y) * 2

    model = blockfuse.to_onnx(scaled, [(3,), (3,)])
    assert model.graph.name == "scaled"
    assert [v.name for v in model.graph.input] == ["x", "y"]


class OverBatch(nn.Block):
    def forward(self, x):
        return x - x.mean(axis=0)


class WithCount(nn.Block):
    def forward(self, x):
        i = 0
        while i < 3:
            x = npx.relu(x) + i
            i += 1
        return x


def test_what_does_other_things_for_other_sizes_is_for_one():
    assert _sizes(blockfuse.to_onnx(OverBatch(), (3, 2)).graph.input[0]) == [3, 2]


def test_loops_that_only_count_are_written_round_by_round():
    check(WithCount(), [np.array([[1, -2]])])


def test_large_models_keep_their_values_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "LARGEST", 100)
    net = nn.Dense(40, in_units=30)
    net.initialize()
    blockfuse.to_onnx(net, (1, 30), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx.data").stat().st_size >= 40 * 30 * 4
    back = blockfuse.compile(tmp_path / "net.onnx")
    assert (back.collect_params()["weight"].data() == net.weight.data()).all()


# -- what is refused -------------------------------------------------------------------------------------------------


class Undecided(nn.Block):
    def forward(self, x):
        x = np.cumprod(x, axis=1) + np.cumprod(x, axis=0)
        while np.abs(x).sum() > 1:
            x = x / 2
        return np.arctan2(x, x) if x.sum() > 0 else x


def test_all_that_has_no_form_is_told_at_once():
    with pytest.raises(UnsupportedOperatorsError) as error:
        blockfuse.to_onnx(Undecided(), (2, 3))
    text = str(error.value)
    assert text.startswith(
        "Undecided cannot be written as ONNX: it takes one of several ways, by values, at "
    )
    assert text.count("test_onnx_writing.py:") == 4
    assert "; and ONNX has no form of arctan2 (at " in text
    assert "cumprod (2 times, first at " in text
    assert "\n" not in text


class Draws(nn.Block):
    def forward(self, x):
        return x + np.random.normal(size=(3,))


class Reads(nn.Block):
    def forward(self, x):
        return x * float(x.sum())


class Mixed(nn.Block):
    def forward(self, x):
        return x + 1, "text"


@pytest.mark.parametrize(
    ("net", "example", "error", "says"),
    [
        (Draws(), (2, 3), UnsupportedOperatorsError, "no form of normal"),
        (Reads(), (2, 3), UsageError, r"uses values in Python \(float\(\)\)"),
        (Mixed(), (2, 3), UsageError, "the result holds .*text"),
        (nn.Dense(2), 3, TypeError, "takes arrays or shapes"),
        (nn.Dense(2), [3.0], TypeError, "takes arrays or shapes"),
        (len, (2, 3), TypeError, "takes a block or a hybridized function"),
    ],
)
def test_what_is_no_net_of_arrays_is_refused(net, example, error, says):
    if isinstance(net, nn.Block):
        net.initialize()
    with pytest.raises(error, match=says):
        blockfuse.to_onnx(net, example)


def test_parameters_without_values_are_told():
    with pytest.raises(NotInitializedError, match="initialize"):
        blockfuse.to_onnx(nn.Dense(2), (1, 3))


def test_to_onnx_needs_the_package(monkeypatch):
    monkeypatch.setattr(compiling, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"blockfuse\[onnx\]"):
        blockfuse.to_onnx(nn.Dense(2), (1, 3))
