"""The text that ``explain()`` gives."""

from __future__ import annotations

from typing import Any


class Explanation(str):
    """A text that a notebook shows as HTML, and an interactive Python as lines."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        # Loaded when a notebook asks: no start of a program needs it.
        from blockfuse.runtime.pages import document, outline

        return document.fragment(outline.outline(self))

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """IPython's way to ask for text."""
        printer.text(str(self))
