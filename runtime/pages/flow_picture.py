"""Flows as a picture: blocks from top to bottom, decisions as arrows beside them, those of loops on the left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import names_of
from blockfuse.runtime.pages.boxes import (
    LINE,
    PAD,
    Box,
    Part,
    boxes_of,
    boxes_of_parts,
    boxes_within,
    counted_text,
    parts_of,
)
from blockfuse.runtime.pages.layered import Item, Layers, Line, layered
from blockfuse.runtime.pages.markup import Element, element, folded
from blockfuse.runtime.pages.style import PICTURE

_MARGIN = 14  # around everything
_HEAD = 44  # for the title of a file
_CAPTION = 26  # for the name of a block or column
_FRAME = 14  # between the frame of a block and what is in it
_BETWEEN = 30  # blocks
_TRACK = 13  # between arrows side by side
_TIP = 6  # of an arrow
_OUT, _IN = 4, 9  # between the two arrows that leave a decision; between those that come to a block


@dataclass(frozen=True)
class Drawing:
    """Elements within (0, 0) and (width, height)."""

    elements: tuple[Element, ...]
    width: float
    height: float

    def moved(self, left: float, top: float) -> Element:
        return element("g", *self.elements, transform=f"translate({left:.1f} {top:.1f})")


def file_of(title: str, flows: dict[str, Flow]) -> bytes:
    """The flows side by side, each under its name and whole, as an SVG file."""
    columns = {name: drawn_flow(flow) for name, flow in flows.items()}
    left, elements = 2.0 * _MARGIN, [_text("title", 2 * _MARGIN, 30, title)]
    for name, drawing in columns.items():
        elements += [_text("caption", left, _HEAD + 12, name), drawing.moved(left, _HEAD + _CAPTION)]
        left += drawing.width + 4 * _MARGIN
    height = max(d.height for d in columns.values()) + _HEAD + _CAPTION + 2 * _MARGIN
    width = max(left - 2 * _MARGIN, 60 + 9.0 * len(title))
    ground = element("rect", kind="ground", x=0, y=0, width=width, height=height)
    style = element(
        "style", f"{PICTURE}.blockfuse rect.ground {{ fill: #ffffff; stroke: none }} svg {{ color: #1c2333 }}"
    )
    svg = _svg(Drawing((style, ground, *elements), width, height), xmlns="http://www.w3.org/2000/svg")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'.encode()


def figure_of(name: str, flow: Flow) -> Element:
    """A flow for a page: of many operators as parts, with a folded drawing for each."""
    parts = [parts_of(block) for block in flow.blocks]
    details = [
        detail
        for block, found in zip(flow.blocks, parts, strict=True)
        for detail in (_details(block, found) if found else ())
    ]
    caption = element("figcaption", name)
    return element("figure", caption, _scrolling(drawn_flow(flow, parts)), *details)


def _details(block: Block, parts: list[Part]) -> Iterator[Element]:
    names = names_of(block.graph)
    for part in parts:
        inner = _with_margin(drawn(boxes_within(block, part, names)))
        yield folded(f"{part.name}: {counted_text(part)}", _scrolling(inner))


def _scrolling(drawing: Drawing) -> Element:
    """In an area with scroll bars, and with a switch that shows all of it at once."""
    shown = element("div", _svg(drawing), kind="scroll")
    if drawing.width < 600:
        return shown
    switch = element("input", kind="fit", type="checkbox", title="fit to the width")
    return element("div", switch, element("span", " fit to the width", kind="quiet"), shown)


def _svg(drawing: Drawing, **attributes: str) -> Element:
    size = {"width": float(drawing.width), "height": float(drawing.height)}
    box = f"0 0 {drawing.width:.1f} {drawing.height:.1f}"
    return element("svg", *drawing.elements, kind="blockfuse", role="img", viewBox=box, **size, **attributes)


# -- blocks below each other ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Jump:
    """From the decision of a block to the beginning of one. back: to itself or an earlier one."""

    source: int
    target: int
    outcome: bool

    @property
    def back(self) -> bool:
        return self.target <= self.source


def drawn_flow(flow: Flow, parts: Sequence[Sequence[Part]] = ()) -> Drawing:
    """All blocks with the ways between them. parts: of each block, where it has some."""
    names = [f"block {number}" for number in range(len(flow.blocks))]
    shown = [
        boxes_of_parts(block, names, parts[n]) if parts and parts[n] else boxes_of(block, names)
        for n, block in enumerate(flow.blocks)
    ]
    if len(shown) == 1:
        return _with_margin(drawn(shown[0]))
    return _joined(shown, list(_jumps(flow.blocks)), names)


def _jumps(blocks: Sequence[Block]) -> Iterator[_Jump]:
    for source, block in enumerate(blocks):
        for outcome, target in zip((True, False), block.successors or (), strict=False):
            if target is not None:
                yield _Jump(source, target, outcome)


def _joined(shown: list[list[Box]], jumps: list[_Jump], names: list[str]) -> Drawing:
    tracks = _tracks(jumps)
    left = _MARGIN + _TRACK * (1 + max((tracks[j] for j in jumps if j.back), default=-1)) + 14.0
    right_tracks = 1 + max((tracks[j] for j in jumps if not j.back), default=-1)
    placed = [_placed(boxes) for boxes in shown]
    frame = max(layers.width for layers in placed) + 2 * _FRAME
    elements: list[Element] = []
    frames: list[tuple[float, float]] = []  # of each block the upper edge, and the middle of its decision
    top = float(_MARGIN)
    for name, boxes, layers in zip(names, shown, placed, strict=True):
        height = layers.height + _CAPTION + 2 * _FRAME
        elements += [
            element("rect", kind="frame", x=left, y=top, width=frame, height=height, rx=8),
            _text("caption", left + _FRAME, top + 19, name),
            _elements(boxes, layers).moved(left + (frame - layers.width) / 2, top + _CAPTION + _FRAME),
        ]
        frames.append((top, top + _CAPTION + _FRAME + _decision_middle(boxes, layers)))
        top += height + _BETWEEN
    ends = _decision_ends(shown, placed, left + frame / 2)
    elements += [
        _jump(jump, tracks[jump], frames, ends, (left, left + frame), _arrival(jump, jumps)) for jump in jumps
    ]
    width = left + frame + _TRACK * right_tracks + 14 + _MARGIN
    return Drawing(tuple(elements), width, top - _BETWEEN + _MARGIN)


def _tracks(jumps: list[_Jump]) -> dict[_Jump, int]:
    """Which of the lines beside the blocks an arrow takes, counted from these: short ones near, none on another."""
    tracks: dict[_Jump, int] = {}
    for jump in sorted(jumps, key=lambda j: (abs(j.target - j.source), j.source, j.outcome)):
        low, high = sorted((jump.source, jump.target))
        taken = {
            track
            for other, track in tracks.items()
            if other.back == jump.back
            and low <= max(other.source, other.target)
            and min(other.source, other.target) <= high
        }
        tracks[jump] = next(n for n in range(len(jumps)) if n not in taken)
    return tracks


def _arrival(jump: _Jump, jumps: list[_Jump]) -> int:
    """Which of the arrows to a block on that side this one is."""
    return [j for j in jumps if (j.target, j.back) == (jump.target, jump.back)].index(jump)


def _decision_middle(boxes: list[Box], layers: Layers) -> float:
    number = _decision(boxes)
    return layers.height / 2 if number is None else layers.corners[number][1] + boxes[number].height / 2


def _decision(boxes: list[Box]) -> int | None:
    return next((n for n, box in enumerate(boxes) if box.kind == "decision"), None)


def _decision_ends(shown: list[list[Box]], placed: list[Layers], middle: float) -> list[tuple[float, float]]:
    """Of each block the left and right edge of its decision, if it has one. middle: of all blocks."""
    ends = []
    for boxes, layers in zip(shown, placed, strict=True):
        number = _decision(boxes)
        x = middle - layers.width / 2 + (0.0 if number is None else layers.corners[number][0])
        ends.append((x, x + (0.0 if number is None else boxes[number].width)))
    return ends


def _jump(
    jump: _Jump,
    track: int,
    frames: list[tuple[float, float]],
    ends: list[tuple[float, float]],
    sides: tuple[float, float],
    arrival: int,
) -> Element:
    """Out of the decision, along the blocks, and into the frame of the next one; of a loop on the left."""
    away = -1 if jump.back else 1
    start = ends[jump.source][0 if jump.back else 1]
    side = sides[0 if jump.back else 1]
    y0 = frames[jump.source][1] + (-_OUT if jump.outcome else _OUT)
    y1 = frames[jump.target][0] + 12 + _IN * arrival
    along = side + away * (12 + _TRACK * track)
    path = f"M{start:.1f} {y0:.1f} H{along:.1f} V{y1:.1f} H{side + away * _TIP:.1f}"
    tip = f"M{side:.1f} {y1:.1f} l{away * _TIP} -3.5 v7 Z"
    says = f"block {jump.source}, {str(jump.outcome).lower()}: {'back to ' if jump.back else ''}block {jump.target}"
    return element(
        "g",
        element("title", says),
        element("path", kind="wide", d=path),
        element("path", d=path),
        element("path", kind="tip", d=tip),
        kind=f"line {'back' if jump.back else 'jump'}",
    )


def _with_margin(inner: Drawing) -> Drawing:
    return Drawing((inner.moved(_MARGIN, _MARGIN),), inner.width + 2 * _MARGIN, inner.height + 2 * _MARGIN)


# -- one graph -----------------------------------------------------------------------------------------------


def drawn(boxes: list[Box]) -> Drawing:
    """Boxes and the lines between them."""
    return _elements(boxes, _placed(boxes))


def _placed(boxes: list[Box]) -> Layers:
    return layered(
        [
            Item(box.width, box.height, tuple(above for above, _ in box.above), box.kind == "decision")
            for box in boxes
        ]
    )


def _elements(boxes: list[Box], layers: Layers) -> Drawing:
    types = {(above, lower): text for lower, box in enumerate(boxes) for above, text in box.above}
    lines = [_line(boxes, layers, line, types[line.upper, line.lower]) for line in layers.lines]
    drawn_boxes = [_box(box, *corner) for box, corner in zip(boxes, layers.corners, strict=True)]
    return Drawing((*lines, *drawn_boxes), layers.width, layers.height)


def _box(box: Box, left: float, top: float) -> Element:
    return element(
        "g",
        element("title", box.tip) if box.tip else None,
        element("rect", kind=box.kind, x=left, y=top, width=float(box.width), height=float(box.height), rx=6),
        *(
            _text(kind, left + PAD, top + PAD + 8 + n * LINE, text)
            for n, (kind, text) in enumerate(box.lines)
        ),
    )


def _line(boxes: list[Box], layers: Layers, line: Line, says: str) -> Element:
    """From the lower edge of one box to the upper edge of its reader, in curves between layers and straight in them."""
    (left, top), (end_left, end) = layers.corners[line.upper], layers.corners[line.lower]
    x, y = left + boxes[line.upper].width / 2, top + boxes[line.upper].height
    parts = [f"M{x:.1f} {y:.1f}"] + [f"V{line.leaves:.1f}"] * (line.leaves > y)
    y = line.leaves
    for passing, upper, lower in line.passes:
        parts.append(f"{_curve(x, y, passing, upper)} V{lower:.1f}")
        x, y = passing, lower
    last = end_left + boxes[line.lower].width / 2
    path = " ".join([*parts, _curve(x, y, last, end - _TIP)])
    return element(
        "g",
        element("title", says),
        element("path", kind="wide", d=path),
        element("path", d=path),
        element("path", kind="tip", d=f"M{last:.1f} {end:.1f} l-3.5 -{_TIP} h7 Z"),
        kind="line",
    )


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    bend = (y1 - y0) / 2
    return f"C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"


def _text(kind: str, x: float, y: float, text: str) -> Element:
    shown = text.replace("  ", "\u00a0\u00a0")  # spaces that stay
    return element("text", shown, kind=kind, x=float(x), y=float(y))
