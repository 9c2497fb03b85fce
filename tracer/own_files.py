"""Which source files are ours: as they stand, and as the package ``blockfuse`` links them."""

from pathlib import Path

import blockfuse.array

_ROOTS = {str(Path(__file__).resolve().parents[1]), str(Path(blockfuse.array.__file__).parents[1])}


def own_files(*names: str) -> frozenset[str]:
    """Every path under which files of ours, or folders that end with a slash, are known to Python."""
    return frozenset(f"{root}/{name}" for root in _ROOTS for name in names)
