"""What a contender is, and the list of them; each has a file of its name in ``contenders/``.

NOTE [how each contender is set up]
Every contender gets the input in its own kind of array, already on its device, and gives its own kind of array back; in
rows *NumPy in and out* it gets and gives arrays of NumPy, whatever that takes.
Weights are frozen into the program where the contender can do that. Where a contender can be called in several ways
(an input bound once or passed at each call), it offers them all and the quickest is timed. With one thread the
process may only use one core. What else is set stands in each file and in docs/benchmarks.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy

_ROOT = Path(__file__).resolve().parent.parent


class UnsupportedNetError(Exception):
    """The contender cannot run this net; the message says why."""


@dataclass(frozen=True)
class Way:
    """A net ready to be called: a statement in a scope, and how its value becomes a NumPy array.

    ``complaint`` says after a few calls why the net does not run as it should, or nothing. arrays: whose it takes and gives,
    those of the contender (``own``), NumPy's, or both, where these are the same.
    """

    statement: str
    scope: dict[str, Any] = field(repr=False)
    as_numpy: Callable[[Any], numpy.ndarray] = numpy.asarray
    complaint: Callable[[], str] = str
    arrays: Literal["own", "numpy", "both"] = "own"

    def value(self) -> numpy.ndarray:
        """The result of one call."""
        return self.as_numpy(eval(self.statement, self.scope))


@dataclass(frozen=True)
class Contender:
    """``packages``: what must be installed; the first is the one whose version is stated.

    environment: a folder with a Python of its own, at the top of the repository, where its packages do not go together
    with ours.
    """

    title: str
    packages: tuple[str, ...]
    colour: str
    environment: str = ""

    @property
    def python(self) -> str:
        """The Python that runs it."""
        return str(_ROOT / self.environment / "bin/python") if self.environment else sys.executable

    @property
    def missing(self) -> str:
        """The packages that are not installed."""
        if self.environment:
            return "" if Path(self.python).exists() else f"{', '.join(self.packages)}, in {self.environment}"
        return ", ".join(p for p in self.packages if find_spec(p) is None)

    @property
    def version(self) -> str:
        """That of the first package."""
        name = self.packages[0]
        if not self.environment:
            return metadata.version(name)
        paths = [str(p) for p in (_ROOT / self.environment).glob("lib/python*/site-packages")]
        return next((d.version for d in metadata.distributions(name=name, path=paths)), "unknown")


# The name is that of the file here.
CONTENDERS = {
    "numpy": Contender("NumPy by hand", ("numpy",), "#8a8f98"),
    "torch": Contender("torch eager", ("torch",), "#f2a071"),
    "aot_inductor": Contender("AOTInductor", ("torch",), "#a83a12"),
    "torch_compile": Contender("torch.compile", ("torch",), "#d9481c"),
    "jax": Contender("JAX jit", ("jax", "jaxlib"), "#8e44ad"),
    "pytensor": Contender("PyTensor", ("pytensor",), "#b8860b", ".venv-pytensor"),
    "onnxruntime": Contender("ONNX Runtime", ("onnxruntime", "onnx"), "#5d9732"),
    "openvino": Contender("OpenVINO", ("openvino", "onnx"), "#00a3a3"),
    "litert": Contender("LiteRT", ("ai_edge_litert", "flatbuffers"), "#c2185b"),
    "numba": Contender("Numba by hand", ("numba", "scipy"), "#1b7f5c"),
    "c": Contender("C by hand", ("numpy",), "#5d4037"),
    "blockfuse": Contender("blockfuse", ("blockfuse",), "#2f6fde"),
    "called_from_torch": Contender("blockfuse, called from torch", ("torch",), "#7ba7ee"),
    "from_onnx_file": Contender("blockfuse, from an ONNX file", ("onnx",), "#123e8c"),
    "machine": Contender("the machine", ("llvmlite",), "#222222"),
}
OURS, MACHINE = "blockfuse", "machine"
OTHER_WAYS = ("called_from_torch", "from_onnx_file")  # to call us, beside the library that made the net
PEERS = tuple(name for name in CONTENDERS if name not in (OURS, MACHINE, *OTHER_WAYS))
