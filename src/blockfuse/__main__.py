"""``python -m blockfuse``: the command line."""

from blockfuse.runtime.cli.main import main

main()
