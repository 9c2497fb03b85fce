"""OpenVINO on the CPU: the latency hint, float32 as on the other side (its default may be bfloat16), shared memory."""

from __future__ import annotations

from typing import Any

import numpy
import openvino

from benchmarks.contender import Way
from benchmarks.nets import Net
from benchmarks.onnx_model import model_of, step_of
from benchmarks.sequence_nets import HEAD, HEADS, greedy


def build(net: Net, threads: int) -> list[Way]:
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    decodes = net.forward is greedy
    model = step_of(net) if decodes else model_of(net)
    compiled = core.compile_model(core.read_model(model, b""), "CPU", settings)
    x, parameters = net.draw()
    if decodes:
        return [Way("call(x)", {"call": Decoder(compiled, len(parameters[1])), "x": x})]
    request, bound = compiled.create_infer_request(), compiled.create_infer_request()
    bound.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def result(_: Any) -> numpy.ndarray:
        return numpy.array(bound.get_output_tensor().data)

    passed = "call(x, share_inputs=True, share_outputs=True)[0]"
    return [
        Way(passed, {"call": request.infer, "x": x}, numpy.array, arrays="both"),
        Way("call(share_outputs=True)", {"call": bound.infer, "x": x}, result),  # the tensor does not hold x
    ]


class Decoder:
    """The loop in Python, step by step, with two requests by turns: what one gives the other takes without a copy."""

    def __init__(self, compiled: Any, places: int) -> None:
        self.requests = compiled.create_infer_request(), compiled.create_infer_request()
        self.places = [openvino.Tensor(numpy.array([n])) for n in range(places)]
        self.caches = len(compiled.inputs) - 2

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        vector, words = openvino.Tensor(x, shared_memory=True), []
        caches = [openvino.Tensor(numpy.zeros((HEADS, 0, HEAD), "float32"))] * self.caches
        for number, place in enumerate(self.places):
            request = self.requests[number % 2]
            for n, tensor in enumerate((vector, place, *caches)):
                request.set_input_tensor(n, tensor)
            request.infer(share_outputs=True)
            said, vector, *caches = (request.get_output_tensor(n) for n in range(2 + self.caches))
            words.append(int(said.data[0]))
        return numpy.array(words)
