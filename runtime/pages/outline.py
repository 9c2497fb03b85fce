"""What ``explain()`` says: text, whose lines belong to the one above that is indented less, and the same as HTML."""

from __future__ import annotations

import re

from blockfuse.runtime.pages.markup import Element, element, folded

_CURE = "cure: "
_SHOWN = 12  # of the parts at one depth; more are folded
_DEEPEST = 20  # levels that stay apart
_STATE = re.compile(r": (compiled|eager)\b")


def outline(text: str) -> Element:
    """The lines of a text as lists in lists, by their indentation."""
    lines = [(len(line) - len(line.lstrip(" ")), line.strip()) for line in text.split("\n") if line.strip()]
    root: list[_Part] = []
    open_parts: list[tuple[int, list[_Part]]] = [(-1, root)]
    for depth, line in lines:
        while open_parts[-1][0] >= depth:
            open_parts.pop()
        part = _Part(line)
        open_parts[-1][1].append(part)
        if len(open_parts) < _DEEPEST:
            open_parts.append((depth, part.parts))
    return element("div", *(_top(part) for part in root))


class _Part:
    """A line and those that belong to it."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.parts: list[_Part] = []


def _top(part: _Part) -> Element:
    return element("div", _line(part.line), *_within(part))


def _within(part: _Part) -> list[Element]:
    if not part.parts:
        return []
    items = [_item(inner) for inner in part.parts]
    shown = [element("ul", *items[:_SHOWN])]
    if len(items) > _SHOWN:
        shown.append(folded(f"{len(items) - _SHOWN} more", element("ul", *items[_SHOWN:])))
    return shown


def _item(part: _Part) -> Element:
    kind = "plain" if part.line.startswith(_CURE) else ""
    return element("li", _line(part.line), *_within(part), kind=kind)


def _line(text: str) -> Element:
    if text.startswith(_CURE):
        return element("div", element("b", "cure"), text[len(_CURE) - 2 :], kind="cure")
    found = _STATE.search(text)
    if found is None:
        return element("span", text)
    start, end = found.span(1)
    kind = "good" if found[1] == "compiled" else "warn"
    return element("span", element("b", text[:start]), element("b", found[1], kind=kind), text[end:])
