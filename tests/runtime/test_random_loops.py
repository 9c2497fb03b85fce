"""Random loops of Python: however their rounds are rolled, they give the bits of what was recorded, natively, too.

A failing example prints its seed and the source of its function, ready to be pasted.
"""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from rolling import MACHINE, held_to, recorded, short_loops  # noqa: F401 - a fixture
from rolling import given as arrays
from sampling import sampled
from stages import hold_together

from blockfuse import np

pytestmark = pytest.mark.usefixtures("short_loops")

SIDE = 12
SIGNATURE = "def random_loops(x, y, m, w, square, a, b, c):"
SHAPES = ((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE), (SIDE,), (SIDE, SIDE), (SIDE,), (SIDE,), (SIDE,))
RANGES = (
    *("range(8)", "range(9)", "range(11)", "range(12)", "range(1, 10)", "range(8, 0, -1)", "range(0, 12, 2)"),
    "(3, 1, 4, 1, 5, 0, 2, 6, 5, 3)",
)
BETWEEN = ("c = np.stack(rows).sum(axis=0) * 0.1", "b = rows[len(rows) // 2] * 1", "out = out * 0.5")
RESULTS = (
    *("a, b, c, np.stack(rows), np.stack(sums)", "a, out, rows[-1]", "np.concatenate(rows[::-1]), c", "a"),
    *("out, np.stack(rows[1:] + rows[:1], axis=1), b", "np.stack(rows).mean(axis=0), out[3], a"),
)


class Loops:
    """The source of one random function with loops in loops."""

    def __init__(self, seed: int) -> None:
        self._pick = random.Random(seed)
        lines = [
            SIGNATURE,
            "    rows, sums, out = [a * 1], [b.sum()], x * 1",
            "    a, b, c = a * 1, b * 1, c * 1",
        ]
        for _ in range(self._pick.randint(1, 2)):
            lines += self._loop("i", "    ", [])
            if self._pick.random() < 0.5:
                lines.append("    " + self._pick.choice(BETWEEN))
        self.source = "\n".join([*lines, f"    return {self._pick.choice(RESULTS)}"]) + "\n"

    def _loop(self, counter: str, indent: str, places: list[str]) -> list[str]:
        """places: indices that the loops around it give."""
        own = [counter, counter, f"{counter} % 3", f"11 - {counter}"]
        head = f"{indent}for {counter} in {self._pick.choice(RANGES)}:"
        return [head, *self._statements(counter, indent + "    ", own + places)]

    def _statements(self, counter: str, indent: str, places: list[str]) -> list[str]:
        lines = []
        for _ in range(self._pick.randint(1, 4)):
            place = self._pick.choice(places)
            match self._pick.choice("vvvvvstorcl"):
                case "v":
                    lines.append(f"{self._pick.choice('abc')} = np.tanh({self._value(2, places)} + a * 0.1)")
                case "s":
                    lines.append("a, b = b, a")
                case "t":
                    lines.append(f"rows.append({self._value(1, places)} + a)")
                case "o":
                    lines.append(f"out[{place}] = {self._value(1, places)} + a")
                case "c":
                    lines.append(f"out[:, {place}] = ({self._value(1, places)} + a).sum()")
                case "r":
                    lines.append(f"sums.append(({self._value(1, places)} + a).sum())")
                case "l" if counter == "i":
                    lines += [line.strip("\n") for line in self._loop("j", "", places[:2])]
        return [indent + line for line in lines or ["a = a + b"]]

    def _value(self, depth: int, places: list[str]) -> str:
        if depth == 0 or self._pick.random() < 0.25:
            return self._leaf(places)
        one, other = self._value(depth - 1, places), self._value(depth - 1, places)
        return self._pick.choice(
            (
                f"({one} {self._pick.choice('+-*')} {other})",
                f"np.tanh({one})",
                f"({one} * {self._pick.choice(('0.5', '-0.25', '2', 'w', 'w.sum()'))})",
                f"(square @ ({one} + a) * 0.1)",
                f"({one} + a).sum()",
            )
        )

    def _leaf(self, places: list[str]) -> str:
        one, other = self._pick.choice(places), self._pick.choice(places)
        picked = (f"x[{one}]", f"y[:, {one}]", f"m[{one}, {other}]", f"out[{one}]", f"float({places[0]})")
        return self._pick.choice(("a", "b", "c", *picked))


@sampled(5, 300, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9))
@example(23195)  # tables of what rounds read, of tables, of tables
def test_loops_give_what_was_recorded_however_they_are_rolled(seed: int) -> None:
    source, arguments = Loops(seed).source, arrays(*SHAPES)
    scope: dict[str, Any] = {"np": np}
    exec(source, scope)
    try:
        with numpy.errstate(all="ignore"):
            flow = recorded(scope["random_loops"], arguments)
            values = [a.asnumpy() for a in arguments]
            held_to(flow, values)
            if seed % 8 == 0:
                hold_together(flow, values, [], MACHINE, compiled=False)
    except Exception as error:
        error.add_note(f"seed {seed}:\n{source}")
        raise
