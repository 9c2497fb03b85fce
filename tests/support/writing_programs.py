"""Random straight programs of views and writes in place, as lines of Python that any kind of array can run."""

from __future__ import annotations

from random import Random

_UNARY = ("{a}.tanh()", "{a} * {k}", "{a}.copy()", "{a}.sum(0)", "{a} * {a}", "{a} - {k}")
_BINARY = ("{a} * {b}", "{a} + {b}", "{a} - {b}")
_VIEWS = {
    2: (
        "[1]",
        "[:, -1]",
        "[::2]",
        "[:, ::-1]",
        "[1:, 1:3]",
        "[-1, ::2]",
        ".T",
        ".reshape(-1)",
        "[0:0]",
        "[...]",
        "[None]",
    ),
    1: ("[1:]", "[::-1]", "[:2]", "[0]", "[...]", "[None]"),
    0: ("[...]", ".reshape(1)"),
}
_INDICES = {
    2: (
        "[1]",
        "[:, 1]",
        "[...]",
        "[0, 1]",
        "[::2]",
        "[:, ::-1]",
        "[[0, 0, 1]]",
        "[:, [1, 0, 1]]",
        "[:]",
        "[0:0]",
    ),
    1: ("[0]", "[1:]", "[...]", "[::-1]", "[[0, 1, 0]]", "[:]"),
    0: ("[...]",),
}


def program(random: Random, steps: int) -> list[str]:
    """Lines over ``x`` and ``w`` of shape (3, 4) and (4,), which they do not write to, and ``p``, plain memory of (3, 4).

    What they compute ends in ``loss``. Names tell how many axes there are: all axes have two elements or more.
    """
    return _Writer(random).lines(steps)


class _Writer:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.axes = {"x": 2, "w": 1, "p": 2}  # name -> how many
        self.variables = {"x", "w"}
        self.sources = {name: name for name in self.axes}  # name -> of which memory it may be
        self.dead: set[str] = set()  # cut off from gradients, and their memory was written
        self.cut: set[str] = set()
        self.turned: set[str] = (
            set()
        )  # memory may lie by columns, also that of results: a reshape may be a copy

    def lines(self, steps: int) -> list[str]:
        found = [self._step(number) for number in range(steps)]
        names = [n for n in self.axes if n not in self.dead]
        used = self.random.sample(names, min(4, len(names)))
        total = " + ".join(f"({name} * {name} * {self._number()}).sum()" for name in ("x", *used))
        return [line for line in found if line] + [f"loss = {total}"]

    def _number(self) -> float:
        return self.random.choice((0.5, -1.5, 2.0, 0.25))

    def _name(self, among: set[str] | None = None) -> str:
        names = [n for n in self.axes if n not in self.dead and (among is None or n in among)]
        return self.random.choice(names[-8:])

    def _step(self, number: int) -> str:
        kind = self.random.choice(("make", "view", "view", "write", "write", "update", "update", "cut"))
        line: str = getattr(self, f"_{kind}")(f"v{number}")
        return line

    def _new(self, name: str, axes: int, source: str) -> None:
        self.axes[name], self.sources[name] = axes, source

    def _make(self, name: str) -> str:
        a = self._name()
        fitting = {n for n, axes in self.axes.items() if axes == 0} | {a}
        template = self.random.choice((*_UNARY, *_BINARY))
        if ".sum(0)" in template and not self.axes[a]:
            template = "{a} * {k}"
        self._new(name, self.axes[a] - (".sum(0)" in template), name)
        b = self._name(fitting)
        if {a, b} & self.turned:
            self.turned.add(name)
        return f"{name} = " + template.format(a=a, b=b, k=self._number())

    def _view(self, name: str) -> str:
        a = self._name()
        how = self.random.choice(_VIEWS[self.axes[a]])
        if a in self.turned and "reshape" in how:
            how = "[...]"
        if a in self.turned or how == ".T":
            self.turned.add(name)
        if how in ("[0:0]", "[None]"):  # nothing else is tried with such shapes
            return f"e{name} = {a}{how}.sum()"
        axes = {
            "[1]": -1,
            "[:, -1]": -1,
            "[-1, ::2]": -1,
            "[0]": -1,
            ".reshape(-1)": -1,
            ".reshape(1)": 1,
        }
        self._new(name, self.axes[a] + axes.get(how, 0), self.sources[a])
        if a in self.cut:
            self.cut.add(name)
        if a in self.variables:
            self.variables.add(name)
        return f"{name} = {a}{how}"

    def _cut(self, name: str) -> str:
        a = self._name()
        self._new(name, self.axes[a], self.sources[a])
        self.cut.add(name)
        if a in self.turned:
            self.turned.add(name)
        return f"{name} = {a}.detach()"

    def _target(self) -> str | None:
        names = [n for n in self.axes if n not in self.variables | self.cut | self.dead]
        return self.random.choice(names[-8:]) if names else None

    def _written(self, target: str) -> None:
        """Whether those that were cut off have a gradient now, nobody can say."""
        self.dead |= {n for n in self.cut if self.sources[n] == self.sources[target]}

    def _write(self, _: str) -> str:
        target = self._target()
        if target is None:
            return ""
        index = self.random.choice(_INDICES[self.axes[target]])
        value = self.random.choice(
            (str(self._number()), f"{target}{index} * {self._number()}", f"{self._name()}.sum() * 0.1")
        )
        self._written(target)
        return f"{target}{index} = {value}"

    def _update(self, _: str) -> str:
        target = self._target()
        if target is None:
            return ""
        operator = self.random.choice(("+=", "*=", "-="))
        other = self.random.choice((str(self._number()), target, f"{self._name()}.sum() * 0.1"))
        self._written(target)
        return f"{target} {operator} {other}"
