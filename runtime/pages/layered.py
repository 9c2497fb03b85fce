"""Items in layers: each below those that it reads, and as near to them as room allows. Pixels throughout.

NOTE [layered drawings]
Four steps, after Sugiyama, Tagawa and Toda (1981). An item stands one layer below the lowest that it reads; one that
reads nothing right above its first reader. A line that passes through a layer is an item without height there, which all
readers of one value share. Layers are ordered by the mean place of neighbours, down and up again, and the order with the
fewest crossings stays. Then items move to where their neighbours are: of a layer, the positions nearest to those wanted
that keep order and distances are an isotonic regression, which ``_apart`` solves exactly by pooling. So no two items
overlap, whatever the graph. (grandalf 0.8, the library that does this in Python, takes as long; of a random graph of 500
boxes it left 48 pairs on each other, in 1.8 times the width.)
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ACROSS = 22  # between items of a layer
_PASSING = ACROSS / 2  # beside a line on its way through a layer
DOWN = 34  # between layers
_SWEEPS = 8  # down and up again
_STRAIGHT = 8.0  # how much more a line between layers wants to stay straight than an item wants to be near
_MOST_LINES = (
    20_000  # of layers between all ends of lines: beyond, layers keep the order that they begin with
)


@dataclass(frozen=True)
class Item:
    """width, height: of its box. above: the items that it reads, earlier ones. last: whether it stands below all others."""

    width: float
    height: float
    above: tuple[int, ...] = ()
    last: bool = False


@dataclass(frozen=True)
class Line:
    """From an item down to a reader: the middles of the layers in between that it passes, as (x, top, bottom).

    leaves: the lower edge of the layer of the upper item, which may be below that item.
    """

    upper: int
    lower: int
    leaves: float
    passes: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Layers:
    """corners: left and top of each item."""

    corners: tuple[tuple[float, float], ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass
class _Place:
    """An item, or a line on its way, while it is placed. key: which of both; left: its left edge in the end."""

    layer: int
    width: float
    height: float
    passing: bool
    above: list[int]
    below: list[int]
    left: float = 0.0

    @property
    def centre(self) -> float:
        return self.left + self.width / 2


def layered(items: Sequence[Item]) -> Layers:
    """Where each item stands, and how the lines between them go. See NOTE [layered drawings]."""
    if not items:
        return Layers((), (), 0.0, 0.0)
    places, routes = _routed(items, _layers_of(items))
    rows = _ordered(places)
    _settle(places, rows)
    edge = min(place.left for place in places)
    for place in places:
        place.left -= edge
    tops, depths = _tops(places, rows)
    return Layers(
        tuple((p.left, tops[p.layer]) for p in places[: len(items)]),
        tuple(
            Line(
                upper,
                lower,
                _lower_edge(places[upper], tops, depths),
                tuple(_pass(places[n], tops, depths) for n in way),
            )
            for (upper, lower), way in routes.items()
        ),
        max(place.left + place.width for place in places),
        tops[-1] + depths[-1],
    )


def _tops(places: list[_Place], rows: list[list[int]]) -> tuple[list[float], list[float]]:
    """Of each layer its upper edge and its height."""
    depths = [max(places[n].height for n in row) for row in rows]
    return [sum(depths[:n]) + DOWN * n for n in range(len(depths))], depths


def _pass(place: _Place, tops: list[float], depths: list[float]) -> tuple[float, float, float]:
    return place.centre, tops[place.layer], _lower_edge(place, tops, depths)


def _lower_edge(place: _Place, tops: list[float], depths: list[float]) -> float:
    """Of its layer."""
    return tops[place.layer] + depths[place.layer]


# -- layers and the ways through them --------------------------------------------------------------------------


def _layers_of(items: Sequence[Item]) -> list[int]:
    layers: list[int] = []
    for item in items:
        layers.append(max((layers[above] + 1 for above in item.above), default=0))
    first: dict[int, int] = {}  # item -> the layer of its first reader
    for item, layer in zip(items, layers, strict=True):
        for above in item.above:
            first[above] = min(layer, first.get(above, layer))
    layers = [
        n if item.above else first.get(i, 1) - 1
        for i, (item, n) in enumerate(zip(items, layers, strict=True))
    ]
    lowest = max((n for item, n in zip(items, layers, strict=True) if not item.last), default=-1)
    return [max(n, lowest + 1) if item.last else n for item, n in zip(items, layers, strict=True)]


def _routed(
    items: Sequence[Item], layers: list[int]
) -> tuple[list[_Place], dict[tuple[int, int], tuple[int, ...]]]:
    """The places of items, then those of lines on their way; and (upper, lower) -> the places between them."""
    places = [_Place(n, i.width, i.height, False, [], []) for i, n in zip(items, layers, strict=True)]
    known: dict[tuple[int, int], int] = {}  # item that is read, layer -> the place on the way from it
    routes: dict[tuple[int, int], tuple[int, ...]] = {}
    for lower, item in enumerate(items):
        for upper in dict.fromkeys(item.above):
            way: list[int] = []
            for layer in range(layers[upper] + 1, layers[lower]):
                if (upper, layer) not in known:
                    known[upper, layer] = len(places)
                    places.append(_Place(layer, 0.0, 0.0, True, [], []))
                    _join(places, way[-1] if way else upper, known[upper, layer])
                way.append(known[upper, layer])
            _join(places, way[-1] if way else upper, lower)
            routes[upper, lower] = tuple(way)
    return places, routes


def _join(places: list[_Place], upper: int, lower: int) -> None:
    places[upper].below.append(lower)
    places[lower].above.append(upper)


# -- the order in a layer --------------------------------------------------------------------------------------


def _ordered(places: list[_Place]) -> list[list[int]]:
    """The places of each layer from left to right."""
    rows: list[list[int]] = [[] for _ in range(1 + max(place.layer for place in places))]
    for number in _by_depth(places):
        rows[places[number].layer].append(number)
    best, fewest = [list(row) for row in rows], _crossings(places, rows)
    for _ in range(_SWEEPS if len(places) <= _MOST_LINES else 0):
        if not fewest:
            break
        for row in rows[1:]:
            _sort(places, row, rows[places[row[0]].layer - 1], up=False)
        for row in reversed(rows[:-1]):
            _sort(places, row, rows[places[row[0]].layer + 1], up=True)
        now = _crossings(places, rows)
        if now >= fewest:
            break
        best, fewest = [list(row) for row in rows], now
    return best


def _by_depth(places: list[_Place]) -> list[int]:
    """Every place, branch after branch, so that what belongs together begins side by side."""
    seen: dict[int, None] = {}
    for start in (n for n, place in enumerate(places) if not place.above):
        stack = [start]
        while stack:
            number = stack.pop()
            if number not in seen:
                seen[number] = None
                stack.extend(reversed(places[number].below))
    return list(seen)


def _sort(places: list[_Place], row: list[int], beside: list[int], up: bool) -> None:
    """By the mean place of the neighbours in ``beside``; who has none there keeps its place."""
    position = {number: n for n, number in enumerate(beside)}
    scale = len(beside) / max(1, len(row))
    wanted = {}
    for n, number in enumerate(row):
        near = places[number].below if up else places[number].above
        wanted[number] = sum(position[o] for o in near) / len(near) if near else n * scale
    row.sort(key=wanted.__getitem__)


def _crossings(places: list[_Place], rows: list[list[int]]) -> int:
    """How many pairs of lines between neighbouring layers cross."""
    count = 0
    for upper, lower in pairwise(rows):
        position = {number: n for n, number in enumerate(lower)}
        met: list[int] = []
        for number in upper:
            ends = sorted(position[o] for o in places[number].below)
            count += sum(len(met) - bisect(met, end) for end in ends)
            for end in ends:
                insort(met, end)
    return count


# -- positions ---------------------------------------------------------------------------------------------------


def _settle(places: list[_Place], rows: list[list[int]]) -> None:
    """Move the places of each layer to their neighbours above, then below: what only leads on stands above its reader."""
    for row in rows:
        _move(places, row, [[] for _ in row])
    for _ in range(_SWEEPS):
        for row in rows:
            _move(places, row, [places[n].above for n in row])
        for row in reversed(rows):
            _move(places, row, [places[n].below for n in row])


def _move(places: list[_Place], row: list[int], near: list[list[int]]) -> None:
    """near: the neighbours of each place, to which it moves as far as the others of its layer let it."""
    here = [places[number] for number in row]
    wanted = [_mean([places[n].centre for n in ends], p.centre) for p, ends in zip(here, near, strict=True)]
    on_the_way = [
        p.passing and any(places[n].passing for n in ends) for p, ends in zip(here, near, strict=True)
    ]
    weights = [_STRAIGHT if straight else 1.0 for straight in on_the_way]
    for place, centre in zip(here, _apart(wanted, weights, _starts(here)), strict=True):
        place.left = centre - place.width / 2


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _starts(row: list[_Place]) -> list[float]:
    """The centres of places side by side, as near as they may be."""
    starts, position = [], 0.0
    for before, place in zip([None, *row], row, strict=False):
        if before is not None:
            gap = _PASSING if place.passing or before.passing else ACROSS
            position += before.width / 2 + gap + place.width / 2
        starts.append(position)
    return starts


def _apart(wanted: list[float], weights: list[float], starts: list[float]) -> list[float]:
    """The positions nearest to the wanted ones that keep at least the distances that ``starts`` have from each other.

    Nearest by weighted squares: without the distances, what is wanted must not fall, and neighbours that would are pooled.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, start in zip(wanted, weights, starts, strict=True):
        mean, size = want - start, 1
        while pools and pools[-1][0] > mean:
            other, more, count = pools.pop()
            mean = (mean * weight + other * more) / (weight + more)
            weight, size = weight + more, size + count
        pools.append((mean, weight, size))
    means = [mean for mean, _, size in pools for _ in range(size)]
    return [mean + start for mean, start in zip(means, starts, strict=True)]
