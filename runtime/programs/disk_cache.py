"""Compiled code on disk, under the hash of everything it depends on.

NOTE [what is trusted]
The folder holds native code that will run. It is used only if it and its files belong to this user or to root, who
installs the interpreter, too, and nobody else may write them; every file starts with the hash of its key and its code, so
that one that is damaged, or in the place of another, is found. Files appear whole, by renaming. A folder that this user may
not write, such as one that was filled when an image was built, is read, and nothing is added.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blockfuse.ir.errors import UsageError

_MAGIC = b"blockfuse2"
_DIGEST = hashlib.sha256().digest_size
_HEADER = len(_MAGIC) + _DIGEST
_ROOT = 0  # number of the user who may do everything


@dataclass(frozen=True)
class CacheInfo:
    """What ``blockfuse cache info`` shows."""

    folder: Path
    files: int
    size: int
    problem: str


class DiskCache:
    """A folder of object code. If the folder cannot be used, nothing is kept, and one warning says why, and what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem = ""  # for which nothing is read
        self._checked = False
        self._is_read_only = False
        self._has_warned = False

    def get(self, key: str) -> bytes | None:
        """The code kept under ``key``, or None."""
        if not self._usable():
            return None
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                distrust = _distrust(path, os.fstat(stream.fileno()))
                if distrust:
                    self._give_up(distrust + self._cure)
                    return None
                content = stream.read()
        except PermissionError:
            self._give_up(f"{path} must not be read by this user{self._cure}")
            return None
        except OSError:
            return None
        code = content[_HEADER:]
        if content[:_HEADER] != _header(key, code):
            with suppress(OSError):
                path.unlink()
            return None
        return code

    def put(self, key: str, code: bytes) -> None:
        """Keep ``code`` under ``key``."""
        if not self._usable():
            return
        path = self._path(key)
        if self._is_read_only:
            self._warn(
                f"{self.folder} cannot be written, and lacks code that was asked for: call warm_up() for all shapes where "
                "it is filled, with the same versions and on such a processor, or name a folder of this user's in "
                "BLOCKFUSE_CACHE"
            )
            return
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _write_whole(path, _header(key, code) + code)
        except OSError as error:
            self._give_up(f"cannot write {path}: {error.strerror}")

    def clear(self) -> int:
        """Delete every file; how many there were. Raises UsageError where that is not allowed."""
        files = self._files()
        try:
            for path in files:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"cannot delete {path}: {error.strerror}") from error
        return len(files)

    def info(self) -> CacheInfo:
        """Folder, number of files, bytes, and why the folder is not used if it is not."""
        with warnings.catch_warnings(action="ignore"):  # what it says is in the answer
            self._usable()
        sizes = [_size(path) for path in self._files()]
        return CacheInfo(self.folder, len(sizes), sum(sizes), self.problem)

    def _files(self) -> list[Path]:
        """None where the folder, or one above it, must not be read."""
        try:
            return [p for p in self.folder.glob("??/*") if p.is_file()] if self.folder.is_dir() else []
        except OSError:
            return []

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _usable(self) -> bool:
        if not self._checked:
            self._check()
            self._checked = True
        return not self.problem

    def _check(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
        except OSError as error:
            cure = self._cure if isinstance(error, PermissionError) else ""
            self._give_up(f"cannot make {self.folder}: {error.strerror}{cure}")
            return
        distrust = _distrust(self.folder, status)
        if distrust:
            self._give_up(distrust + self._cure)
        self._is_read_only = not os.access(self.folder, os.W_OK)

    @property
    def _cure(self) -> str:
        return (
            f". Only code of this user's or root's runs that nobody else may write: chown -R root {self.folder} and "
            f"chmod -R a+rX,go-w {self.folder} where it is made, or name a folder of this user's in BLOCKFUSE_CACHE"
        )

    def _give_up(self, problem: str) -> None:
        """Nothing is read or written from now on."""
        self.problem = self.problem or problem
        self._warn(problem)

    def _warn(self, problem: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(f"compiled code is not kept: {problem}", RuntimeWarning, stacklevel=3)


def _size(path: Path) -> int:
    """Of a file, which somebody may just have deleted."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _header(key: str, code: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(key.encode() + b"\0" + code).digest()


def _write_whole(path: Path, content: bytes) -> None:
    """A file that nobody ever sees half written; only this user may read and write it."""
    number, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _distrust(path: Path, status: os.stat_result) -> str:
    """Why code that lies there must not run, or no text."""
    if status.st_uid not in (os.getuid(), _ROOT):
        return f"{path} belongs to another user (number {status.st_uid})"
    return f"others may write {path}" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""
