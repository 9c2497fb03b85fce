"""What goes wrong in the compiler, or costs much without need, is told once: by a warning and by explain(), with a line."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from blockfuse.ir.errors import CheckError, CompilerWarning, MixedDtypesWarning
from blockfuse.ir.flow import Flow
from blockfuse.ir.graph import Node
from blockfuse.ir.lowering import Contraction
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.reasons import DTYPES, cure_lines
from blockfuse.tracer.certificate.ownership import user_source
from blockfuse.tracer.recording.turn import is_cut_off

_PACKAGE = __name__.split(".")[0]
_MUCH = 1 << 14  # elements of operands that have another dtype than their product
_PROFILED = "a profiler is active, and recording needs its place"
_CUT_OFF = "this process was forked while another thread of its parent recorded"
_ISSUE = "please report it with this text and what explain() says"


class CompilerFailures:
    """The failures of one block or function, each of which is told once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()

    def tell(self, error: Exception, keep: Callable[[str], Any] | None = None) -> None:
        """Give ``keep`` the reason why calls run in Python, then warn of it, if it is new, at the user's line.

        In this order, as warnings may be errors. An operator that is wrong for one size or line is told once. What a
        handler of signals raised is raised again: NOTE [handlers of signals].
        """
        if came_from_handler(error):
            raise error
        reason = str(error) if isinstance(error, CheckError) else f"compiling it failed: {_text(error)}"
        if keep is not None:
            keep(reason)
        found = re.search(r"first operator that differs: (\w+)", reason)
        key = found[1] if found else reason
        if key in self._told:
            return
        self._told.add(key)
        message = f"{self._name} runs in Python, with right results, because {reason}\n{_ISSUE}"
        _warn(message, CompilerWarning)

    def prevents_recording(self, keep: Callable[[str], Any] = lambda _: None) -> bool:
        """Whether nothing can be recorded now: ``keep`` is given the reason, and one warning says so."""
        reason = _why_not_recorded()
        if not reason:
            return False
        keep(reason)
        if reason not in self._told:
            self._told.add(reason)
            cure = "; ".join(cure_lines(reason))
            _warn(
                f"{self._name} runs in Python, with right results, because {reason}; {cure}", CompilerWarning
            )
        return True

    def warn_of_promotions(self, flow: Flow) -> None:
        """Warn of a large product of several dtypes, once for each: an input of float64 is easily overlooked."""
        for promotion in promotions(flow):
            if promotion.elements >= _MUCH and promotion.dtypes not in self._told:
                self._told.add(promotion.dtypes)
                _warn(
                    f"{self._name} computes {promotion}, more slowly than in float32; {DTYPES.cure}",
                    MixedDtypesWarning,
                )


def _why_not_recorded() -> str:
    if sys.getprofile() is not None:
        return _PROFILED
    return _CUT_OFF if is_cut_off() else ""


def _warn(message: str, category: type[Warning]) -> None:
    source = user_source()
    file, line = (source.file, source.line) if source else (__file__, 1)
    warnings.warn_explicit(message, category, file, line)


@dataclass(frozen=True)
class Promotion:
    """A product of several dtypes."""

    product: Node
    dtypes: str  # of its operands

    @property
    def elements(self) -> int:
        """Of the operands that are computed with in another dtype than their own."""
        return sum(o.type.size for o in self.product.operands if o.dtype != self.product.dtype)

    @property
    def text(self) -> str:
        return f"{self.product.operator.name} of {self.dtypes} in {self.product.dtype}"

    def __str__(self) -> str:
        return self.text + (f", at {self.product.source}" if self.product.source else "")


def promotions(flow: Flow) -> Iterator[Promotion]:
    """The products for which operands change their dtype by NumPy's rules."""
    for node in (node for block in flow.blocks for node in block.graph.nodes):
        dtypes = dict.fromkeys(str(o.dtype) for o in node.operands)
        if isinstance(node.operator.lowering, Contraction) and len(dtypes) > 1:
            yield Promotion(node, " with ".join(dtypes))


def _text(error: Exception) -> str:
    """The error in a line, with the line of our own code that it came from."""
    first = next(iter(str(error).strip().splitlines()), "")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"/{_PACKAGE}/" in f.filename]
    where = f" in {_module(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {first}{where}" if first else f"{type(error).__name__}{where}"


def _module(file: str) -> str:
    return file.rsplit(f"/{_PACKAGE}/", 1)[-1]
