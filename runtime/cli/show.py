"""``blockfuse show``: one net, stage by stage."""

from __future__ import annotations

from pathlib import Path

import click

from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import HybridFunction
from blockfuse.runtime.cli.files import check_folder, write_whole
from blockfuse.runtime.cli.inputs import Input, input_options
from blockfuse.runtime.cli.subjects import Subject, naming_errors, subjects
from blockfuse.runtime.inspection import STAGES, eager_lines, settled, stages_text
from blockfuse.runtime.pages.flow_picture import file_of
from blockfuse.runtime.programs.backend import shown
from blockfuse.runtime.programs.program import Program


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
            svg_file, file_of(str(found[0]), {"recorded": program.flow, "fused": program.compiled.main})
        )
    if len(stages) == 1:
        click.echo(STAGES[stages[0]](program))
    elif stages or svg_file is None:
        click.echo(stages_text(program, stages or tuple(STAGES)))


def _program(subject: Subject, name: str) -> Program:
    net = subject.make()
    arguments = [given.array(number) for number, given in enumerate(subject.inputs)]
    with naming_errors(str(subject)):
        if not isinstance(net, HybridFunction):
            net(*arguments)  # parameters learn their shapes
            net.hybridize(backend="cpu")
        outcome = settled(net, arguments)
    if outcome.program is None:
        click.echo("\n".join(eager_lines(str(subject), outcome.reason)), err=True)
        raise SystemExit(1)
    if name == "cpu":
        return outcome.program
    return Program(list(outcome.recordings), shown(name))
