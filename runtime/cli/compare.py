"""``blockfuse compare``: nets run eagerly and compiled, results and times side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from blockfuse.ir.errors import UsageError
from blockfuse.runtime.cli import report
from blockfuse.runtime.cli.comparisons import BUSY, Comparisons, is_busy
from blockfuse.runtime.cli.files import check_folder, write_whole
from blockfuse.runtime.cli.inputs import BatchType, Input, input_options
from blockfuse.runtime.cli.measure import Comparison, compared
from blockfuse.runtime.cli.subjects import Subject, example_files, naming_errors, subjects
from blockfuse.runtime.cli.training import LOSSES, Recipe, UntrainableError, known_optimizer, trained
from blockfuse.runtime.programs.backend import BACKENDS, PRECISIONS, backend


@click.command()
@click.argument("targets", metavar="[FILE[:OBJECT]]...", nargs=-1)
@input_options
@click.option("--batch", "batches", type=BatchType(), help="Sizes of the first axis, as 1,32,256.")
@click.option(
    "--backend",
    "name",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Where to compile for.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of a large kernel.  [default: all cores]"
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="To which products of float32 may round: tf32 on a device, int8 on a processor, bf16 on both.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Largest difference, over the largest element of a result.",
)
@click.option("--train", is_flag=True, help="Compare steps of training: forward, backward and the optimizer.")
@click.option(
    "--loss", type=click.Choice(list(LOSSES)), help="With --train.  [default: by the output of the net]"
)
@click.option("--optimizer", help="With --train.  [default: sgd, with momentum]")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="With --train: after which parameters are compared.  [default: 5]",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers to this file.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    help="Write a page with results, times, graphs and sources.",
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw the times: .png or .svg.")
def compare(
    targets: tuple[str, ...],
    inputs: tuple[Input, ...],
    sizes: tuple[tuple[str, int], ...],
    values: tuple[tuple[str, float], ...],
    batches: tuple[int, ...] | None,
    name: str,
    threads: int | None,
    precision: str,
    tolerance: float | None,
    train: bool,
    loss: str | None,
    optimizer: str | None,
    steps: int | None,
    json_file: Path | None,
    html_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Run nets eagerly and compiled, and compare their results and times; or, with --train, steps of training.

    Without FILE, the nets of the examples. An .onnx file is held against ONNX Runtime too, where that is
    installed. The exit status is 1 if a result is beyond the tolerance.
    """
    recipe = _recipe(train, loss, optimizer, steps)
    for path in (json_file, html_file, plot_file):
        if path is not None:
            check_folder(path)
    if plot_file is not None:
        report.check_plot(plot_file)
    machine = backend(name, threads, precision).machine
    busy = is_busy()
    nets = [
        s for target in targets or _examples() for s in subjects(target, inputs, dict(sizes), dict(values))
    ]
    runs = [(subject, batch) for subject in nets for batch in batches or (None,)]
    options = {"backend": name, "threads": threads, "precision": precision}
    left_out: list[str] = []
    rows = list(_compared(runs, options, tolerance, recipe, left_out))
    if not rows:
        raise UsageError("; ".join(left_out))
    found = Comparisons(tuple(rows), machine, tuple(left_out), busy)
    console = report.stdout()
    console.print(report.table(rows, console.width))
    console.print("", *found.lines, sep="\n", soft_wrap=True, markup=False)
    if busy:
        click.echo(BUSY, err=True)
    if json_file is not None:
        write_whole(json_file, report.as_json(rows, machine))
    if html_file is not None:
        write_whole(html_file, found.page())
    if plot_file is not None:
        write_whole(plot_file, report.plotted(rows, plot_file.suffix))
    if not found.agree:
        raise SystemExit(1)


def _examples() -> list[str]:
    files = example_files()
    if not files:
        raise UsageError("the examples are not installed: name a FILE")
    return files


def _recipe(train: bool, loss: str | None, optimizer: str | None, steps: int | None) -> Recipe | None:
    given = {"--loss": loss, "--optimizer": optimizer, "--steps": steps}
    for option, value in given.items():
        if value is not None and not train:
            raise UsageError(f"{option} is for steps of training: add --train")
    return Recipe(loss, known_optimizer(optimizer or "sgd"), steps or 5) if train else None


def _compared(
    runs: list[tuple[Subject, int | None]],
    options: dict[str, Any],
    tolerance: float | None,
    recipe: Recipe | None,
    left_out: list[str],
) -> Iterator[Comparison]:
    """A bar on standard error shows how far it is, where that is a terminal.

    left_out: takes why nets cannot be trained.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("comparing", total=len(runs))
        for subject, batch in runs:
            progress.update(task, description=str(subject))
            try:
                with naming_errors(str(subject)):
                    found = (
                        compared(subject, batch, options, tolerance)
                        if recipe is None
                        else trained(subject, batch, options, tolerance, recipe)
                    )
                yield found
            except UntrainableError as reason:
                left_out.append(str(reason))
            progress.advance(task)
