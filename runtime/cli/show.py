"""``blockfuse show``: one net, stage by stage."""

from __future__ import annotations

from pathlib import Path

import click

from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import HybridFunction
from blockfuse.runtime.cli.files import check_folder, write_whole
from blockfuse.runtime.cli.inputs import Input, input_options
from blockfuse.runtime.cli.picture import picture
from blockfuse.runtime.cli.subjects import Subject, naming_errors, subjects
from blockfuse.runtime.inspection import STAGES, settled
from blockfuse.runtime.programs.backend import shown
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.reasons import cure_lines


@click.command()
@click.argument("target", metavar="FILE[:OBJECT]")
@click.option(
    "--stage",
    "stages",
    type=click.Choice(list(STAGES)),
    multiple=True,
    help="Which; repeat for more.  [default: all]",
)
@input_options
@click.option(
    "--backend",
    "name",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    show_default=True,
    help="What to compile for; no device is needed.",
)
@click.option(
    "--svg", "svg_file", type=click.Path(path_type=Path), help="Draw the graph as recorded and as fused."
)
def show(
    target: str,
    stages: tuple[str, ...],
    inputs: tuple[Input, ...],
    sizes: tuple[tuple[str, int], ...],
    values: tuple[tuple[str, float], ...],
    name: str,
    svg_file: Path | None,
) -> None:
    """Show what a net becomes: its graph, passes, schedule, kernel source, guards.

    The exit status is 1 if the net runs eagerly, and standard error says why.
    """
    if svg_file is not None:
        check_folder(svg_file)
    found = subjects(target, inputs, dict(sizes), dict(values))
    if len(found) > 1:
        raise UsageError(
            f"{target} has several nets: write one of {', '.join(f'{s.file}:{s.name}' for s in found)}"
        )
    program = _program(found[0], name)
    if svg_file is not None:
        write_whole(
            svg_file, picture(str(found[0]), {"recorded": program.flow, "fused": program.compiled.main})
        )
    for stage in stages or (() if svg_file else STAGES):
        text = STAGES[stage](program)
        click.echo(text if len(stages) == 1 else f"-- {stage} {'-' * (76 - len(stage))}\n{text}\n")


def _program(subject: Subject, name: str) -> Program:
    net = subject.make()
    arguments = [given.array(number) for number, given in enumerate(subject.inputs)]
    with naming_errors(str(subject)):
        if not isinstance(net, HybridFunction):
            net(*arguments)  # parameters learn their shapes
            net.hybridize(backend="cpu")
        outcome = settled(net, arguments)
    if outcome.program is None:
        said = (f"{subject} runs eagerly: {outcome.reason}", *cure_lines(outcome.reason))
        click.echo("\n".join(said), err=True)
        raise SystemExit(1)
    if name == "cpu":
        return outcome.program
    return Program(list(outcome.recordings), shown(name))
