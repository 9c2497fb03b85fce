"""What became of a call, stage by stage: for ``blockfuse show``, the walkthrough and everyone who is curious."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blockfuse.codegen.cuda.program.plan import Plan as DevicePlan
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.flow import Flow
from blockfuse.ir.graph import argument, operators_of
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.calls.explain import decision_lines
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.reasons import cure_lines
from blockfuse.tracer.recording.record import Recording

MAX_CALLS = 16  # after which a signature that is still recorded again counts as eager


@dataclass(frozen=True)
class Outcome:
    """What became of a signature."""

    program: Program | None  # that runs its calls; None where they run eagerly
    reason: str  # why some, or all, run eagerly
    recordings: tuple[
        Recording, ...
    ] = ()  # that the program was made of, where it is for one size of the batch

    @property
    def operators(self) -> int:
        """How many operators were recorded."""
        return sum(len(operators_of(b.graph)) for b in self.program.flow.blocks) if self.program else 0

    @property
    def kernels(self) -> int:
        """How many launches of kernels the program has."""
        return len(self.program.schedule.launches) if self.program else 0

    @property
    def numpy_calls(self) -> int:
        """How many operators run through NumPy for want of a kernel."""
        steps = self.program.schedule.steps if self.program else ()
        return sum(isinstance(step, HostCall) for step in steps)


def settled(net: Any, arguments: list[Any]) -> Outcome:
    """Call ``net``, which is hybridized, until these arguments have a program or are sure to run eagerly."""
    hybrid: Hybrid = net._hybrid
    case = None
    for _ in range(MAX_CALLS):
        attempts = case.attempts if case else 0
        net(*arguments)
        case = max(list(hybrid.cases.values()), key=lambda case: case.used, default=None)
        if case is not None and case.attempts == attempts and (case.program or not case.may_be_recorded):
            break
    if case is None:
        return Outcome(None, "an argument is no array, number or container")
    return _outcome(case)


def latest(net: Any) -> Outcome | None:
    """What became of the signature that ``net``, which is hybridized, was called with last; None if it never was."""
    case = max(list(net._hybrid.cases.values()), key=lambda case: case.used, default=None)
    return None if case is None else _outcome(case)


def _outcome(case: Case) -> Outcome:
    return Outcome(case.program, case.reason, tuple(case.recordings))


# -- stages --------------------------------------------------------------------------------------------------


def passes_of(program: Program) -> Iterator[tuple[str, Flow, Flow]]:
    """The passes that changed something: name, the flow before and the flow after."""
    before = program.flow
    for name in program.compiled.optimized[0].stages:
        pairs = zip(program.flow.blocks, program.compiled.optimized, strict=True)
        after = Flow(tuple(replace(block, graph=done.stages[name]) for block, done in pairs))
        if str(after) != str(before):
            yield name, before, after
        before = after


def _passes_text(program: Program) -> str:
    """Of each flow the blocks that changed, and of these the signatures that did."""
    texts = []
    for name, before, after in passes_of(program):
        pairs = zip(_block_texts(before), _block_texts(after), strict=True)
        changed = [_without_signature(new, old) for old, new in pairs if old != new]
        texts.append("\n".join([f"after {name}:", *changed]))
    return "\n\n".join(texts)


def _block_texts(flow: Flow) -> list[str]:
    return [
        text.rstrip("\n") for text in re.split(r"^(?=block \d+:$)", str(flow), flags=re.MULTILINE) if text
    ]


def _without_signature(text: str, before: str) -> str:
    known = {line for line in before.split("\n") if line.startswith("graph(")}
    return "\n".join(line for line in text.split("\n") if line not in known)


def _source_text(program: Program) -> str:
    plan = program.executable.plan
    said = [f"# {line}" for line in decision_lines(program)] if isinstance(plan, DevicePlan) else []
    return "\n\n".join(["\n".join(said)] * bool(said) + [source.strip() for source in plan.sources])


def kernel_sources(program: Program) -> list[tuple[str, str]]:
    """The name of each kernel, as its source has it, and the source."""
    sources = [source.strip() for source in program.executable.plan.sources]
    return [(re.findall(r"^def (\w+)", source, flags=re.MULTILINE)[-1], source) for source in sources]


def _guards_text(program: Program) -> str:
    state = program.state
    given = [i for i in program.flow.inputs if i.operator is argument]
    compared = [f"  {fact.text} is {_short(fact.value)}" for fact in state.items]
    compared += [f"  {fact.text}" for fact in (*state.others, *state.settings)]
    lines = ["checked natively at each call:"]
    lines += [f"  {i.attrs['name']}: {i.type}, C-contiguous" for i in given]
    lines += ["  the arguments are no more than these, and nobody records gradients or trains"]
    lines += ["compared in Python at each call:", *(compared or ["  nothing"])]
    lines += ["watched, at no cost to a call:", *(f"  {text}" for text in _watched(program))]
    return "\n".join(lines)


def _watched(program: Program) -> list[str]:
    blocks = [w for w in program.recording.watched if hasattr(w, "collect_params")]
    facts = [
        f for f in program.state.watched_items if f.holder in blocks and not hasattr(f.value, "_watchers")
    ]
    return [
        *(f"block {b.structural_name or type(b).__name__}" for b in blocks),
        *(f"parameter {origin.name}" for origin in program.origins),
        *(f"{f.text} is {_short(f.value)}" for f in facts),
    ]


def _short(value: Any) -> str:
    """On one line, and without an address."""
    text = " ".join(repr(value).split())
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    return f"{type(value).__name__} {name}".rstrip() if len(text) > 60 or " at 0x" in text else text


# Stage -> its text, in the order in which a call goes through them.
STAGES: dict[str, Callable[[Program], str]] = {
    "graph": lambda program: str(program.flow),
    "passes": _passes_text,
    "schedule": lambda program: str(program.schedule),
    "source": _source_text,
    "guards": _guards_text,
}


def stages_text(program: Program, stages: Sequence[str]) -> str:
    """Of several stages each below its name."""
    return "\n".join(f"-- {stage} {'-' * (76 - len(stage))}\n{STAGES[stage](program)}\n" for stage in stages)


def eager_lines(name: str, reason: str) -> list[str]:
    """Why a net has no stages."""
    return [f"{name} runs eagerly: {reason}", *cure_lines(reason)]
