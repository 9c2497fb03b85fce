"""Graphs as a picture: one column a graph, layers from top to bottom, hand-written SVG.

Arguments, operators and results are boxes; parameters and constants are named in the box that reads them, so that the lines
show only what is computed. A kernel lists the operators fused into it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace

from blockfuse.ir.graph import Graph, Node, argument
from blockfuse.ir.lowering import Fused
from blockfuse.runtime.inspection import operators_of

_LINE, _CHAR, _PAD = 16, 6.7, 10  # pixels: height of a line, width of a character at 11 px, inner margin
_ACROSS, _DOWN, _MARGIN, _HEAD = 24, 36, 28, 72  # between boxes, between layers, around all, above the first layer
_STYLE = """
text { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #475063 }
.title { font: 600 15px system-ui, 'DejaVu Sans', sans-serif; fill: #1c2333 }
.heading { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #6b7488 }
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
"""


@dataclass(frozen=True)
class _Box:
    """lines: class and text of each; layer: counted from the top; above: the boxes whose values it reads.

    A line on its way through a layer is a box without text.
    """

    kind: str
    lines: tuple[tuple[str, str], ...]
    layer: int
    above: tuple[int, ...]

    @property
    def width(self) -> float:
        return max((len(text) for _, text in self.lines), default=0) * _CHAR + 2 * _PAD

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + 2 * _PAD - 6


@dataclass(frozen=True)
class _Column:
    """A graph with a place (left, top) for every box. depths: the height of every layer."""

    heading: str
    boxes: list[_Box]
    places: list[tuple[float, float]]
    depths: list[float]
    width: float
    height: float


def picture(title: str, graphs: dict[str, Graph]) -> bytes:
    """The graphs side by side, each under its name, as an SVG file."""
    columns = [_column(name, _routed(_boxes(graph))) for name, graph in graphs.items()]
    width = sum(c.width for c in columns) + _MARGIN * (2 * len(columns) + 1)
    height = max(c.height for c in columns) + _HEAD + _MARGIN
    svg = _element(None, "svg", xmlns="http://www.w3.org/2000/svg", width=width, height=height)
    svg.set("viewBox", f"0 0 {width:g} {height:g}")
    _element(svg, "style").text = _STYLE
    _arrow(svg)
    _element(svg, "rect", "background", width=width, height=height)
    _text(svg, "title", _MARGIN, 30, title)
    left = float(_MARGIN)
    for column in columns:
        group = _element(svg, "g", transform=f"translate({left:g} 0)")
        _text(group, "heading", 0, 54, column.heading)
        _draw(group, column)
        left += column.width + 2 * _MARGIN
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="utf-8", xml_declaration=True)


# -- boxes ---------------------------------------------------------------------------------------------------


def _boxes(graph: Graph) -> list[_Box]:
    arguments = [node for node in graph.inputs if node.operator is argument]
    numbers: dict[Node, int] = {}
    boxes: list[_Box] = []
    for node in (*arguments, *operators_of(graph)):
        above = tuple(dict.fromkeys(numbers[o] for o in node.operands if o in numbers))
        layer = max((boxes[a].layer + 1 for a in above), default=0)
        numbers[node] = len(boxes)
        boxes.append(_Box(_kind(node), _lines(node), layer, above))
    for place, output in enumerate(graph.outputs):
        name = "result" if len(graph.outputs) == 1 else f"result {place}"
        above = (numbers[output],) if output in numbers else ()
        layer = boxes[above[0]].layer + 1 if above else 0
        boxes.append(_Box("result", (("name", name), ("", str(output.type))), layer, above))
    return boxes


def _kind(node: Node) -> str:
    if node.operator is argument:
        return "argument"
    return "kernel" if isinstance(node.operator.lowering, Fused) else "operator"


def _lines(node: Node) -> tuple[tuple[str, str], ...]:
    if node.operator is argument:
        return ("name", node.attrs["name"]), ("", str(node.type))
    lines = [("name", node.attrs.get("name", node.operator.name)), ("", str(node.type))]
    if isinstance(node.operator.lowering, Fused):
        lines += [("", f"  {inner.operator.name}") for inner in operators_of(node.attrs["body"])]
    given = [_given(operand) for operand in node.operands if operand.is_leaf and operand.operator is not argument]
    lines += [("given", name) for name in given]
    return (*lines, ("source", str(node.source))) if node.source else tuple(lines)


def _given(leaf: Node) -> str:
    if "name" in leaf.attrs:
        return f"{leaf.attrs['name']} {list(leaf.shape)}"
    return f"{leaf.attrs['value'].item():g}" if leaf.type.size == 1 else f"constant {list(leaf.shape)}"


def _routed(boxes: list[_Box]) -> list[_Box]:
    """With a box for every layer that a line passes through."""
    result = list(boxes)
    passing: dict[tuple[int, int], int] = {}  # box that is read, layer -> the box on the way from it

    def over(number: int, layer: int) -> int:
        """The box in ``layer`` that brings the value of box ``number``."""
        bringer = number
        for between in range(boxes[number].layer + 1, layer + 1):
            key = number, between
            if key not in passing:
                passing[key] = len(result)
                result.append(_Box("passing", (), between, (bringer,)))
            bringer = passing[key]
        return bringer

    for place, box in enumerate(boxes):
        result[place] = replace(box, above=tuple(over(number, box.layer - 1) for number in box.above))
    return result


# -- places --------------------------------------------------------------------------------------------------


def _column(heading: str, boxes: list[_Box]) -> _Column:
    layers: list[list[int]] = [[] for _ in range(1 + max(box.layer for box in boxes))]
    for number, box in enumerate(boxes):
        layers[box.layer].append(number)
    width = max(sum(boxes[n].width + _ACROSS for n in layer) - _ACROSS for layer in layers)
    places = [(0.0, 0.0)] * len(boxes)
    depths = [max(boxes[n].height for n in layer) for layer in layers]
    top = float(_HEAD)
    for layer, depth in zip(layers, depths, strict=True):
        layer.sort(key=lambda n: _mean([_centre(boxes[a], places[a]) for a in boxes[n].above]))
        left = (width - sum(boxes[n].width + _ACROSS for n in layer) + _ACROSS) / 2
        for number in layer:
            places[number] = (left, top)
            left += boxes[number].width + _ACROSS
        top += depth + _DOWN
    return _Column(heading, boxes, places, depths, width, top - _DOWN - _HEAD)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _centre(box: _Box, place: tuple[float, float]) -> float:
    return place[0] + box.width / 2


# -- drawing -------------------------------------------------------------------------------------------------


def _draw(group: ElementTree.Element, column: _Column) -> None:
    for number in range(len(column.boxes)):
        _lines_into(group, column, number)
    for box, (left, top) in zip(column.boxes, column.places, strict=True):
        if not box.lines:
            continue
        _element(group, "rect", box.kind, x=left, y=top, width=box.width, height=box.height, rx=6)
        for row, (kind, text) in enumerate(box.lines):
            _text(group, kind, left + _PAD, top + _PAD + 8 + row * _LINE, text)


def _lines_into(group: ElementTree.Element, column: _Column, number: int) -> None:
    """A curve from each box above to the upper edge of this one; through it where it is a line on its way."""
    box = column.boxes[number]
    x1, y1 = _centre(box, column.places[number]), column.places[number][1]
    tip = y1 - 5 if box.lines else y1  # the arrow takes 5 pixels
    for place in box.above:
        above = column.boxes[place]
        x0, y0 = _centre(above, column.places[place]), column.places[place][1]
        y0 += above.height if above.lines else column.depths[above.layer]
        bend = (tip - y0) / 2
        curve = f"M{x0:.1f} {y0:.1f} C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {tip - bend:.1f} {x1:.1f} {tip:.1f}"
        if box.lines:
            _element(group, "path", "arrow", d=curve)
        else:
            _element(group, "path", d=f"{curve} V{y1 + column.depths[box.layer]:.1f}")


def _arrow(svg: ElementTree.Element) -> None:
    size = {"markerWidth": 7, "markerHeight": 7, "refX": 1, "refY": 3.5, "orient": "auto"}
    marker = _element(_element(svg, "defs"), "marker", id="arrow", markerUnits="userSpaceOnUse", **size)
    _element(marker, "path", d="M0 0 L7 3.5 L0 7 Z", style="fill:#8f98aa;stroke:none")


def _element(parent: ElementTree.Element | None, tag: str, kind: str = "", **attributes: object) -> ElementTree.Element:
    texts = {k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in attributes.items()}
    if kind:
        texts["class"] = kind
    return ElementTree.Element(tag, texts) if parent is None else ElementTree.SubElement(parent, tag, texts)


def _text(parent: ElementTree.Element, kind: str, x: float, y: float, text: str) -> None:
    element = _element(parent, "text", kind, x=x, y=y)
    element.set("xml:space", "preserve")
    element.text = text
