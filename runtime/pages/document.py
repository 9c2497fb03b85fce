"""Whole pages, which need no other file, and what notebooks show: elements with the style that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blockfuse.runtime.pages.markup import Element, element
from blockfuse.runtime.pages.style import PAGE, PICTURE, TEXT


@dataclass(frozen=True)
class Column:
    """A column of a table. kind: of its cells, as right; cells: the text of each, and what colour says of it."""

    heading: str
    kind: str
    cells: Sequence[tuple[str, str]]


def fragment(*children: Element | str | None) -> str:
    """HTML for one output of a notebook."""
    style = element("style", PICTURE, TEXT)
    return str(element("div", style, *children, kind="blockfuse"))


def page(title: str, *children: Element | str | None) -> bytes:
    """A page in UTF-8 that asks nobody for anything."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", PICTURE, TEXT, PAGE),
    )
    body = element("body", element("main", *children, kind="blockfuse"))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()


def table(columns: Sequence[Column]) -> Element:
    """Columns side by side; the table scrolls where it is too wide."""
    head = element("tr", *(element("th", c.heading, **_kind(c.kind)) for c in columns))
    rows = zip(*(column.cells for column in columns), strict=True)
    body = [
        element("tr", *(_cell(c.kind, *cell) for c, cell in zip(columns, row, strict=True))) for row in rows
    ]
    return element(
        "div", element("table", element("thead", head), element("tbody", *body), kind="cells"), kind="scroll"
    )


def _cell(kind: str, text: str, colour: str) -> Element:
    return element("td", text, **_kind(f"{kind} {colour}".strip()))


def _kind(kind: str) -> dict[str, str]:
    return {"kind": kind} if kind else {}


def listed(lines: Iterable[str]) -> Element:
    """Lines below each other."""
    return element("ul", *(element("li", line) for line in lines))


def source(text: str) -> Element:
    """Code, line by line."""
    return element("pre", element("code", text))
