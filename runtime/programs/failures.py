"""What goes wrong in the compiler is told once: by a warning that says what failed and where, and by explain()."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterable, Sequence

from blockfuse.codegen.scheduling.buffers import Buffer
from blockfuse.codegen.scheduling.steps import HostCall, Step
from blockfuse.ir.errors import CheckError, CompilerWarning, MixedDtypesWarning
from blockfuse.ir.lowering import Contraction
from blockfuse.tracer.certificate.ownership import user_source

_PACKAGE = __name__.split(".")[0]
_MIXED = (
    "{0} computes {1} of {2}{3}: there is no kernel for that, and NumPy takes much longer. Give it one dtype: "
    'x.astype("float32") for the input, or cast("float64") for the net'
)
_ISSUE = "please report it with this text and what explain() says"


class CompilerFailures:
    """The failures of one block or function, each of which is told once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()

    def tell(self, error: Exception) -> str:
        """Why calls run in Python, in words for ``explain()``."""
        return str(error) if isinstance(error, CheckError) else f"compiling it failed: {_text(error)}"

    def warn(self, reason: str) -> None:
        """Warn of a failure that was not told before, at the user's line; last of all, as warnings may be errors.

        An operator that is wrong for one size or line is told once.
        """
        found = re.search(r"first operator that differs: (\w+)", reason)
        key = found[1] if found else reason
        if key in self._told:
            return
        self._told.add(key)
        message = f"{self._name} runs in Python, with right results, because {reason}\n{_ISSUE}"
        _warn(message, CompilerWarning)

    def warn_of_dtypes(self, steps: Iterable[Step], buffers: Sequence[Buffer]) -> None:
        """Warn of a product that has no kernel for its dtypes, once: an input of float64 is easily overlooked."""
        for step in (s for s in steps if isinstance(s, HostCall)):
            dtypes = mixed_dtypes(step, buffers)
            if dtypes and dtypes not in self._told:
                self._told.add(dtypes)
                where = f", at {step.source}" if step.source else ""
                _warn(_MIXED.format(self._name, step.operator.name, dtypes, where), MixedDtypesWarning)


def _warn(message: str, category: type[Warning]) -> None:
    source = user_source()
    file, line = (source.file, source.line) if source else (__file__, 1)
    warnings.warn_explicit(message, category, file, line)


def mixed_dtypes(step: HostCall, buffers: Sequence[Buffer]) -> str:
    """The dtypes of a product that NumPy computes because there are several; empty for everything else."""
    if not isinstance(step.operator.lowering, Contraction):
        return ""
    found = dict.fromkeys(str(buffers[number].type.dtype) for number, _ in step.operands)
    return " with ".join(found) if len(found) > 1 else ""


def _text(error: Exception) -> str:
    """The error in a line, with the place in our own code that it came from."""
    first = next(iter(str(error).strip().splitlines()), "")
    places = [f for f in traceback.extract_tb(error.__traceback__) if f"/{_PACKAGE}/" in f.filename]
    where = f" in {_module(places[-1].filename)}:{places[-1].lineno}" if places else ""
    return f"{type(error).__name__}: {first}{where}" if first else f"{type(error).__name__}{where}"


def _module(file: str) -> str:
    return file.rsplit(f"/{_PACKAGE}/", 1)[-1]
