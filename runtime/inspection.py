"""What became of a call, stage by stage: for ``blockfuse show``, the walkthrough and everyone who is curious."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from blockfuse.codegen.schedule import HostCall, Launch
from blockfuse.ir.graph import Graph
from blockfuse.runtime.dispatch import Hybrid
from blockfuse.runtime.program import Program

_CALLS = 6  # calls after which a signature that is still recorded again counts as eager


@dataclass(frozen=True)
class Outcome:
    """``program`` runs the calls of a signature; where it is None they run eagerly, and ``reason`` says why."""

    program: Program | None
    reason: str

    @property
    def operators(self) -> int:
        """How many operators were recorded."""
        return len(operators_of(self.program.optimized.stages["recorded"])) if self.program else 0

    @property
    def kernels(self) -> int:
        """How many kernels one call launches."""
        return self._steps(Launch)

    @property
    def numpy_calls(self) -> int:
        """How many operators run through NumPy for want of a kernel."""
        return self._steps(HostCall)

    def _steps(self, kind: type) -> int:
        return sum(isinstance(s, kind) for s in self.program.schedule.steps) if self.program else 0


def settled(net: Any, arguments: list[Any]) -> Outcome:
    """Call ``net``, which is hybridized, until these arguments have a program or are sure to run eagerly."""
    hybrid: Hybrid = net._hybrid
    for _ in range(_CALLS):
        net(*arguments)
        path = next(reversed(hybrid.paths.values()), None)
        if path is not None and (path.program is not None or not path.retry):
            return Outcome(path.program, path.reason)
    return Outcome(None, path.reason if path else "an argument is no array, number or container")


def operators_of(graph: Graph) -> list[Any]:
    """The nodes that compute something."""
    return [node for node in graph.nodes if not node.is_leaf]


# -- stages --------------------------------------------------------------------------------------------------


def graph_text(program: Program) -> str:
    """The graph as recorded, with the user's lines."""
    return program.optimized.stages["recorded"].text(sources=True)


def changing_passes(program: Program) -> Iterator[tuple[str, Graph]]:
    """The passes that changed the graph, each with the graph after it."""
    stages = list(program.optimized.stages.items())
    for (_, before), (name, after) in zip(stages, stages[1:], strict=False):
        if before != after:
            yield name, after


def passes_text(program: Program) -> str:
    """The graph after each pass that changed it; its first line only where the inputs changed."""
    head, _, _ = graph_text(program).partition("\n")
    texts = []
    for name, graph in changing_passes(program):
        before, (head, _, body) = head, graph.text().partition("\n")
        texts.append(f"after {name}:\n{body if head == before else graph.text()}")
    return "\n\n".join(texts)


def source_text(program: Program) -> str:
    """The source of every kernel, once each."""
    return "\n\n".join(source.strip() for source in program.executable.plan.sources)


def guards_text(program: Program) -> str:
    """What a call rests on besides its arguments: what tells of its changes, and what each call compares."""
    state = program.state
    graph = program.optimized.stages["recorded"]
    given = [i for i in graph.inputs if i.operator.name == "argument"]
    lines = ["checked natively at each call:"]
    lines += [f"  {i.attrs['name']}: {i.type}, C-contiguous" for i in given]
    lines += ["watched, costs nothing at a call:"]
    lines += [f"  {name}" for name in _watched_names(program)]
    lines += [f"  {fact.text} is {_short(fact.value)}" for fact in state.watched_facts]
    lines += ["compared in Python at each call:"]
    lines += [f"  {fact.text} is {_short(fact.value)}" for fact in state.facts]
    lines += [f"  {contents.text}, {len(contents.items)} values" for contents in state.contents]
    return "\n".join(lines if state.facts or state.contents else [*lines, "  nothing"])


def _watched_names(program: Program) -> list[str]:
    parameters = [origin.name for origin in program.recording.origins]
    blocks = [type(w).__name__ for w in program.recording.watched if hasattr(w, "collect_params")]
    return [f"block {name}" for name in blocks] + [f"parameter {name}" for name in parameters]


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{type(value).__name__} {getattr(value, '__name__', '')}".rstrip()


# Stage -> its text, in the order in which a call goes through them.
STAGES: dict[str, Callable[[Program], str]] = {
    "graph": graph_text,
    "passes": passes_text,
    "schedule": lambda program: str(program.schedule),
    "source": source_text,
    "guards": guards_text,
}
