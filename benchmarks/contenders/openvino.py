"""OpenVINO on the CPU: the latency hint, float32 as on the other side (its default may be bfloat16), shared memory."""

from __future__ import annotations

from typing import Any

import numpy
import openvino

from benchmarks.contender import Way
from benchmarks.nets import Net
from benchmarks.onnx_model import model_of


def build(net: Net, threads: int) -> list[Way]:
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model_of(net), b""), "CPU", settings)
    x, _ = net.draw()
    request, bound = compiled.create_infer_request(), compiled.create_infer_request()
    bound.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def result(_: Any) -> numpy.ndarray:
        return numpy.array(bound.get_output_tensor().data)

    passed = "call(x, share_inputs=True, share_outputs=True)[0]"
    return [
        Way(passed, {"call": request.infer, "x": x}, numpy.array, arrays="both"),
        Way("call(share_outputs=True)", {"call": bound.infer, "x": x}, result),  # the tensor does not hold x
    ]
