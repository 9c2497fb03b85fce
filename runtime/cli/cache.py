"""``blockfuse cache``: the folder of compiled code."""

from __future__ import annotations

import click

from blockfuse.runtime.programs import backend


@click.group(invoke_without_command=True)
@click.pass_context
def cache(context: click.Context) -> None:
    """Look at the cache of compiled code (info), or empty it (clear)."""
    if context.invoked_subcommand is None:
        context.invoke(info)


@cache.command()
def info() -> None:
    """Where the compiled code is, and how much of it."""
    found = backend.cache().info()
    click.echo(f"{found.folder}: {_counted(found.files)}, {found.size / 1024:.0f} KiB")
    if found.problem:
        click.echo(f"not used: {found.problem}")


@cache.command()
def clear() -> None:
    """Delete all compiled code; nets compile again when they are called."""
    click.echo(f"{_counted(backend.cache().clear())} deleted")


def _counted(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"
