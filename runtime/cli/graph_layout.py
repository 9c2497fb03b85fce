"""A block of a flow as boxes in layers: what is drawn, and where. Pixels throughout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from blockfuse.ir.flow import Block
from blockfuse.ir.graph import Node, argument, carried
from blockfuse.ir.lowering import Fused
from blockfuse.runtime.inspection import operators_of

LINE = 16  # height of a line of text
PAD = 10  # inner margin of a box
_CHARACTER = 6.7  # width, at 11 px
_ACROSS = 24  # between boxes of a layer
_DOWN = 36  # between layers

Texts = tuple[tuple[str, str], ...]  # class and text of each line


@dataclass(frozen=True)
class Box:
    """layer: counted from the top; above: the boxes whose values it reads.

    A line on its way through a layer is a box without text.
    """

    kind: str
    lines: Texts
    layer: int
    above: tuple[int, ...]

    @property
    def width(self) -> float:
        return max((len(text) for _, text in self.lines), default=0) * _CHARACTER + 2 * PAD

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PAD - 6


@dataclass(frozen=True)
class Panel:
    """Boxes with their corners (left, top). depths: the height of every layer."""

    boxes: list[Box]
    corners: list[tuple[float, float]]
    depths: list[float]
    width: float
    height: float

    def centre(self, number: int) -> float:
        return self.corners[number][0] + self.boxes[number].width / 2


def panel(block: Block, names: list[str]) -> Panel:
    """The block drawn in layers. names: of the blocks of its flow."""
    return _placed(_routed(_boxes(block, names)))


# -- boxes ---------------------------------------------------------------------------------------------------


def _boxes(block: Block, names: list[str]) -> list[Box]:
    read = {o for node in block.graph.nodes for o in node.operands} | set(block.graph.outputs)
    numbers: dict[Node, int] = {}
    boxes: list[Box] = []

    def add(kind: str, lines: Texts, operands: tuple[Node, ...]) -> None:
        above = tuple(dict.fromkeys(numbers[o] for o in operands if o in numbers))
        boxes.append(Box(kind, lines, max((boxes[a].layer + 1 for a in above), default=0), above))

    for node in (*(i for i in block.graph.inputs if _is_drawn(i) and i in read), *operators_of(block.graph)):
        add(_kind(node), _lines(node), node.operands)
        numbers[node] = len(boxes) - 1
    for lines, output in zip(_endings(block, names), block.graph.outputs, strict=True):
        add("result", lines, (output,))
    return boxes


def _is_drawn(leaf: Node) -> bool:
    return leaf.operator is argument or leaf.operator is carried


def _kind(node: Node) -> str:
    if _is_drawn(node):
        return "argument"
    return "kernel" if isinstance(node.operator.lowering, Fused) else "operator"


def _lines(node: Node) -> Texts:
    if _is_drawn(node):
        return ("name", node.attrs["name"]), ("", str(node.type))
    fused = isinstance(node.operator.lowering, Fused)
    lines = [("name", node.attrs["name"] if fused else node.operator.name), ("", str(node.type))]
    lines += [("", f"  {inner.operator.name}") for inner in operators_of(node.attrs["body"])] if fused else []
    lines += [("given", _given(o)) for o in node.operands if o.is_leaf and not _is_drawn(o)]
    return (*lines, ("source", str(node.source))) if node.source else tuple(lines)


def _given(leaf: Node) -> str:
    """A parameter or constant."""
    if "name" in leaf.attrs:
        return f"{leaf.attrs['name']} {list(leaf.shape)}"
    return f"{leaf.attrs['value'].item():g}" if leaf.type.size == 1 else f"constant {list(leaf.shape)}"


def _endings(block: Block, names: list[str]) -> list[Texts]:
    """What becomes of each output."""
    rest = block.graph.outputs[block.kept :]
    kept = (*block.stores, *block.pushes)
    stores: list[Texts] = [(("name", f"to {leaf.attrs['name']}"),) for leaf in kept]
    if block.successors is not None:
        yes, no = ("Python" if s is None else names[s] for s in block.successors)
        return [*stores, (("name", "decision"), ("", f"true: {yes}"), ("", f"false: {no}"))]
    numbers = [""] if len(rest) == 1 else [f" {number}" for number in range(len(rest))]
    results = zip(numbers, rest, strict=True)
    return [*stores, *((("name", f"result{number}"), ("", str(node.type))) for number, node in results)]


def _routed(boxes: list[Box]) -> list[Box]:
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
                result.append(Box("passing", (), between, (bringer,)))
            bringer = passing[key]
        return bringer

    for index, box in enumerate(boxes):
        result[index] = replace(box, above=tuple(over(number, box.layer - 1) for number in box.above))
    return result


# -- corners -------------------------------------------------------------------------------------------------


def _placed(boxes: list[Box]) -> Panel:
    """Each layer centred, its boxes in the order of those that they read."""
    layers: list[list[int]] = [[] for _ in range(1 + max(box.layer for box in boxes))]
    for number, box in enumerate(boxes):
        layers[box.layer].append(number)
    widths = [sum(boxes[n].width + _ACROSS for n in layer) - _ACROSS for layer in layers]
    depths = [max(boxes[n].height for n in layer) for layer in layers]
    height = sum(depths) + _DOWN * (len(depths) - 1)
    result = Panel(boxes, [(0.0, 0.0)] * len(boxes), depths, max(widths), height)
    top = 0.0
    for layer, width, depth in zip(layers, widths, depths, strict=True):
        layer.sort(key=lambda n: _mean([result.centre(above) for above in boxes[n].above]))
        left = (result.width - width) / 2
        for number in layer:
            result.corners[number] = (left, top)
            left += boxes[number].width + _ACROSS
        top += depth + _DOWN
    return result


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
