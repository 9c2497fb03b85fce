"""What one net becomes, stage by stage, as text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.runtime.inspection import (
    STAGES,
    Outcome,
    eager_lines,
    kernel_sources,
    stages_text,
)
from blockfuse.runtime.pages import document
from blockfuse.runtime.pages.flow_picture import figure_of
from blockfuse.runtime.pages.markup import Element, element, folded
from blockfuse.runtime.pages.outline import outline
from blockfuse.runtime.programs.program import Program

_DRAWN = 2000  # operators: more are not drawn, as no browser likes pictures of that size
_SIDE_BY_SIDE = 6  # sources; more are folded together, too
_FOLDED = ("graph", "passes", "schedule", "guards")  # stages shown as they are printed


@dataclass(frozen=True, repr=False)
class Stages:
    """What a net became for one signature: printed as ``blockfuse show`` prints it, and drawn in a notebook.

    >>> import blockfuse
    >>> from blockfuse import np
    >>> shown = blockfuse.show(lambda x: np.exp(x) + 1, np.zeros(3))
    >>> shown["graph"].splitlines()[0]
    'graph(x: float32[3]):'
    """

    name: str
    outcome: Outcome

    @property
    def program(self) -> Program | None:
        """The compiled program; None where the net runs eagerly."""
        return self.outcome.program

    def __getitem__(self, stage: str) -> str:
        """The text of a stage. Raises KeyError with the names of all, and ValueError where the net runs eagerly."""
        if stage not in STAGES:
            raise KeyError(f"there is no stage {stage!r}; there are {', '.join(STAGES)}")
        if self.program is None:
            raise ValueError("; ".join(eager_lines(self.name, self.outcome.reason)))
        return STAGES[stage](self.program)

    def __str__(self) -> str:
        if self.program is None:
            return "\n".join(eager_lines(self.name, self.outcome.reason))
        return stages_text(self.program, tuple(STAGES))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if self.program is None:
            return document.fragment(outline(str(self)))
        return document.fragment(element("p", element("b", self.name)), *stage_elements(self.outcome))


def stage_elements(outcome: Outcome) -> list[Element]:
    """The graph before and after fusion, each kernel's source, and all other stages folded; nothing without a program."""
    program = outcome.program
    if program is None:
        return []
    sources = [folded(f"source of {n}", document.source(text)) for n, text in kernel_sources(program)]
    return [
        *_figures(program, outcome.operators),
        *(sources if len(sources) <= _SIDE_BY_SIDE else [folded(f"{len(sources)} sources", *sources)]),
        *(folded(stage, document.source(STAGES[stage](program))) for stage in _FOLDED),
    ]


def _figures(program: Program, operators: int) -> list[Element]:
    if operators > _DRAWN:
        return [element("p", f"{operators} operators are too many for a picture", kind="quiet")]
    flows = {"recorded": program.flow, "fused": program.compiled.main}
    return [element("div", *(figure_of(name, flow) for name, flow in flows.items()), kind="side")]
