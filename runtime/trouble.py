"""What goes wrong in the compiler is told once: by a warning that says what failed and where, and by explain()."""

from __future__ import annotations

import re
import traceback
import warnings

from blockfuse.ir.errors import CheckError, CompilerWarning
from blockfuse.tracer.purity import user_source

_PACKAGE = __name__.split(".")[0]
_ISSUE = "please report it with this text and what explain() says"


class Trouble:
    """The failures of one block or function, each of which is told once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()

    def tell(self, error: Exception) -> str:
        """Why calls run in Python, in words for ``explain()``."""
        return str(error) if isinstance(error, CheckError) else f"compiling it failed: {_text(error)}"

    def warn(self, reason: str) -> None:
        """Warn of a failure that was not told before, at the user's line; last of all, as warnings may be errors.

        An operator that is wrong for one size or line is told once.
        """
        found = re.search(r"first operator that differs: (\w+)", reason)
        key = found[1] if found else reason
        if key in self._told:
            return
        self._told.add(key)
        source = user_source()
        file, line = (source.file, source.line) if source else (__file__, 1)
        message = f"{self._name} runs in Python, with right results, because {reason}\n{_ISSUE}"
        warnings.warn_explicit(message, CompilerWarning, file, line)


def _text(error: Exception) -> str:
    """The error in a line, with the place in our own code that it came from."""
    first = next(iter(str(error).strip().splitlines()), "")
    places = [f for f in traceback.extract_tb(error.__traceback__) if f"/{_PACKAGE}/" in f.filename]
    where = f" in {_module(places[-1].filename)}:{places[-1].lineno}" if places else ""
    return f"{type(error).__name__}: {first}{where}" if first else f"{type(error).__name__}{where}"


def _module(file: str) -> str:
    return file.rsplit(f"/{_PACKAGE}/", 1)[-1]
