"""ONNX Runtime on its own CPU kernels; threads between operators would not help nets without branches: one."""

from __future__ import annotations

from typing import Any

import numpy
import onnxruntime

from benchmarks.contender import Way
from benchmarks.nets import Net
from benchmarks.onnx_model import model_of, step_of
from benchmarks.sequence_nets import HEAD, HEADS, greedy


def build(net: Net, threads: int) -> list[Way]:
    """Spinning between calls stays as it is by default: on."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    decodes = net.forward is greedy
    model = step_of(net) if decodes else model_of(net)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if decodes:
        return [Way("call(x)", {"call": Decoder(session, net), "x": net.draw()[0]})]
    x, _ = net.draw()
    output = session.get_outputs()[0].name
    scope = {"call": session.run, "names": [output], "feed": {"x": x}}
    bound = session.io_binding()
    bound.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    bound.bind_output(output, "cpu")

    def result(_: Any) -> numpy.ndarray:
        return numpy.asarray(bound.copy_outputs_to_cpu()[0])

    return [
        Way("call(names, feed)[0]", scope, arrays="both"),
        Way("call(bound)", {"call": session.run_with_iobinding, "bound": bound}, result),
    ]


class Decoder:
    """The loop in Python, step by step; keys and values stay arrays of the library's."""

    def __init__(self, session: Any, net: Net) -> None:
        self.session, value = session, onnxruntime.OrtValue.ortvalue_from_numpy
        self.places = [value(numpy.array([n])) for n in range(len(net.draw()[1][1]))]
        self.inputs = [i.name for i in session.get_inputs()]
        self.outputs = [o.name for o in session.get_outputs()]
        self.begun = [value(numpy.zeros((HEADS, 0, HEAD), "float32")) for _ in self.inputs[2:]]

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        vector, caches, words = onnxruntime.OrtValue.ortvalue_from_numpy(x), self.begun, []
        for place in self.places:
            feed = dict(zip(self.inputs, (vector, place, *caches), strict=True))
            said, vector, *caches = self.session.run_with_ort_values(self.outputs, feed)
            words.append(said.numpy()[0])
        return numpy.array(words)
