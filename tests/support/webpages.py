"""Pages as a strict reader sees them: elements that are balanced, their text, their attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input"}
# Elements and attributes that load something, or run it.
LOADING = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}


@dataclass
class Tag:
    """An element. text: all that stands in it and in its elements, in order."""

    name: str
    attributes: dict[str, str | None]
    parent: Tag | None
    parts: list[str | Tag] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def all(self, name: str, kind: str = "") -> list[Tag]:
        """The elements of that name in it, and of that class."""
        inner = [part for part in self.parts if isinstance(part, Tag)]
        found = [i for i in inner if i.name == name and (not kind or i.attributes.get("class") == kind)]
        return [*found, *(tag for part in inner for tag in part.all(name, kind))]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.here = Tag("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        new = Tag(tag, dict(attrs), self.here)
        self.here.parts.append(new)
        if tag not in VOID:
            self.here = new

    def handle_endtag(self, tag: str) -> None:
        assert self.here.name == tag, f"</{tag}> where <{self.here.name}> is open"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.parts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")


def read(html: str) -> Tag:
    """The elements of a page or a part of one; raises AssertionError where they are not balanced, load or run anything."""
    html.encode()
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.here is reader.root, f"<{reader.here.name}> is never closed"
    _check(reader.root)
    return reader.root


def _check(tag: Tag) -> None:
    assert tag.name not in LOADING
    for name, value in tag.attributes.items():
        assert not name.startswith("on")
        assert name not in ("href", "src", "id", "srcset", "action"), name
        assert name == "xmlns" or "://" not in (value or "") or tag.name == "title"
    if tag.name == "style":
        assert not re.search(r"url\(|@import|://", tag.text)
    for part in tag.parts:
        if isinstance(part, Tag):
            _check(part)
