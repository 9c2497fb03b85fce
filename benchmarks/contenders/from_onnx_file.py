"""blockfuse on the ONNX model that ONNX Runtime and OpenVINO are given, NumPy's arrays in and out."""

from __future__ import annotations

import onnx

import blockfuse
from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.nets import Net
from benchmarks.onnx_model import model_of
from blockfuse.ir.errors import UnsupportedOperatorsError


def build(net: Net, threads: int) -> list[Way]:
    try:
        compiled = blockfuse.compile(onnx.load_model_from_string(model_of(net)), threads=threads)
    except UnsupportedOperatorsError as error:
        raise UnsupportedNetError(str(error)) from error

    def complaint() -> str:
        said = str(compiled.explain())
        return "" if ": compiled" in said else said

    return [Way("call(x)", {"call": compiled, "x": net.draw()[0]}, complaint=complaint)]
