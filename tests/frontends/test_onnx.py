"""Nets from .onnx files: what they give, how they are compiled, and what is said of files that lie."""

import copy
import pickle
from pathlib import Path

import numpy
import pytest

import blockfuse
from blockfuse.ir.errors import DTypeError, ModelFileError, ShapeError, UnsupportedOperatorsError, UsageError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
RANDOM = numpy.random.default_rng(0)


def value(name, kind=F32, shape=("n", 4)):
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(name, array):
    return onnx.numpy_helper.from_array(numpy.asarray(array), name)


def model(nodes, inputs=None, outputs=None, initializers=(), opset=17):
    graph = helper.make_graph(nodes, "net", inputs or [value("x")], outputs or [value("y")], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def perceptron():
    weights = [RANDOM.normal(size=size).astype("float32") for size in ((8, 4), (8,), (8, 3), (3,))]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["o"]),
        helper.make_node("Softmax", ["o"], ["y"]),
    ]
    initializers = [tensor(n, w) for n, w in zip(("w1", "b1", "w2", "b2"), weights, strict=True)]
    return model(nodes, outputs=[value("y", shape=("n", 3))], initializers=initializers)


def expected(net, x):
    w1, b1, w2, b2 = (net.collect_params()[name].data().asnumpy() for name in ("w1", "b1", "w2", "b2"))
    o = numpy.maximum(x @ w1.T + b1, 0) @ w2 + b2
    powers = numpy.exp(o - o.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def batch(rows=2):
    return RANDOM.normal(size=(rows, 4)).astype("float32")


def warm(net, *args):
    for _ in range(3):
        net(*args)


@pytest.fixture(scope="module")
def compiled():
    net = blockfuse.compile(perceptron())
    warm(net, batch(2))
    warm(net, batch(3))
    return net


# -- calls -----------------------------------------------------------------------------------------------------------


def test_a_net_gives_what_its_graph_says(compiled):
    x = batch()
    y = compiled(x)
    assert type(y) is numpy.ndarray
    numpy.testing.assert_allclose(y, expected(compiled, x), rtol=1e-5)


def test_inputs_come_by_position_by_name_and_in_a_dict(compiled):
    x = batch()
    assert compiled.inputs == ("x",)
    assert compiled.outputs == ("y",)
    for y in (compiled(x=x), compiled({"x": x})):
        numpy.testing.assert_allclose(y, compiled(x), rtol=1e-5)


@pytest.mark.long
def test_one_program_serves_every_batch_size(compiled):
    assert "OnnxNet(float32[any, 4])" in compiled.explain()
    for rows in (5, 9, 64):
        x = batch(rows)
        numpy.testing.assert_allclose(compiled(x), expected(compiled, x), rtol=1e-5)


def test_initializers_are_parameters_whose_changes_are_seen():
    net = blockfuse.compile(perceptron())
    x = batch()
    warm(net, x)
    net.collect_params()["w2"].set_data(numpy.zeros((8, 3)))
    net.collect_params()["b2"].set_data(numpy.zeros(3))
    numpy.testing.assert_allclose(net(x), numpy.full((2, 3), 1 / 3), rtol=1e-6)


def test_copies_and_pickles_give_the_same(compiled):
    x = batch()
    for other in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        numpy.testing.assert_allclose(other(x), compiled(x), rtol=1e-6)
        assert other.source == compiled.source


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((batch().astype("float64"),), DTypeError, "takes float32, not float64"),
        ((numpy.zeros((2, 5), "float32"),), ShapeError, r"takes the shape \(any, 4\)"),
        ((numpy.zeros(4, "float32"),), ShapeError, r"takes the shape \(any, 4\)"),
        ((), UsageError, "the inputs are"),
        ((batch(), batch()), UsageError, "the inputs are"),
        (({"z": batch()},), UsageError, "the inputs are"),
        (("text",), UsageError, "takes an array"),
    ],
)
def test_other_arguments_are_refused(compiled, args, error, says):
    with pytest.raises(error, match=says):
        compiled(*args)


def test_a_size_of_minus_one_is_open():
    net = blockfuse.compile(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", shape=(-1, 4))]))
    assert net.declared[0].shape == (None, 4)
    assert net(batch(3)).shape == (3, 4)


def test_a_result_is_never_the_argument_itself():
    net = blockfuse.compile(model([helper.make_node("Identity", ["x"], ["y"])]))
    x = batch()
    y = net(x)
    y[...] = 7
    assert not (x == 7).any()


# -- control flow ----------------------------------------------------------------------------------------------------


def test_constants_that_are_cut_and_results_that_are_broadcast_are_compiled():
    """The state of a layer is a part of zeros whose sizes the graph computes, and a result is the same for all rows."""
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
        helper.make_node("Slice", ["zeros", "from", "to"], ["state"]),
        helper.make_node(
            "GRU", ["x", "w", "r", "", "", "state"], ["h"], hidden_size=3, direction="bidirectional"
        ),
        helper.make_node("ReduceSum", ["h", "last"], ["sum"]),
        helper.make_node("Expand", ["sum", "wide"], ["y"]),
    ]
    ints = {"sizes": [4, 1, 3], "from": [2], "to": [4], "last": [-1], "wide": [1, 1, 1, 5]}
    initializers = [tensor(name, numpy.array(values)) for name, values in ints.items()]
    initializers += [
        tensor(n, RANDOM.normal(size=(2, 9, k)).astype("float32")) for n, k in (("w", 4), ("r", 3))
    ]
    sizes = value("x", shape=("n", 1, 4)), value("y", shape=("n", 2, 1, 5))
    net = blockfuse.compile(model(nodes, [sizes[0]], [sizes[1]], initializers))
    x = RANDOM.normal(size=(2, 1, 4)).astype("float32")
    first = net(x)
    assert first.shape == (2, 2, 1, 5)
    first[0] = 0  # nobody else's
    second = net(x)
    assert "1 of them eager" in net.explain()
    assert (second == second[..., :1]).all()
    net.hybridize(False)
    numpy.testing.assert_allclose(second, net(x), rtol=1e-5, atol=1e-6)


def halving():
    """Halved while the sum of absolute values is above one, with the number of rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["v", "half"], ["v2"]),
            helper.make_node("Add", ["k", "one"], ["k2"]),
            helper.make_node("Abs", ["v2"], ["a"]),
            helper.make_node("ReduceSum", ["a"], ["s"], keepdims=0),
            helper.make_node("Greater", ["s", "limit"], ["c2"]),
        ],
        "body",
        [value("i", I64, ()), value("c", BOOL, ()), value("v"), value("k", I64, ())],
        [value("c2", BOOL, ()), value("v2"), value("k2", I64, ())],
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["a0"]),
        helper.make_node("ReduceSum", ["a0"], ["s0"], keepdims=0),
        helper.make_node("Greater", ["s0", "limit"], ["c0"]),
        helper.make_node("Loop", ["", "c0", "x", "zero"], ["y", "rounds"], body=body),
    ]
    constants = [
        tensor("half", numpy.float32(0.5)),
        tensor("limit", numpy.float32(1)),
        tensor("one", numpy.int64(1)),
        tensor("zero", numpy.int64(0)),
    ]
    return model(nodes, outputs=[value("y"), value("rounds", I64, ())], initializers=constants)


def test_a_loop_on_values_is_a_native_loop():
    net = blockfuse.compile(halving())
    x = batch()
    warm(net, x)
    for scale in (1, 300):
        y, rounds = net(x * numpy.float32(scale))
        count = 0
        wanted = x * numpy.float32(scale)
        while numpy.abs(wanted).sum() > 1:
            wanted, count = wanted * numpy.float32(0.5), count + 1
        numpy.testing.assert_allclose(y, wanted)
        assert rounds == count
    assert ": eager" not in net.explain()


@pytest.mark.long
def test_a_branch_on_values_is_a_branch_of_the_program():
    then = helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "then", [], [value("t")])
    other = helper.make_graph([helper.make_node("Exp", ["x"], ["e"])], "else", [], [value("e")])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    net = blockfuse.compile(model(nodes, initializers=[tensor("zero", numpy.float32(0))]))
    x = numpy.abs(batch())
    for _ in range(3):
        numpy.testing.assert_array_equal(net(x), -x)
        numpy.testing.assert_allclose(net(-x), numpy.exp(-x), rtol=1e-6)
    assert ": eager" not in net.explain()


def test_a_loop_of_no_rounds_gives_empty_results():
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Neg", ["x"], ["z"])],
        "body",
        [value("i", I64, ()), value("c", BOOL, ())],
        [value("c2", BOOL, ()), value("z", shape=(2, 4))],
    )
    loop = helper.make_node("Loop", ["m", ""], ["y"], body=body)
    net = blockfuse.compile(
        model([loop], outputs=[value("y", shape=("k", 2, 4))], initializers=[tensor("m", numpy.int64(0))])
    )
    assert net(batch()).shape == (0, 2, 4)


# -- what is known before a call -------------------------------------------------------------------------------------


def test_constants_and_sizes_leave_nothing_in_the_program():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"]),
        helper.make_node("Neg", ["r"], ["y"]),
    ]
    constants = [tensor("zero", numpy.int64(0)), tensor("axes", [0]), tensor("rest", [2, 2])]
    net = blockfuse.compile(model(nodes, outputs=[value("y", shape=("n", 2, 2))], initializers=constants))
    x = batch()
    for _ in range(3):
        numpy.testing.assert_array_equal(net(x), -x.reshape(2, 2, 2))
    assert ": eager" not in net.explain()


def test_operators_that_the_standard_defines_by_others_are_expanded():
    node = helper.make_node("AffineGrid", ["x", "size"], ["y"])
    net = blockfuse.compile(
        model(
            [node],
            [value("x", shape=(2, 2, 3))],
            [value("y", shape=(2, 2, 2, 2))],
            [tensor("size", [2, 1, 2, 2])],
            opset=20,
        )
    )
    assert "AffineGrid" not in net.source
    theta = numpy.array([[[1, 0, 0], [0, 1, 0]]] * 2, "float32")
    numpy.testing.assert_allclose(net(theta)[0, 0, 0], [-0.5, -0.5])


def test_names_in_a_file_are_never_run():
    hostile = "x'''\n    raise SystemExit\n'''); raise SystemExit #"
    node = helper.make_node("Neg", [hostile], ["class"], name=hostile)
    net = blockfuse.compile(model([node], [value(hostile)], [value("class")]))
    x = batch()
    numpy.testing.assert_array_equal(net({hostile: x}), -x)


# -- files -----------------------------------------------------------------------------------------------------------


def test_data_in_other_files_is_read(tmp_path: Path):
    proto = perceptron()
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    x = batch()
    net = blockfuse.compile(tmp_path / "net.onnx")
    numpy.testing.assert_allclose(net(x), expected(net, x), rtol=1e-5)
    (tmp_path / "net.data").unlink()
    with pytest.raises(ModelFileError, match="other files"):
        blockfuse.compile(tmp_path / "net.onnx")


def test_every_operator_without_a_rule_is_named_at_once():
    nodes = [
        helper.make_node("RoiAlign", ["x", "x", "x"], ["a"]),
        helper.make_node("Fancy", ["a"], ["b"], domain="my.own"),
        helper.make_node("Fancy", ["b"], ["y"], domain="my.own"),
    ]
    proto = model(nodes)
    proto.opset_import.append(helper.make_opsetid("my.own", 1))
    found = blockfuse.missing(proto)
    assert [text.split()[0] for text in found] == ["RoiAlign", "my.own.Fancy"]
    with pytest.raises(UnsupportedOperatorsError, match=r"RoiAlign.*; my.own.Fancy .*used 2 times"):
        blockfuse.compile(proto)
    assert blockfuse.missing(perceptron()) == ()


def cut_off(path):
    path.write_bytes(perceptron().SerializeToString()[:-40])


def no_model(path):
    path.write_bytes(b"")


def text_file(path):
    path.write_text("this is no model")


def circle(path):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    onnx.save(model([*nodes, helper.make_node("Neg", ["b"], ["y"])]), path)


def without_initializer(path):
    proto = perceptron()
    del proto.graph.initializer[0]
    onnx.save(proto, path)


def short_data(path):
    proto = perceptron()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    onnx.save(proto, path)


def huge_claim(path):
    proto = perceptron()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([1 << 31, 1 << 20])
    onnx.save(proto, path)


def negative_size(path):
    proto = perceptron()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([-8, -4])
    onnx.save(proto, path)


def unknown_output(path):
    onnx.save(model([helper.make_node("Neg", ["x"], ["z"])]), path)


def unknown_attribute(path):
    onnx.save(model([helper.make_node("Neg", ["x"], ["y"], colour=3)]), path)


@pytest.mark.parametrize(
    "write",
    [
        cut_off,
        no_model,
        text_file,
        circle,
        without_initializer,
        short_data,
        huge_claim,
        negative_size,
        unknown_output,
        unknown_attribute,
    ],
    ids=lambda write: write.__name__,
)
def test_a_file_that_lies_gets_one_clear_error(tmp_path: Path, write):
    write(tmp_path / "net.onnx")
    with pytest.raises(ModelFileError):
        blockfuse.compile(tmp_path / "net.onnx")


def test_other_models_are_refused_by_name():
    with pytest.raises(TypeError, match="not dict"):
        blockfuse.compile({})
    with pytest.raises(FileNotFoundError):
        blockfuse.compile("there is no such file.onnx")


# -- against ONNX Runtime --------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("make", [perceptron, halving], ids=lambda make: make.__name__)
def test_onnx_runtime_gives_the_same(make):
    runtime = pytest.importorskip("onnxruntime")
    proto = make()
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    net = blockfuse.compile(proto)
    for rows in (1, 2, 3, 7):
        x = batch(rows)
        for _ in range(3):
            found = net(x)
        for ours, theirs in zip(
            found if isinstance(found, tuple) else (found,), session.run(None, {"x": x}), strict=True
        ):
            numpy.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-7)
