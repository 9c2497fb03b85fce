"""Random programs: the source of a module with a net whose ``forward`` does what people do, and worse.

A forward mixes operators with branches and loops on values, writes, values that leave for Python, state that
changes from call to call, and calls of other blocks and functions.
"""

from __future__ import annotations

import random
import re
import types
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import snippets
from expressions import FLOATS, Lines, sample

from blockfuse import np


@dataclass(frozen=True)
class Argument:
    """One array that ``forward`` takes."""

    shape: tuple[int, ...]
    dtype: str


@dataclass
class Program:
    """A source, and what those who call and edit its net need to know."""

    source: str
    arguments: list[Argument]
    width: int
    stateful: bool = False  # calls are not independent of each other
    random: bool = False
    extras: tuple[str, ...] = field(default=())  # texts of the argument ``extra``

    def relevant(self, pick: random.Random, texts: tuple[str, ...]) -> str:
        """One of ``texts``, most often one that names something that the forwards read."""
        text = pick.choice(texts)
        for _ in range(10):
            name = _FIRST_NAME.search(text)
            if name is None or re.search(rf"\b{_READ_AS.get(name[1], name[1])}\b", self.forwards):
                break
            text = pick.choice(texts)
        return text

    @property
    def forwards(self) -> str:
        return "\n".join(part.partition("class")[0] for part in self.source.split("def forward(")[1:])


def program(pick: random.Random, strange: float = 0.25) -> Program:
    """A random one that plain Python can run: now and then one writes to an array that is read-only.

    strange: how likely it has values that leave for Python; likewise hidden state, and writes.
    """
    while True:
        with suppress(ValueError, IndexError):
            return _drawn(pick, strange)


def _drawn(pick: random.Random, strange: float) -> Program:
    width = pick.choice((1, 2, 3, 3, 4, 5, 8, 17))
    shape = (*pick.choice(((), (1,), (2,), (2,), (3,), (5,), (2, 3))), width)
    dtype = pick.choice(("float32",) * 6 + ("float64", "int32"))
    arguments = [Argument(shape, dtype)]
    if pick.random() < 0.5:
        arguments.append(
            Argument(pick.choice((shape, shape[-1:], (1, width))), pick.choice((dtype, "float32")))
        )
    parts = {
        "width": width,
        "units": pick.choice((width, 2)),
        "activation": pick.choice((None, "relu", "tanh")),
        "given": pick.choice(("", f", in_units={width}")),
        "init": pick.choice(("ones", "uniform", "normal")),
    }
    gate = Gate(pick, width).source()
    placeholder = (
        snippets.HEAD
        + snippets.GATE.format(width=width, body=gate)
        + snippets.NET.format(**parts, body="        return x")
    )
    module = _module(placeholder)
    extra = snippets.EXTRAS[0] if pick.random() < 0.7 else pick.choice(snippets.EXTRAS)
    body = Forward(pick, arguments, module, extra[0], strange)
    text = body.source(pick.choice((3, 5, 8, 12)))
    source = (
        snippets.HEAD + snippets.GATE.format(width=width, body=gate) + snippets.NET.format(**parts, body=text)
    )
    stateful = body.stateful or _WRITES.search(gate + text) is not None or "next(" in text
    return Program(source, arguments, width, stateful, "random" in text or "drop" in text, extra)


_FIRST_NAME = re.compile(r"(?:net|program)\.(\w+)")
_READ_AS = {"change": "add", "tick": "COUNT", "Rate": "rate", "Net": "level", "Gate": "bonus"}
_WRITES = re.compile(r"[-+*/]= |\] = |\.fill\(|\.set_data\(")


def _module(source: str) -> types.ModuleType:
    module = types.ModuleType("placeholder")
    exec(source, vars(module))
    return module


class Gate:
    """The forward of a small block."""

    def __init__(self, pick: random.Random, width: int) -> None:
        self.pick = pick
        self.lines = Lines(
            pick, {"x": sample((2, width), "float32", 1), "g": sample((width,), "float32", 2)}, {}
        )

    def source(self) -> str:
        lines = self.lines
        count = self.pick.choice((0, 1, 1, 3))
        for _ in range(count):
            any(lines.line() for _ in range(10))
        if self.pick.random() < 0.2:
            lines.branch()
        result = lines.written() or "x"
        form = self.pick.choice(("{} * g", "{} * g + self.bonus", "npx.relu({}) * g"))
        if lines.tried(form.format(result).replace("self.bonus", "1")) is None:
            result = "x"
        body = ["g = self.gain.data()", *lines.lines, f"return {form.format(result)}"]
        return "\n".join(f"        {line}" for line in body)


class Forward(Lines):
    """The forward of the net."""

    def __init__(
        self,
        pick: random.Random,
        arguments: list[Argument],
        module: types.ModuleType,
        extra: str,
        strange: float,
    ) -> None:
        values = {"xy"[n]: sample(a.shape, a.dtype, n) for n, a in enumerate(arguments)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = module.build()
            for block in (net.dense, net.norm, net.gate, net.second):
                block(np.array(sample((2, net.weight.shape[0]), "float32", 3)))
        scope = {**vars(module), "self": net, "k": 1.0, "y": None, "extra": eval(extra, {"np": np})}
        super().__init__(pick, values, scope)
        self.stateful = False
        self.strange = strange

    def source(self, length: int) -> str:
        kinds = {
            "plain": self.line,
            "read": lambda: self.template(snippets.READS),
            "block": lambda: self.template(snippets.BLOCKS),
            "escape": lambda: self.template(snippets.ESCAPES),
            "hidden": self.hidden,
            "write": self.rewrite,
            "branch": self.branching,
        }
        # Most programs leave some kinds out, or else nothing would ever be compiled.
        chances = {"plain": 6, "read": 4, "block": 2, "branch": 3}
        chances |= {kind: self.pick.random() < self.strange for kind in ("escape", "hidden", "write")}
        for _ in range(length):
            kind = self.pick.choices(list(chances), list(chances.values()))[0]
            any(kinds[kind]() for _ in range(8))
        if self.written() is None:
            self.add("x * 1.0")
        made = [name for name in self.values if name in self.fresh]
        form = self.pick.choice(snippets.RESULTS[:8] if self.pick.random() < 0.6 else snippets.RESULTS)
        if made and self.pick.random() < 0.5 and not any("return" in line for line in self.lines):
            form = f"[v * 1 for v in ({', '.join(made)},)]"  # nothing that was computed goes unseen
        body = [*self.lines, f"return {form.format(**self.choice())}"]
        return "\n".join(f"        {line}" for line in body)

    def choice(self) -> dict[str, str]:
        number = self.name(lambda v: v.dtype != bool) or "x"
        return {"x": self.written() or "x", "z": number}

    def template(self, forms: tuple[str, ...]) -> bool:
        x = self.name(lambda v: v.dtype.name in FLOATS)
        return x is not None and self.add(self.pick.choice(forms).format(x=x))

    def hidden(self) -> bool:
        self.stateful = True
        return self.take([self.pick.choice(snippets.HIDDEN).format(**self.choice())])

    def rewrite(self) -> bool:
        x = self.name(lambda v: v.dtype != bool)
        self.stateful = True
        return x is not None and self.take([self.pick.choice(snippets.WRITES).format(x=x)], x)

    def branching(self) -> bool:
        if self.pick.random() < 0.4:
            return self.branch()
        names = self.choice()
        lines = [line.format(**names) for line in self.pick.choice(snippets.BRANCHES)]
        self.stateful |= any("self.count +=" in line for line in lines)
        return names["x"] in self.fresh and self.take(lines, names["x"])

    def tried(self, code: str) -> dict[str, Any] | None:
        return super().tried("pass" if "refused" in code or "assert" in code else code)
