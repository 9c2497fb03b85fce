"""Memory of a compiled step of training, as ``python -m benchmarks.memory``: what its program has, beside what any needs.

What any step needs: parameters, their gradients, states of the optimizer, and the values of the forward that the backward
reads (what each layer but the first takes, and the scores). What the program has besides the first three: its workspace,
what it packs or hoists, and memory for values that it writes when everything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import click
import numpy
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.blockfuse import train_step
from benchmarks.training import TRAININGS, Training
from blockfuse import np
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.runtime.inspection import settled
from blockfuse.runtime.programs.program import Program

LIMIT = 1.5  # of what any step needs


@dataclass(frozen=True)
class Memory:
    """Bytes of a step."""

    held: int  # parameters, gradients, states
    kept: int  # values that the backward needs
    program: int  # of the program, besides what is held

    @property
    def share(self) -> float:
        """All of it, over what any step needs."""
        return (self.held + self.program) / (self.held + self.kept)


def memory_of(training: Training) -> Memory:
    """That of blockfuse's step."""
    x, labels, parameters = training.draw()
    step, _ = train_step(training)
    outcome = settled(step, [np.array(x), np.array(labels)])
    assert outcome.program is not None, outcome.reason
    copies = {"sgd": 3, "adam": 4}[training.optimizer]  # the parameter, its gradient, states
    held = copies * sum(p.nbytes for p in parameters)
    kept = 4 * training.batch * sum(prod(after) for _, after in training.shapes)
    return Memory(held, kept, _of_program(outcome.program))


def _of_program(program: Program) -> int:
    schedule = program.schedule
    results = sum(b.type.nbytes for b in schedule.buffers if b.kind is BufferKind.RESULT)
    found = [origin.array() for origin in program.origins]
    own = [a for a in program.bound if not any(numpy.may_share_memory(a, b) for b in found)]
    return schedule.workspace.bytes_for(schedule.batch) + results + sum(a.nbytes for a in own)


@click.command()
def main() -> None:
    """Print a table of all steps of the benchmark."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("step", "held kB", "kept kB", "program kB", "over what any needs", "target"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for training in TRAININGS:
        memory = memory_of(training)
        numbers = [f"{n / 1e3:.0f}" for n in (memory.held, memory.kept, memory.program)]
        table.add_row(training.name, *numbers, f"{memory.share:.2f}", f"<= {LIMIT}")
    Console().print(table)


if __name__ == "__main__":
    main()
