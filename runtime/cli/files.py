"""Writing a file at once or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from blockfuse.ir.errors import UsageError


def check_folder(path: Path) -> None:
    """Complain before long work if ``path`` cannot be written after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(
            f"cannot write {path}: " + ("it is a folder" if path.is_dir() else "there is no such folder")
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename: nobody ever reads half a file."""
    temporary = ""
    try:
        number, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
        with os.fdopen(number, "wb") as stream:
            stream.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # as a file that ``open`` made
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
