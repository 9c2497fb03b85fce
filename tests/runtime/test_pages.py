"""Pages: markup that holds any text, graphs in layers where nothing overlaps, and ways that end where they should."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
import webpages
from flows import program_of
from graphs import graph
from hypothesis import given
from hypothesis import strategies as st

import blockfuse
from blockfuse import np
from blockfuse.ir.flow import Block, Flow, straight
from blockfuse.ir.graph import Graph, operators_of
from blockfuse.ir.operators.pointwise import greater, tanh
from blockfuse.runtime.explanation import Explanation
from blockfuse.runtime.pages.bars import Bar, bars
from blockfuse.runtime.pages.boxes import READABLE, boxes_of, boxes_of_parts, parts_of
from blockfuse.runtime.pages.document import fragment, page
from blockfuse.runtime.pages.flow_picture import drawn_flow, figure_of, file_of
from blockfuse.runtime.pages.layered import ACROSS, DOWN, Item, layered
from blockfuse.runtime.pages.markup import element

HOSTILE = (
    "<script>alert('&amp;')</script>",
    '"><img src=x onerror="alert(1)">',
    "</style><b>",
    "]]> <!-- --> <?xml?> &lt; & &&",
    "\x00\x08\x1b\ud800 \uffff",
)

# -- markup ----------------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_any_text_is_text(text: str, value: str) -> None:
    found = webpages.read(str(element("p", text, "-", element("b", value), title=value)))
    (paragraph,) = found.all("p")
    clean = "".join("\ufffd" if _is_no_character(c) else c for c in f"{text}-{value}")
    assert paragraph.text == clean.replace("\r\n", "\n").replace("\r", "\n") or "\r" in text + value
    assert len(found.all("b")) == 1


def _is_no_character(c: str) -> bool:
    code = ord(c)
    return (
        (code < 32 and c not in "\t\n\r")
        or 0x7F <= code <= 0x9F
        or 0xD800 <= code <= 0xDFFF
        or code in (0xFFFE, 0xFFFF)
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_everywhere(text: str) -> None:
    whole = page(text, element("h1", text), Explanation(f"{text}: compiled\n  {text}")._repr_html_()).decode()
    found = webpages.read(whole)
    assert len(found.all("h1")) == 1
    assert whole.count("<script") == whole.count("<img") == 0


def test_styles_hold_below_the_class_alone() -> None:
    (style,) = webpages.read(fragment("x")).all("style")
    selectors = [s.strip() for rule in style.text.split("}") for s in rule.split("{")[0].split(",")]
    assert [s for s in selectors if s and not re.match(r"(svg)?\.blockfuse\b", s)] == []


# -- layers ----------------------------------------------------------------------------------------------------

sizes = st.integers(10, 300).map(float)


@st.composite
def item_lists(draw: Any) -> list[Item]:
    items = []
    for number in range(draw(st.integers(1, 16))):
        above = draw(st.lists(st.integers(0, number - 1), max_size=4)) if number else []
        items.append(
            Item(draw(sizes), draw(sizes), tuple(above), draw(st.integers(0, 9)) == 0 and number > 0)
        )
    read = {above for item in items for above in item.above}
    return [i if n not in read else Item(i.width, i.height, i.above) for n, i in enumerate(items)]


@given(item_lists())
def test_nothing_overlaps_and_readers_stand_below(items: list[Item]) -> None:
    layers = layered(items)
    rectangles = [(x, y, x + i.width, y + i.height) for (x, y), i in zip(layers.corners, items, strict=True)]
    for (l0, t0, r0, b0), (l1, t1, r1, b1) in combinations(rectangles, 2):
        apart = r0 + ACROSS <= l1 + 1e-6 or r1 + ACROSS <= l0 + 1e-6
        assert apart or b0 + DOWN <= t1 + 1e-6 or b1 + DOWN <= t0 + 1e-6
    for number, item in enumerate(items):
        assert all(rectangles[above][3] < rectangles[number][1] for above in item.above)
    assert all(left >= -1e-6 and top >= 0 for left, top, _, _ in rectangles)
    assert all(r <= layers.width + 1e-6 and b <= layers.height + 1e-6 for _, _, r, b in rectangles)


@given(item_lists())
def test_lines_join_what_is_read_and_pass_beside_everything(items: list[Item]) -> None:
    layers = layered(items)
    assert {(line.upper, line.lower) for line in layers.lines} == {
        (above, n) for n, item in enumerate(items) for above in item.above
    }
    for line in layers.lines:
        level = layers.corners[line.upper][1]
        beside = [i.height for (_, top), i in zip(layers.corners, items, strict=True) if top == level]
        assert line.leaves == pytest.approx(level + max(beside))
        heights = [edge for _, *edges in line.passes for edge in edges]
        assert heights == sorted(heights)
        for x, top, bottom in line.passes:
            for (left, upper), item in zip(layers.corners, items, strict=True):
                beside = x < left - 1e-6 or x > left + item.width + 1e-6
                assert beside or upper + item.height <= top or upper >= bottom


@given(item_lists())
def test_a_last_item_stands_below_all_others(items: list[Item]) -> None:
    tops = [y for _, y in layered(items).corners]
    others = [y for y, item in zip(tops, items, strict=True) if not item.last]
    assert all(y > max(others) for y, item in zip(tops, items, strict=True) if item.last and others)


def test_equal_graphs_have_equal_drawings() -> None:
    items = [Item(40.0 + n % 7, 20.0, tuple({max(0, n - 3), max(0, n - 1)} - {n})) for n in range(60)]
    assert layered(items) == layered(list(items))


def test_a_chain_is_straight_and_a_fork_even() -> None:
    chain = layered([Item(50.0 + n, 20.0, (n - 1,) if n else ()) for n in range(30)])
    assert len({round(x + (50 + n) / 2, 6) for n, (x, _) in enumerate(chain.corners)}) == 1
    fork = layered(
        [Item(50.0, 20.0), Item(50.0, 20.0, (0,)), Item(50.0, 20.0, (0,)), Item(50.0, 20.0, (1, 2))]
    )
    (x0, _), (x1, _), (x2, _), (x3, _) = fork.corners
    assert x0 == pytest.approx((x1 + x2) / 2) == pytest.approx(x3)


def test_a_crossing_that_can_be_avoided_is() -> None:
    square = Item(50.0, 20.0)
    crossed = [square, square, Item(50.0, 20.0, (1,)), Item(50.0, 20.0, (0,))]
    corners = layered([*crossed, Item(50.0, 20.0, (2, 3))]).corners
    assert (corners[0][0] < corners[1][0]) == (corners[3][0] < corners[2][0])


# -- flows -----------------------------------------------------------------------------------------------------


@blockfuse.hybridize
def halved(x: Any) -> Any:
    while np.abs(x).sum() > 1:
        x = x / 2
        if x.sum() > 2:
            x = x - 1
    return x


def long_graph(count: int) -> Graph:
    def function(x: Any) -> Any:
        for number in range(count // 2):
            x = tanh(x) + number
        return x

    return graph(function, x="float32[3]")


def boxes(svg: Any) -> dict[str, list[Any]]:
    space = "{http://www.w3.org/2000/svg}"
    found: dict[str, list[Any]] = {}
    for rect in svg.iter(f"{space}rect"):
        found.setdefault(rect.get("class"), []).append(rect)
    return found


def test_a_loop_has_an_arrow_back_for_each_way_back() -> None:
    for scale in (1.0, 100.0, -9.0):
        halved(np.ones(4) * scale)
        halved(np.ones(4) * scale)
    flow = program_of(halved).flow
    ways = [(n, s) for n, block in enumerate(flow.blocks) for s in block.successors or () if s is not None]
    drawing = webpages.read(str(figure_of("recorded", flow)))
    back, forth = drawing.all("g", "line back"), drawing.all("g", "line jump")
    assert len(back) == sum(target <= source for source, target in ways) > 0
    assert len(forth) == sum(target > source for source, target in ways)
    said = sorted(tuple(map(int, re.findall(r"block (\d+)", g.all("title")[0].text))) for g in back + forth)
    assert said == sorted(ways)


def test_a_drawing_says_what_the_text_says() -> None:
    for _ in range(2):
        halved(np.ones(4) * 30)
    for flow in (program_of(halved).flow, program_of(halved).compiled.main):
        tips = [t.text for t in webpages.read(str(figure_of("recorded", flow))).all("title")]
        lines = [line for block in flow.blocks for line in block.graph.text().split("\n")]
        computed = [line.strip() for line in lines if re.match(r"  %\d+ = ", line)]
        assert computed
        assert [line for line in computed if not any(tip.startswith(line.rstrip("{ ")) for tip in tips)] == []


def test_edges_end_at_boxes() -> None:
    svg = ElementTree.fromstring(file_of("net", {"recorded": straight(long_graph(20))}))
    space = "{http://www.w3.org/2000/svg}"
    rects = [
        tuple(float(r.get(k)) for k in ("x", "y", "width", "height"))
        for g in svg.iter(f"{space}g")
        for r in g.findall(f"{space}rect")
    ]
    for group in svg.iter(f"{space}g"):
        if group.get("class") == "line":
            path = group.findall(f"{space}path")[1].get("d")
            tip = group.findall(f"{space}path")[2].get("d")
            x0, y0 = map(float, re.match(r"M(\S+) (\S+)", path).groups())
            x1, y1 = map(float, re.match(r"M(\S+) (\S+)", tip).groups())
            assert any(
                x == pytest.approx(x0 - w / 2, abs=0.2) and y + h == pytest.approx(y0, abs=0.2)
                for x, y, w, h in rects
            )
            assert any(
                x == pytest.approx(x1 - w / 2, abs=0.2) and y == pytest.approx(y1, abs=0.2)
                for x, y, w, h in rects
            )


DECIDING = graph(lambda x: greater(x.sum(), 0.0), x="float32[3]")
ENDING = graph(lambda x: x + 1, x="float32[3]")


@st.composite
def ways(draw: Any) -> list[tuple[int | None, int | None] | None]:
    count = draw(st.integers(2, 9))
    target = st.none() | st.integers(0, count - 1)
    return [*draw(st.lists(st.tuples(target, target), min_size=count - 1, max_size=count - 1)), None]


@pytest.mark.long
@given(ways())
def test_no_two_arrows_beside_blocks_lie_on_each_other(
    ways: list[tuple[int | None, int | None] | None],
) -> None:
    flow = Flow(tuple(Block(ENDING if way is None else DECIDING, successors=way) for way in ways))
    drawing = drawn_flow(flow)
    upright = []
    for tag in webpages.read("".join(map(str, drawing.elements))).all("g"):
        if tag.attributes.get("class") in ("line back", "line jump"):
            d = tag.all("path")[1].attributes["d"]
            y0, x, y1 = map(float, re.match(r"M\S+ (\S+) H(\S+) V(\S+)", d).groups())
            upright.append((x, min(y0, y1), max(y0, y1)))
            assert 0 <= x <= drawing.width
    assert len(upright) == sum(s is not None for way in ways for s in way or ())
    for (x0, t0, b0), (x1, t1, b1) in combinations(upright, 2):
        assert x0 != x1 or b0 < t1 or b1 < t0


# -- parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [10, READABLE, 60, 500])
def test_many_operators_are_parts_that_hold_each_once(count: int) -> None:
    block = Block(long_graph(count))
    parts = parts_of(block)
    if count <= READABLE:
        assert parts == []
        return
    assert len(parts) <= READABLE + 2
    assert [node for part in parts for node in part.operators] == operators_of(block.graph)
    drawn = boxes_of_parts(block, ["block 0"], parts)
    assert all(above < number for number, box in enumerate(drawn) for above, _ in box.above)
    assert [box.kind for box in drawn].count("part") == len(parts)


def test_every_operator_of_a_large_graph_can_be_unfolded() -> None:
    figure = webpages.read(str(figure_of("recorded", straight(long_graph(500)))))
    names = [t.text for t in figure.all("text", "name")]
    assert names.count("tanh") == names.count("add") == 250
    assert len(figure.all("details")) == len(parts_of(Block(long_graph(500))))


def test_long_names_are_cut_in_boxes_and_whole_in_tips() -> None:
    name = "a_long_name_of_an_argument_" * 4
    (box, *_) = boxes_of(Block(graph(lambda x: tanh(x), **{name: "float32[3]"})), ["block 0"])
    assert all(len(text) <= 44 for _, text in box.lines)
    assert name in box.tip


# -- bars ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.01, 1e7), st.floats(1, 3), st.floats(1, 3)), min_size=1, max_size=8))
def test_bars_keep_to_the_picture_and_to_their_order(times: list[tuple[float, float, float]]) -> None:
    made = [Bar("eager", "eager", m / a, m, m * b, f"{m:g}") for m, a, b in times]
    found = webpages.read(str(bars([str(n) for n in range(len(made))], [[bar] for bar in made], "us")))
    (svg,) = found.all("svg")
    width = float(svg.attributes["viewbox"].split()[2])
    widths = [float(r.attributes["width"]) for r in found.all("rect")]
    lefts = [float(r.attributes["x"]) for r in found.all("rect")]
    assert all(left + w <= width for left, w in zip(lefts, widths, strict=True))
    for (a, x), (b, y) in combinations(zip([m for m, _, _ in times], widths, strict=True), 2):
        assert (a <= b) == (x <= y) or abs(x - y) <= 0.2


# -- outlines --------------------------------------------------------------------------------------------------


def test_an_explanation_is_its_text_line_by_line() -> None:
    text = "net(float32[2]): compiled\n  a\n    deeper\n  cure: b\nother: eager, 2 calls\n" + "".join(
        f"  line {n}\n" for n in range(30)
    )
    found = webpages.read(Explanation(text)._repr_html_())
    said = re.sub(r"\s+", "", "".join(t.text for t in found.all("div", "blockfuse")))
    for line in text.split("\n"):
        assert re.sub(r"\s+", "", line) in said
    assert [b.text for b in found.all("b", "good")] == ["compiled"]
    assert [b.text for b in found.all("b", "warn")] == ["eager"]
    assert isinstance(Explanation(text), str)
    assert Explanation(text) == text


def test_an_outline_that_is_deep_ends() -> None:
    text = "\n".join(" " * depth + str(depth) for depth in range(2000))
    found = webpages.read(Explanation(text)._repr_html_())
    assert "1999" in found.text
