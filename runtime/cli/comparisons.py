"""What a comparison of nets found, as text and as a page."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

from rich.console import Console

from blockfuse.codegen.kernels.machine import Machine
from blockfuse.runtime.cli import report
from blockfuse.runtime.cli.measure import Comparison, Timing
from blockfuse.runtime.cli.stages import stage_elements
from blockfuse.runtime.pages import document
from blockfuse.runtime.pages.bars import Bar, bars
from blockfuse.runtime.pages.markup import Element, element, folded

BUSY = "other programs kept this machine busy: do not trust the times"
_BUSY_LOAD = 0.7  # of a processor: above this, threads of NumPy's BLAS wait milliseconds for each other
_OPENED = 3  # nets; of more the sections are folded at first
_PRINTED_WIDTH = 140  # characters


def is_busy() -> bool:
    """Whether other programs have this machine."""
    return os.getloadavg()[0] > _BUSY_LOAD * len(os.sched_getaffinity(0))


@dataclass(frozen=True, repr=False)
class Comparisons:
    """Nets that ran eagerly and compiled: printed it is a table, a notebook shows it with times, graphs and sources.

    rows: one for each net and inputs. left_out: why nets are not among them. busy: whether times are not to be trusted.
    """

    rows: tuple[Comparison, ...]
    machine: Machine
    left_out: tuple[str, ...] = ()
    busy: bool = False

    @property
    def agree(self) -> bool:
        """Whether all results are within the tolerance."""
        return all(row.agrees for row in self.rows)

    @property
    def lines(self) -> list[str]:
        """What stands below the table: why something runs eagerly or is left out, and the verdict."""
        machine = f"({self.machine.name}, threads: {self.machine.threads})"
        left_out = (f"left out: {reason}" for reason in self.left_out)
        return [*report.reasons(self.rows), *left_out, f"{report.verdict(self.rows)} {machine}"]

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), color_system=None, width=_PRINTED_WIDTH)
        with console.capture() as captured:
            console.print(report.table(self.rows, _PRINTED_WIDTH))
        lines = [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]
        return "\n".join([*lines, "", *self.lines, *[BUSY] * self.busy])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return document.fragment(*self._elements())

    def page(self) -> bytes:
        """A file of HTML that needs no other."""
        return document.page("blockfuse compare", element("h1", "Eager and compiled"), *self._elements())

    def _elements(self) -> list[Element]:
        *remarks, verdict = self.lines
        opened = len(self.rows) <= _OPENED  # then each section says its own
        above = [line for line in remarks if not opened or line not in report.reasons(self.rows)]
        return [
            element("p", element("b", verdict, kind="good" if self.agree else "bad")),
            *([element("p", BUSY, kind="warn")] * self.busy),
            document.table(report.columns(self.rows)),
            element("div", self._bars(), kind="scroll"),
            *map(_remark, above),
            *(_section(row, opened) for row in self.rows),
        ]

    def _bars(self) -> Element:
        labels = [report.label(row) for row in self.rows]
        return bars(labels, [_bars_of(row) for row in self.rows], report.axis_title(self.rows))


def _remark(line: str) -> Element:
    return element("p", line, kind="cure") if line.startswith("cure: ") else element("p", line)


def _bars_of(row: Comparison) -> list[Bar]:
    result = [_bar("eager", row.eager), _bar("compiled", row.compiled)]
    if row.elsewhere and row.elsewhere.timing:
        result.append(_bar("elsewhere", row.elsewhere.timing, "ONNX Runtime"))
    return result


def _bar(kind: str, timing: Timing, name: str = "") -> Bar:
    return Bar(name or kind, kind, timing.low, timing.median, timing.high, report.time_text(timing))


def _section(row: Comparison, opened: bool) -> Element:
    """One net: what was recorded and what runs, or why nothing was compiled."""
    remarks = map(_remark, report.reasons([row]))
    return folded(report.label(row), *remarks, *stage_elements(row.outcome), kind="net", opened=opened)
