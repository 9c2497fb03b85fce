"""Times as bars on a logarithmic axis, with a mark from quartile to quartile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blockfuse.runtime.pages.markup import Element, element

_BAR = 15  # height
_ROOM = 12  # between nets
_LABEL = 18  # line with the name of a net
_FOOT = 34
_LEFT, _AXIS, _RIGHT = 96, 540, 110  # pixels: names of bars, from the least to the most, numbers behind bars


@dataclass(frozen=True)
class Bar:
    """kind: a class of the style. low, median, high: microseconds, more than zero. text: stands behind the bar."""

    name: str
    kind: str
    low: float
    median: float
    high: float
    text: str


@dataclass(frozen=True)
class _Axis:
    least: float  # powers of ten
    most: float

    def x(self, value: float) -> float:
        return _LEFT + _AXIS * math.log(value / self.least) / math.log(self.most / self.least)

    @property
    def powers(self) -> list[float]:
        return [self.least * 10**n for n in range(round(math.log10(self.most / self.least)) + 1)]


def bars(labels: Sequence[str], groups: Sequence[Sequence[Bar]], what: str) -> Element:
    """A group of bars for each label. what: the axis says."""
    known = [value for group in groups for bar in group for value in (bar.low, bar.high)]
    axis = _Axis(10.0 ** math.floor(math.log10(min(known))), 10.0 ** (math.floor(math.log10(max(known))) + 1))
    elements, top = [], 0.0
    for label, group in zip(labels, groups, strict=True):
        elements.append(_text("name", 0.0, top + 12, label))
        top += _LABEL
        elements += [_grid(axis.x(p), top, len(group)) for p in axis.powers]
        for bar in group:
            elements += _bar(bar, top, axis)
            top += _BAR + 2
        top += _ROOM
    marks = [_text("", axis.x(p), top + 12, f"{p:g}", text_anchor="middle") for p in axis.powers]
    caption = _text("caption", _LEFT, top + 30, what)
    width, height = float(_LEFT + _AXIS + _RIGHT), top + _FOOT
    size = {
        "viewBox": f"0 0 {width:.1f} {height:.1f}",
        "style": f"width: 100%; min-width: 560px; max-width: {width:.0f}px",
    }
    return element("svg", *elements, *marks, caption, role="img", **size)


def _grid(x: float, top: float, count: int) -> Element:
    """A line behind the bars of one group, which leaves labels free."""
    return element("path", kind="grid", d=f"M{x:.1f} {top - 2:.1f} v{count * (_BAR + 2) + 4}")


def _bar(bar: Bar, top: float, axis: _Axis) -> list[Element]:
    """Its name, itself, the quartiles and the number."""
    middle, end = top + _BAR / 2, axis.x(max(bar.high, bar.median)) + 6
    width = max(1.0, axis.x(bar.median) - _LEFT)
    says = f"{bar.name}: {bar.median:.4g} us, quartiles {bar.low:.4g} and {bar.high:.4g}"
    spread = f"M{axis.x(bar.low):.1f} {middle:.1f} H{axis.x(bar.high):.1f}"
    ends = " ".join(f"M{axis.x(v):.1f} {middle - 4:.1f} v8" for v in (bar.low, bar.high))
    return [
        _text("", _LEFT - 8.0, middle + 4, bar.name, text_anchor="end"),
        element(
            "g",
            element("title", says),
            element("rect", kind=bar.kind, x=float(_LEFT), y=top, width=width, height=float(_BAR), rx=2),
            element("path", kind="spread", d=f"{spread} {ends}"),
        ),
        _text("", end, middle + 4, bar.text),
    ]


def _text(kind: str, x: float, y: float, text: str, **attributes: str) -> Element:
    return element("text", text, kind=kind, x=x, y=y, **attributes)
