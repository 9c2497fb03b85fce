"""Flows as a picture: one column each, its blocks from top to bottom, hand-written SVG.

Arguments, registers, operators and results are boxes; parameters and constants are named in the box that reads
them, so that the lines show only what is computed. A kernel lists the operators fused into it.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from blockfuse.ir.flow import Flow
from blockfuse.runtime.cli.graph_layout import LINE, PAD, Panel, panel

_MARGIN = 28  # pixels around everything
_HEAD = 44  # for the title
_CAPTION = 28  # for the name of a block
_TIP = 5  # of an arrow, beyond the end of its line
_STYLE = """
text { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #475063 }
.title { font: 600 15px system-ui, 'DejaVu Sans', sans-serif; fill: #1c2333 }
.caption { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #6b7488 }
.name { font-weight: 700; fill: #1c2333 }
.given { fill: #8a6d1d }
.source { fill: #9aa2b3 }
rect { stroke-width: 1.2; fill: #ffffff; stroke: #b9c1d0 }
.background { fill: #f7f8fa; stroke: none }
.argument { fill: #e7f5ec; stroke: #63ad81 }
.result { fill: #fdf0e3; stroke: #d9985a }
.kernel { fill: #e9effc; stroke: #5580d8 }
path { fill: none; stroke: #8f98aa; stroke-width: 1.2 }
.arrow { marker-end: url(#arrow) }
.tip { fill: #8f98aa; stroke: none }
"""


def picture(title: str, flows: dict[str, Flow]) -> bytes:
    """The flows side by side, each under its name, as an SVG file."""
    columns = {name: _panels(flow) for name, flow in flows.items()}
    widths = [max(p.width for p in panels) for panels in columns.values()]
    heights = [sum(p.height + _CAPTION + _MARGIN for p in panels) for panels in columns.values()]
    width, height = sum(widths) + _MARGIN * (2 * len(columns)), max(heights) + _HEAD
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width:g} {height:g}"})
    svg.attrib.update(width=f"{width:g}", height=f"{height:g}")
    _element(svg, "style").text = _STYLE
    marker = {"id": "arrow", "orient": "auto", "markerUnits": "userSpaceOnUse"}
    tip = _element(_element(svg, "defs"), "marker", **marker, markerWidth=7, markerHeight=7, refX=1, refY=3.5)
    _element(tip, "path", "tip", d="M0 0 L7 3.5 L0 7 Z")
    _element(svg, "rect", "background", width=width, height=height)
    _text(svg, "title", _MARGIN, 30, title)
    left = float(_MARGIN)
    for (name, panels), across in zip(columns.items(), widths, strict=True):
        _column(svg, left, across, name, panels)
        left += across + 2 * _MARGIN
    ElementTree.indent(svg)
    text: bytes = ElementTree.tostring(svg, encoding="utf-8", xml_declaration=True)
    return text


def _panels(flow: Flow) -> list[Panel]:
    names = [f"block {number}" for number in range(len(flow.blocks))]
    return [panel(block, names) for block in flow.blocks]


def _column(svg: Element, left: float, width: float, name: str, panels: list[Panel]) -> None:
    top = float(_HEAD)
    for number, one in enumerate(panels):
        caption = name if len(panels) == 1 else f"{name}, block {number}"
        _text(svg, "caption", left, top + 12, caption)
        translation = f"translate({left + (width - one.width) / 2:g} {top + _CAPTION:g})"
        _draw(_element(svg, "g", transform=translation), one)
        top += one.height + _CAPTION + _MARGIN


def _draw(group: Element, panel: Panel) -> None:
    for number in range(len(panel.boxes)):
        _lines_into(group, panel, number)
    for box, (left, top) in zip(panel.boxes, panel.corners, strict=True):
        if not box.lines:
            continue
        _element(group, "rect", box.kind, x=left, y=top, width=box.width, height=box.height, rx=6)
        for row, (kind, text) in enumerate(box.lines):
            _text(group, kind, left + PAD, top + PAD + 8 + row * LINE, text)


def _lines_into(group: Element, panel: Panel, number: int) -> None:
    """A curve from each box above to the upper edge of this one; through it where it is a line on its way."""
    box, x1, y1 = panel.boxes[number], panel.centre(number), panel.corners[number][1]
    end = y1 - _TIP if box.lines else y1
    for upper in box.above:
        above, x0, y0 = panel.boxes[upper], panel.centre(upper), panel.corners[upper][1]
        y0 += above.height if above.lines else panel.depths[above.layer]
        bend = (end - y0) / 2
        curve = f"M{x0:.1f} {y0:.1f} C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {end - bend:.1f} {x1:.1f} {end:.1f}"
        if box.lines:
            _element(group, "path", "arrow", d=curve)
        else:
            _element(group, "path", d=f"{curve} V{y1 + panel.depths[box.layer]:.1f}")


def _element(parent: Element, tag: str, kind: str = "", **attributes: object) -> Element:
    texts = {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in attributes.items()}
    return ElementTree.SubElement(parent, tag, texts | ({"class": kind} if kind else {}))


def _text(parent: Element, kind: str, x: float, y: float, text: str) -> None:
    _element(parent, "text", kind, x=x, y=y).text = text.replace("  ", "\u00a0\u00a0")  # spaces that stay
