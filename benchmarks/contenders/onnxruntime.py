"""ONNX Runtime on its own CPU kernels; threads between operators would not help nets without branches: one."""

from __future__ import annotations

from typing import Any

import numpy
import onnxruntime

from benchmarks.contender import Way
from benchmarks.nets import Net
from benchmarks.onnx_model import model_of


def build(net: Net, threads: int) -> list[Way]:
    """Spinning between calls stays as it is by default: on."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_of(net), options, providers=["CPUExecutionProvider"])
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
