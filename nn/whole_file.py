"""Files that appear at once or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_whole(filename: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file beside ``filename``, put in its place at the end: readers see old or new, and who runs the old one goes on."""
    target = Path(os.path.realpath(filename))
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
