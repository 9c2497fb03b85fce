"""Files that programs want: checked where they are, and not downloaded where they are not."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError


def check_sha1(filename: str | os.PathLike[str], sha1_hash: str) -> bool:
    """Whether the SHA-1 of the file ``filename`` is ``sha1_hash``, hexadecimal digits in upper or lower case.

    Raises FileNotFoundError where there is no such file.

    >>> import pathlib, tempfile
    >>> from blockfuse import gluon
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "words")
    ...     _ = file.write_text("hello")
    ...     gluon.utils.check_sha1(file, "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d")
    True
    """
    interpreter.current().impure("reads a file")
    with open(filename, "rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest() == sha1_hash.lower()


def download(
    url: str,
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    sha1_hash: str | None = None,
    *_: Any,
    **__: Any,
) -> str:
    """The path of a file that is there already; blockfuse downloads nothing, and raises UsageError otherwise.

    url: its end is the file's name where ``path`` is a folder; by default the current one. overwrite: True asks for a new
    download, and so raises. sha1_hash: what the file must have, otherwise it counts as missing. More of Gluon's arguments
    are taken and ignored.

    >>> from blockfuse import gluon
    >>> gluon.utils.download("words.zip")
    Traceback (most recent call last):
        ...
    blockfuse.ir.errors.UsageError: blockfuse downloads nothing: get words.zip and put it at ./words.zip (it is not there)
    """
    target = os.fspath(path or ".")
    if os.path.isdir(target):
        target = os.path.join(target, url.split("/")[-1])
    there = os.path.isfile(target) and not overwrite
    if there and (sha1_hash is None or check_sha1(target, sha1_hash)):
        return target
    found = f"the one that is there has not SHA-1 {sha1_hash}" if there else "it is not there"
    raise UsageError(f"blockfuse downloads nothing: get {url} and put it at {target} ({found})")
