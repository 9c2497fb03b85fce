"""``blockfuse compare`` and ``blockfuse show`` of .onnx files."""

import json
import re

import numpy
import pytest

from blockfuse.runtime.cli import measure, onnx_files, report
from blockfuse.runtime.cli.inputs import Input
from blockfuse.runtime.cli.main import main
from blockfuse.runtime.cli.subjects import subjects

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

F32, I64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(measure, "_ROUND", 1e-4)
    monkeypatch.setattr(measure, "_ROUNDS", (2, 3))
    monkeypatch.setattr(measure, "_SETTLE", 0.0)


@pytest.fixture
def run(capsys):
    """Run the command line: exit status, standard output, standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(a) for a in arguments])
        return (exit.value.code or 0, *capsys.readouterr())

    return call


def written(path, nodes, inputs, outputs=(("y", F32, ("m",)),), initializers=()):
    """The path of a file with these nodes."""
    values = [[helper.make_tensor_value_info(*value) for value in part] for part in (inputs, outputs)]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in initializers]
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "net", *values, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def net(tmp_path):
    """A product, scaled by a number."""
    nodes = [("MatMul", ["x", "w"], ["h"]), ("CastLike", ["k", "h"], ["c"]), ("Mul", ["h", "c"], ["y"])]
    weight = numpy.arange(12, dtype="float32").reshape(4, 3)
    inputs = (("x", F32, ("n", "steps", 4)), ("k", I64, ()))
    return written(tmp_path / "net.onnx", nodes, inputs, initializers=[("w", weight)])


def played(wrong=0.0):
    """In place of ONNX Runtime: what the net gives, a little wrong."""

    def in_runtime(file, arrays, _threads):
        result = onnx_files.compiled(file)(*arrays)._data
        return lambda *_: [result + numpy.float32(wrong)]

    return in_runtime


def test_inputs_are_made_up_from_what_a_file_declares(net):
    assert subjects(str(net), ())[0].inputs == (
        Input((1, 16, 4), growing=(0,)),
        Input((), "int64", growing=()),
    )
    (subject,) = subjects(str(net), (), {"steps": 3}, {"k": 2})
    assert subject.inputs_for(5) == (Input((5, 3, 4), growing=(0,)), Input((), "int64", 2, ()))
    assert subject.inputs[1].array(0).tolist() == 2


def test_a_size_has_the_batch_wherever_the_file_names_it(tmp_path):
    inputs = (("x", F32, ("n", 2)), ("h", F32, (2, "n")))
    file = written(tmp_path / "two.onnx", [("MatMul", ["x", "h"], ["y"])], inputs)
    assert [given.shape for given in subjects(str(file), ())[0].inputs_for(7)] == [(7, 2), (2, 7)]


def test_sizes_without_names_are_the_batch_in_front_alone(tmp_path):
    inputs = (("x", F32, (None, None)), ("y", F32, (None, 3, None)))
    file = written(
        tmp_path / "open.onnx", [("MatMul", ["x", "y"], ["z"])], inputs, [("z", F32, ("a", "b", "c"))]
    )
    (subject,) = subjects(str(file), ())
    assert [given.shape for given in subject.inputs] == [(1, 16), (1, 3, 16)]
    assert [given.shape for given in subject.inputs_for(4)] == [(4, 16), (4, 3, 16)]


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_compare_holds_a_file_against_onnx_runtime(run, net, tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(onnx_files, "has_runtime", lambda: True)
    monkeypatch.setattr(onnx_files, "in_runtime", played(wrong))
    monkeypatch.setattr(measure.onnx_files, "in_runtime", played(wrong))
    monkeypatch.setattr(report, "_version", lambda package: f"a version of {package}")
    status, out, _ = run("compare", net, "--size", "steps=2", "--value", "k=3", "--json", tmp_path / "o.json")
    assert status == (1 if wrong else 0)
    assert re.search(r"onnxruntime us .*to onnxruntime", out)
    assert re.search(r"net\.onnx +1x2x4 ", out)
    assert ("results differ: net.onnx" in out) == bool(wrong)
    (row,) = json.loads((tmp_path / "o.json").read_text())["results"]
    assert row["within_tolerance"]
    assert row["onnxruntime"]["within_tolerance"] == (not wrong)
    assert row["onnxruntime"]["us"]["median"] > 0


def test_compare_agrees_with_the_real_one(run, net):
    pytest.importorskip("onnxruntime")
    status, out, _ = run("compare", net, "--batch", "2")
    assert status == 0
    assert re.search(r"net\.onnx +2x16x4 ", out)
    assert "1 compiled, 0 eager; all results agree" in out


def test_compare_without_onnx_runtime_says_so(run, net, monkeypatch):
    monkeypatch.setattr(onnx_files, "has_runtime", lambda: False)
    status, out, _ = run("compare", net)
    assert status == 0
    assert "net.onnx: ONNX Runtime is not installed" in out
    assert "to onnxruntime" not in out


def test_show_prints_the_stages_of_a_file(run, net):
    status, out, _ = run("show", net, "--stage", "graph", "--size", "steps=2")
    assert status == 0
    assert re.search(r"matmul\(x, w\): float32\[1, 2, 3\] +# <net.onnx ", out)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--size", "rows=2"), "no size that a call decides is called 'rows'; there are n, steps"),
        (("--value", "z=2"), "no input is called 'z'; there are x, k"),
        (("--size", "n=0"), "'n=0' is no NAME=SIZE"),
        (("--size", "n"), "'n' is no NAME=SIZE"),
        (("--value", "k=nan"), "'k=nan' is no NAME=NUMBER"),
        (("--input", "2x3x4"), r"net.onnx takes 2 inputs \(x, k\), not 1"),
        (("--input", "2x3x5", "--input", "1:int64"), r"takes the shape \(any, any, 4\), not \(2, 3, 5\)"),
    ],
)
def test_what_a_file_does_not_take_is_one_line(run, net, options, says):
    status, out, err = run("show", net, *options)
    assert (status, out) == (2, "")
    assert re.search(says, err)
    assert err.count("\n") == 1


def test_files_that_are_no_nets_are_one_line(run, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no net")
    other = written(tmp_path / "other.onnx", [("TfIdfNone", ["x"], ["y"])], [("x", F32, (1,))])
    fixed = written(tmp_path / "fixed.onnx", [("Relu", ["x"], ["y"])], [("x", F32, (2, 2))])
    python = tmp_path / "net.py"
    python.write_text("from blockfuse import nn\nnet = nn.Dense(2, in_units=3)\n")
    for arguments, says in (
        ((broken,), "broken.onnx is no ONNX file, or is cut off"),
        ((other,), "other.onnx"),
        ((f"{fixed}:net",), "is one net"),
        ((fixed, "--batch", "2"), "fixed.onnx has inputs of fixed sizes only"),
        ((python, "--size", "n=2"), "are for inputs of .onnx files"),
    ):
        status, _, err = run("compare", *arguments)
        assert status == 2
        assert says in err, err
        assert err.count("\n") == 1


def test_inputs_that_are_no_arrays_cannot_be_made_up(run, tmp_path):
    file = written(tmp_path / "list.onnx", [("SequenceLength", ["x"], ["y"])], [], [("y", I64, ())])
    model = onnx.load(file)
    model.graph.input.append(helper.make_tensor_sequence_value_info("x", F32, None))
    onnx.save(model, file)
    _, _, err = run("show", file)
    assert "list.onnx: input 'x' is no array" in err
