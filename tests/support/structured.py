"""Random structured programs as Python source: arrays, numbers that count, loops, branches, helpers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

ARRAYS = ("a", "b", "c")
NUMBERS = ("i", "j", "k")


@dataclass
class Writer:
    """Writes one module with ``forward(a, b)`` and the helpers that it calls."""

    chooser: random.Random
    lines: list[str] = field(default_factory=list)
    helpers: int = 0
    loops: int = 0

    def module(self) -> str:
        helpers = []
        for n in range(self.chooser.randrange(3)):
            self.lines, self.helpers = [], n
            self._function(f"helper{n}", "a, b", depth=1, result="a")
            helpers += self.lines
        self.lines, self.helpers = [], len(helpers) and n + 1
        self._function("forward", "a, b", depth=2, result="a, b, c")
        return "\n".join(["from blockfuse import np", "", "LIMIT = 5", "", *helpers, *self.lines]) + "\n"

    def _function(self, name: str, arguments: str, depth: int, result: str) -> None:
        self.result = result
        self._write(0, f"def {name}({arguments}):")
        if self.chooser.random() < 0.5:
            self._write(1, "a = a * 1")
        self._write(1, "c = a + b")
        self._write(1, "i = j = k = 0" if self.chooser.random() < 0.7 else "i = 0; j = 3; k = -2")
        for _ in range(self.chooser.randrange(2, 5)):
            self._statement(1, depth, False)
        self._write(1, f"return {result}" if "," not in result else f"return {self._returned()}")
        self._write(0, "")

    def _returned(self) -> str:
        return "a * 1, b + 1, c - 1" if self.chooser.random() < 0.8 else "a + i, b + 1, c * j"

    def _write(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _statement(self, indent: int, depth: int, looping: bool) -> None:
        kinds = ["array"] * 5 + ["number"] * 2
        if depth:
            kinds += ["if"] * 4 + ["while"] * 3 + ["for"] * 3 + ["data"] + ["try"]
        if looping:
            kinds += ["leave"] * 2
        getattr(self, "_" + self.chooser.choice(kinds))(indent, depth, looping)

    def _body(self, indent: int, depth: int, looping: bool) -> None:
        for _ in range(self.chooser.randrange(1, 4)):
            self._statement(indent, depth - 1, looping)

    # -- statements ------------------------------------------------------------------------------------------

    def _array(self, indent: int, _depth: int, _looping: bool) -> None:
        x, y, z = (self.chooser.choice(ARRAYS) for _ in range(3))
        n = self.chooser.randrange(1, 9)
        forms = [
            *[f"{x} = {y} + {n}", f"{x} = {y} - {z}", f"{x} = ({y} * {n} + {z}) % 31", f"{x} = {y} - {n}"],
            *[
                f"{x} = np.maximum({y}, {z} - {n})",
                f"{x}, {y} = {y}, {x}",
                f"{x} = np.where({y} > {z}, {y}, {n})",
            ],
            *[f"{x} = {y}", f"{x} = {y} * 1; {x} += {n}", f"t = {y} * {n}; {x} = t % 17"],
        ]
        if self.chooser.random() < 0.15:
            forms = [f"{x} = {y} + {self._a_number()}", f"{x} = {y} * {self._a_number()} % 13", f"{x} += {n}"]
        if self.helpers and self.chooser.random() < 0.3:
            forms = [f"{x} = helper{self.chooser.randrange(self.helpers)}({y}, {z})"]
            forms += [f"{x} = {y} * 2 + helper{self.chooser.randrange(self.helpers)}({z}, {y}) % 19"]
        self._write(indent, self.chooser.choice(forms))

    def _a_number(self) -> str:
        return self.chooser.choice(NUMBERS)

    def _number(self, indent: int, _depth: int, _looping: bool) -> None:
        x, y, n = self._a_number(), self._a_number(), self.chooser.choice((1, 1, 1, 2, 3, -1))
        forms = [
            f"{x} += {n}",
            f"{x} += {n}",
            f"{x} = {y} + {n}",
            f"{x} -= {n}",
            f"{x} = {y}",
            f"{x} = {n} - {y}",
        ]
        forms += [f"{x} = {n}", f"{x} = min({y}, 6)", f"{x} = ({y} + 1) % 4"]
        self._write(indent, self.chooser.choice(forms))

    def _if(self, indent: int, depth: int, looping: bool) -> None:
        self._write(indent, f"if {self._condition()}:")
        self._body(indent + 1, depth, looping)
        if self.chooser.random() < 0.3:
            self._write(indent, f"elif {self._condition()}:")
            self._body(indent + 1, depth, looping)
        if self.chooser.random() < 0.5:
            self._write(indent, "else:")
            self._body(indent + 1, depth, looping)

    def _while(self, indent: int, depth: int, looping: bool) -> None:
        self.loops += 1
        n = f"n{self.loops}"
        limit = self.chooser.choice(("5", "9", "LIMIT", "LIMIT + 2"))
        self._write(indent, f"{n} = {self.chooser.choice((0, 0, 1, 4))}")
        tests = [f"{n} < {limit}", self._condition()]
        if self.chooser.random() < 0.5:
            tests.reverse()
        self._write(indent, f"while {' and '.join(tests)}:")
        self._write(indent + 1, f"{n} += {self.chooser.choice((1, 1, 2))}")
        self._body(indent + 1, depth, True)
        self._else(indent, depth, looping)

    def _for(self, indent: int, depth: int, looping: bool) -> None:
        values = self.chooser.choice(
            (
                "range(4)",
                "range(LIMIT)",
                "range(7, 0, -2)",
                "range(2, 11, 3)",
                "range(i)",
                "(1, 2, 3)",
                "enumerate((5, 6))",
            )
        )
        target = "i, j" if "enumerate" in values else self.chooser.choice((*NUMBERS, "_"))
        self._write(indent, f"for {target} in {values}:")
        self._body(indent + 1, depth, True)
        if self.chooser.random() < 0.6:
            self._write(indent + 1, f"if {self._condition()}:")
            self._write(indent + 2, self.chooser.choice(("break", "continue")))
            self._array(indent + 1, depth, True)
        self._else(indent, depth, looping)

    def _else(self, indent: int, depth: int, looping: bool) -> None:
        if self.chooser.random() < 0.2:
            self._write(indent, "else:")
            self._body(indent + 1, depth, looping)

    def _data(self, indent: int, _depth: int, _looping: bool) -> None:
        x, n = self.chooser.choice(ARRAYS), self.chooser.randrange(3, 9)
        self._write(indent, f"while {x}.sum() > {self.chooser.randrange(5, 40)}:")
        self._write(indent + 1, f"{x} = {x} - {n}")

    def _try(self, indent: int, depth: int, looping: bool) -> None:
        self._write(indent, "try:")
        self._body(indent + 1, depth, looping)
        self._write(indent, "finally:")
        self._array(indent + 1, depth, looping)

    def _leave(self, indent: int, _depth: int, _looping: bool) -> None:
        self._write(indent, f"if {self._condition()}:")
        self._write(indent + 1, self.chooser.choice(("break", "continue", f"return {self.result}")))

    # -- conditions ------------------------------------------------------------------------------------------

    def _condition(self) -> str:
        x, y = self.chooser.choice(ARRAYS), self.chooser.choice(ARRAYS)
        n = self.chooser.randrange(-5, 60)
        i, j = self._a_number(), self._a_number()
        forms = [
            *[f"{x}.sum() > {n}", f"{x}.max() > {y}.min()", f"{x}[0] > {y}[1]", f"not {x}.min() < {n}"] * 3,
            *[
                f"{i} < {n % 7}",
                f"{i} != {j}",
                f"{i} >= {n % 5}",
                f"{i}",
                f"0 <= {i} < {n % 7}",
                f"{i} > 1.5",
            ],
            *[f"{i} < {n % 7} and {x}.sum() > {n}", f"({x}.max() > {n} or {i} == {j})", f"{i} % 2 == 0"],
            *[f"bool({x}.sum() > {n})", f"(t := {x} + 1).sum() > {n}"],
        ]
        return self.chooser.choice(forms)


def program(seed: int) -> str:
    """The source of the random program ``seed``."""
    return Writer(random.Random(seed)).module()
