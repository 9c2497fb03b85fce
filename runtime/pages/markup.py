"""Elements of HTML and SVG. Text of users becomes text by construction: nothing else makes markup but ``Element``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

_VOID = frozenset({"input", "meta"})  # have no end
_LINES = frozenset({"g", "svg"})  # each child begins a line: spaces in between mean nothing there
# What no document may hold: control characters, halves of pairs, and two that are no characters.
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Element:
    """An element with its attributes, and texts and elements in it."""

    tag: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Element | str, ...]

    def __str__(self) -> str:
        return "".join(self._parts())

    def _parts(self) -> Iterator[str]:
        attributes = "".join(f' {name}="{escape(_clean(value))}"' for name, value in self.attributes)
        yield f"<{self.tag}{attributes}>"
        for child in self.children:
            if self.tag in _LINES:
                yield "\n"
            yield from (escape(_clean(child), quote=False),) if isinstance(child, str) else child._parts()
        if self.tag not in _VOID:
            yield f"</{self.tag}>"


def element(tag: str, *children: Element | str | None, kind: str = "", **attributes: object) -> Element:
    """An element; None among the children is nothing. kind: its class. ``text_anchor`` is the attribute ``text-anchor``."""
    named = {name.rstrip("_").replace("_", "-"): _attribute(value) for name, value in attributes.items()}
    given = {"class": kind, **named} if kind else named
    return Element(tag, tuple(given.items()), tuple(child for child in children if child is not None))


def _attribute(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _clean(text: str) -> str:
    return _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def folded(summary: str, *children: Element | str | None, kind: str = "", opened: bool = False) -> Element:
    """What is shown when somebody clicks on the summary, or from the beginning."""
    more = {"open": ""} if opened else {}
    return element("details", element("summary", summary), *children, kind=kind, **more)
