"""The command ``blockfuse``. What a user did wrong is one line on standard error and exit status 2."""

from __future__ import annotations

import sys

import click

from blockfuse.ir.errors import BlockfuseError
from blockfuse.runtime.cli.cache import cache
from blockfuse.runtime.cli.compare import compare
from blockfuse.runtime.cli.show import show


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(sys.modules["blockfuse"].__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Compile neural-network blocks to fused kernels, and see what came of it."""


for _command in (compare, show, cache):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        status = cli.main(arguments, prog_name="blockfuse", standalone_mode=False)
    except click.Abort:
        sys.exit(130)  # as the shell says for Ctrl-C
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _complain(error.format_message(), error)
    except BlockfuseError as error:
        _complain(str(error), error)
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str, error: Exception) -> None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "blockfuse"
    click.echo(f"{command}: {' '.join(message.split())}", err=True)
    sys.exit(2)
