"""A block of a flow as boxes: what is drawn of it, what each reads, and what is said of it.

Arguments, registers, operators and results are boxes; parameters and constants are named in the box that reads
them, so that lines show only what is computed. A kernel lists the operators fused into it. A graph of many
operators is drawn in parts, each of which is a drawing of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from blockfuse.ir.flow import Block
from blockfuse.ir.graph import Node, argument, carried, line_of, names_of, operators_of, parameter
from blockfuse.ir.lowering import Fused

LINE = 16  # height of a line of text
PAD = 10  # inner margin of a box
_CHARACTER = 6.7  # width, at 11 px
_LONGEST = 44  # characters of a line; the tip has all
_MOST_FUSED = 8  # operators that a kernel lists; the tip has all
READABLE = 40  # operators in one drawing; more are parts
_PART = 24  # operators of a part

Texts = tuple[tuple[str, str], ...]  # class and text of each line


@dataclass(frozen=True)
class Box:
    """above: the boxes whose values it reads, with the types of these. tip: shown where the pointer rests."""

    kind: str
    lines: Texts
    above: tuple[tuple[int, str], ...] = ()
    tip: str = ""

    @property
    def width(self) -> float:
        return max(len(text) for _, text in self.lines) * _CHARACTER + 2 * PAD

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PAD - 6


@dataclass(frozen=True)
class Part:
    """Neighbouring operators of a graph that one layer, or one function, computes. name: of that place."""

    name: str
    operators: tuple[Node, ...]


def boxes_of(block: Block, names: Sequence[str]) -> list[Box]:
    """All of a block. names: of the blocks of its flow."""
    drawing = _Drawing(block, names_of(block.graph))
    for node in (*_shown_leaves(block), *operators_of(block.graph)):
        drawing.add_node(node)
    return [*drawing.boxes, *_endings(block, names, drawing)]


def boxes_of_parts(block: Block, names: Sequence[str], parts: Iterable[Part]) -> list[Box]:
    """The block with a box for each part."""
    drawing = _Drawing(block, names_of(block.graph))
    for leaf in _shown_leaves(block):
        drawing.add_node(leaf)
    for part in parts:
        drawing.add_part(part)
    return [*drawing.boxes, *_endings(block, names, drawing)]


def boxes_within(block: Block, part: Part, names: dict[Node, str]) -> list[Box]:
    """The operators of one part, with what they read of others and what others read of them.

    names: of the values of the block.
    """
    drawing, own = _Drawing(block, names), set(part.operators)
    outside = [o for node in part.operators for o in node.operands if o not in own]
    for node in dict.fromkeys(o for o in outside if not o.is_leaf or _is_drawn(o)):
        drawing.add_outside(node)
    for node in part.operators:
        drawing.add_node(node)
    results = [
        Box("result", (("name", f"{drawing.names[node]} is read below"),), drawing.reads((node,)))
        for node in _read_elsewhere(block, own)
    ]
    return [*drawing.boxes, *results]


def parts_of(block: Block) -> list[Part]:
    """The operators of a block in parts, if it has too many for one drawing; else none.

    They are cut from the order of the graph, so that none reads one behind it.
    """
    operators = operators_of(block.graph)
    if len(operators) <= READABLE:
        return []
    most = max(_PART, -(-len(operators) // READABLE))
    runs: list[list[Node]] = []
    for node in operators:
        alike = runs and _place(runs[-1][0]) == _place(node)
        if alike and len(runs[-1]) < most:
            runs[-1].append(node)
        else:
            runs.append([node])
    cut = runs if len(runs) <= READABLE else _joined(runs, most)
    return [Part(_span(run), tuple(run)) for run in cut]


def _joined(runs: list[list[Node]], most: int) -> list[list[Node]]:
    """Neighbours together, as far as they stay small."""
    result: list[list[Node]] = []
    for run in runs:
        if result and len(result[-1]) + len(run) <= most:
            result[-1] = [*result[-1], *run]
        else:
            result.append(run)
    return result


def _span(operators: list[Node]) -> str:
    """From the first layer to the last one whose parameters they read; where there is none, from place to place."""
    read = [o.attrs["name"] for node in operators for o in node.operands if o.operator is parameter]
    layers = [name.rpartition(".")[0] for name in read if "." in name]
    places = [_place(node) for node in operators]
    names = places if len(set(places)) > 1 or not layers else layers
    return names[0] if names[0] == names[-1] else f"{names[0]} to {names[-1]}"


def _place(node: Node) -> str:
    """The layer, or the file and function, or the cell and function."""
    source = node.source
    if source is None:
        return "operators"
    if not source.line:
        return str(source)
    file = re.sub(r"(:|, line )\d+$", "", str(source))
    return f"{file} {source.function}"


@dataclass
class _Drawing:
    """The boxes so far. names: of all values; numbers: value -> the box that has it."""

    block: Block
    names: dict[Node, str]
    boxes: list[Box] = field(default_factory=list)
    numbers: dict[Node, int] = field(default_factory=dict)

    def reads(self, operands: Iterable[Node]) -> tuple[tuple[int, str], ...]:
        """Of those that have a box, the box and what they are."""
        found: dict[int, dict[str, None]] = {}
        for operand in operands:
            if operand in self.numbers:
                texts = found.setdefault(self.numbers[operand], {})
                texts[f"{self.names[operand]}: {operand.type}"] = None
        return tuple((number, ", ".join(types)) for number, types in found.items())

    def add_node(self, node: Node) -> None:
        kind = "argument" if node.is_leaf else "kernel" if _is_kernel(node) else "operator"
        self.numbers[node] = len(self.boxes)
        lines = tuple((k, _short(text)) for k, text in _lines(node))
        self.boxes.append(Box(kind, lines, self.reads(node.operands), self._tip(node)))

    def add_outside(self, node: Node) -> None:
        """A value that another drawing computes."""
        lines = ("name", _short(f"{self.names[node]} = {_title(node)}" if not node.is_leaf else _title(node)))
        self.numbers[node] = len(self.boxes)
        self.boxes.append(Box("argument", (lines, ("", str(node.type))), (), self._tip(node)))

    def add_part(self, part: Part) -> None:
        number = len(self.boxes)
        above = self.reads(o for node in part.operators for o in node.operands)
        self.numbers.update(dict.fromkeys(part.operators, number))
        counted: dict[str, int] = {}
        for node in part.operators:
            counted[_title(node)] = counted.get(_title(node), 0) + 1
        what = [f"{name} x {n}" if n > 1 else name for name, n in counted.items()]
        shown = what if len(what) <= 3 else [*what[:3], "..."]
        lines = (
            ("name", _short(part.name)),
            ("", counted_text(part)),
            ("given", _short(", ".join(shown))),
        )
        self.boxes.append(Box("part", lines, above, f"{part.name}\n{', '.join(what)}"))

    def _tip(self, node: Node) -> str:
        text = f"{self.names[node]}: {node.type}" if node.is_leaf else line_of(node, self.names)
        source = node.source  # without its folder, as pages are for others to read, too
        return f"{text}\n{source}{f', in {source.function}' if source.line else ''}" if source else text


def counted_text(part: Part) -> str:
    """How many operators, or kernels, a part has."""
    kind = "kernel" if all(map(_is_kernel, part.operators)) else "operator"
    return f"{len(part.operators)} {kind}{'' if len(part.operators) == 1 else 's'}"


def _shown_leaves(block: Block) -> list[Node]:
    read = {o for node in block.graph.nodes for o in node.operands} | set(block.graph.outputs)
    return [leaf for leaf in block.graph.inputs if _is_drawn(leaf) and leaf in read]


def _read_elsewhere(block: Block, own: set[Node]) -> list[Node]:
    """The operators among ``own`` whose values others, or the outputs, read."""
    others = (o for node in block.graph.nodes if node not in own for o in node.operands)
    return list(dict.fromkeys(o for o in (*others, *block.graph.outputs) if o in own))


def _is_drawn(leaf: Node) -> bool:
    return leaf.operator is argument or leaf.operator is carried


def _is_kernel(node: Node) -> bool:
    return isinstance(node.operator.lowering, Fused)


def _title(node: Node) -> str:
    name: str = node.attrs["name"] if node.is_leaf or _is_kernel(node) else node.operator.name
    return name


def _lines(node: Node) -> Texts:
    lines = [("name", _title(node)), ("", str(node.type))]
    if node.is_leaf:
        return tuple(lines)
    inner = [i.operator.name for i in operators_of(node.attrs["body"])] if _is_kernel(node) else []
    hidden = len(inner) - _MOST_FUSED if len(inner) > _MOST_FUSED + 1 else 0
    lines += [("", f"  {name}") for name in inner[: len(inner) - hidden]]
    lines += [("", f"  and {hidden} more")] * bool(hidden)
    lines += [("given", _given(o)) for o in node.operands if o.is_leaf and not _is_drawn(o)]
    return (*lines, ("source", str(node.source))) if node.source else tuple(lines)


def _given(leaf: Node) -> str:
    """A parameter or constant."""
    if "name" in leaf.attrs:
        return f"{leaf.attrs['name']} {list(leaf.shape)}"
    return f"{leaf.attrs['value'].item():g}" if leaf.type.size == 1 else f"constant {list(leaf.shape)}"


def _short(text: str) -> str:
    """The beginning and the end, where a line is too long."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: half - 1]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def _endings(block: Block, names: Sequence[str], drawing: _Drawing) -> list[Box]:
    """What becomes of each output."""
    outputs = block.graph.outputs
    end = len(outputs) - len(block.updates)
    targets = (*block.stores, *block.pushes)
    stores = [_target(leaf) for leaf in targets]
    rest = outputs[block.kept : end]
    if block.successors is not None:
        yes, no = ("Python" if s is None else names[s] for s in block.successors)
        lines: list[tuple[str, Texts]] = [
            ("decision", (("name", "decision"), ("", f"true: {yes}"), ("", f"false: {no}")))
        ]
    else:
        numbers = [""] if len(rest) == 1 else [f" {number}" for number in range(len(rest))]
        lines = [
            ("result", (("name", f"result{number}"), ("", str(node.type))))
            for number, node in zip(numbers, rest, strict=True)
        ]
    ends = [*stores, *lines, *(_target(leaf) for leaf in block.updates)]
    return [
        Box(kind, texts, drawing.reads((output,)), f"{texts[0][1]}: {drawing.names[output]}")
        for (kind, texts), output in zip(ends, outputs, strict=True)
    ]


def _target(leaf: Node) -> tuple[str, Texts]:
    return "result", (("name", _short(f"to {leaf.attrs['name']}")),)
