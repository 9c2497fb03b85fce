"""Random straight programs of a few operators on arrays whose sizes coincide: the source of a function of 1 to 3 arrays.

What distinguishes them from other random programs (``expressions.py``): few sizes, so that a vector fits rows, columns and
batches alike; and operands that come back, so that one value is read inside of a fold and behind it, transposed and plain.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
from expressions import sample
from forms import DTYPES, FITS, FORMS, PARAMETERS, SHARES, Form, Value, broadcasts
from numpy_programs import NAMESPACES

_SIZES = (2, 2, 3, 3, 4, 4, 4, 5, 8, 8, 16, 17, 32)
_LARGEST = 4096  # elements of a value
_CHOICES = 4  # forms that compete for a line
_ECHOES = 0.2  # of the lines put the last value beside what it was made of


@dataclass(frozen=True)
class Type:
    """Shape and dtype of an argument."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Case:
    """The source of ``function``, and what it is called with. arguments: types by name. seed: of their values."""

    source: str
    arguments: dict[str, Type]
    seed: int

    def samples(self, turn: int, scale: float = 1.0) -> list[Value]:
        """The arguments of call ``turn``."""
        seeds = (1000 * self.seed + 10 * turn + n for n in range(len(self.arguments)))
        return [
            sample(t.shape, t.dtype, s, scale) for t, s in zip(self.arguments.values(), seeds, strict=True)
        ]


@dataclass(frozen=True)
class Line:
    """``text`` makes the value ``name``, or, where it ``writes``, changes it."""

    name: str
    text: str
    operands: tuple[str, ...]
    writes: bool = False

    def __str__(self) -> str:
        return self.text if self.writes else f"{self.name} = {self.text}"


@dataclass(frozen=True)
class Program:
    """A case by its lines, which can be taken apart. results: names of what it returns."""

    arguments: dict[str, Type]
    lines: tuple[Line, ...]
    results: tuple[str, ...]
    seed: int = 0

    @property
    def case(self) -> Case:
        body = "".join(f"    {line}\n" for line in self.lines)
        head = f"def function({', '.join(self.arguments)}):"
        return Case(f"{head}\n{body}    return {', '.join(self.results)}\n", self.arguments, self.seed)

    def tidied(self) -> Program:
        """Without lines and arguments that no result needs. A write counts for its own array only: of a view it is lost."""
        needed, kept = set(self.results), []
        for line in reversed(self.lines):
            if line.name in needed:
                needed |= set(line.operands)
                kept.append(line)
        first = next(iter(self.arguments))
        types = {n: t for n, t in self.arguments.items() if n in needed} or {first: self.arguments[first]}
        return replace(self, lines=tuple(reversed(kept)), arguments=types)


@dataclass
class Steering:
    """How often each pair (form of an operand, form) was run, and what is to come more often than its count says."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    finds: Counter[str] = field(default_factory=Counter)  # form -> new features of programs that have it
    runs: Counter[str] = field(default_factory=Counter)  # form -> programs that have it

    def appeal(self, pair: tuple[str, str]) -> float:
        """Larger for what was run less, and for forms that keep finding something new."""
        return (1 + self.finds[pair[1]]) / ((1 + self.runs[pair[1]]) * (1 + self.pairs[pair]))

    def note(self, made: Draft, found: int) -> None:
        """A program was run, and ``found`` features of it were new."""
        self.pairs.update(made.pairs)
        forms = {pair[1] for pair in made.pairs}
        self.runs.update(forms)
        self.finds.update(dict.fromkeys(forms, found))


# -- drawing one ---------------------------------------------------------------------------------------------


class Draft:
    """A program that is being written: every line is run in NumPy before it is taken."""

    def __init__(self, seed: int, steering: Steering) -> None:
        self.pick = random.Random(seed)
        self.seed = seed
        self.steering = steering
        self.wild = self.pick.random() < 0.08  # nan and infinity may occur
        self.sizes = self.pick.sample(_SIZES, self.pick.choice((1, 1, 2)))
        if self.pick.random() < 0.1:
            self.sizes.append(self.pick.choice((0, 1, 1)))
        self.dtypes = [self.pick.choice(DTYPES) for _ in range(self.pick.choice((1, 1, 2)))]
        self.arguments = {f"x{n}": self._type() for n in range(self.pick.choice((1, 2, 2, 3)))}
        self.lines: list[Line] = []
        self.draws = False
        self.pairs: list[tuple[str, str]] = []
        self.forms: dict[str, str] = dict.fromkeys(
            self.arguments, "argument"
        )  # value -> the form that made it
        samples = Case("", self.arguments, seed).samples(0)
        self.values: dict[str, Value] = dict(zip(self.arguments, samples, strict=True))
        self.made: list[str] = []  # values in memory of their own, or numbers
        self.fresh: list[str] = []  # those that can be written to

    def program(self, length: int) -> Program:
        while len(self.lines) < length or not self.made:
            if self.pick.random() > _ECHOES or not self.echo():
                self.add(self.form())
        *others, last = self.made
        results = (last, self.pick.choice(others)) if others and self.pick.random() < 0.3 else (last,)
        return Program(self.arguments, tuple(self.lines), results, self.seed).tidied()

    def _type(self) -> Type:
        pick, n = self.pick, lambda: self.pick.choice(self.sizes)
        shape = pick.choice(
            (
                *[(n(), n())] * 5,
                *[(n(),)] * 4,
                *[(n(), 1), (1, n())] * 2,
                *[(n(), n(), n())] * 2,
                (n(), 1, n()),
                (),
            )
        )
        return Type(shape, pick.choice(self.dtypes))

    # -- lines -----------------------------------------------------------------------------------------------

    def echo(self) -> bool:
        """A line with the last value and one that it was made of; whether that could be."""
        last = next(reversed(self.values))
        kin = [n for n in sorted(self._roots(last)) if broadcasts(self.values[n], self.values[last])]
        if not kin:
            return False
        operands = [last, self.pick.choice(kin)]
        self.pick.shuffle(operands)
        return self._write(self.form("pointwise2"), tuple(operands))

    def _roots(self, name: str) -> set[str]:
        roots = {name}
        for line in reversed(self.lines):
            if line.name in roots:
                roots |= set(line.operands)
        return roots - {name}

    def form(self, group: str = "") -> Form:
        """One for the next line: the one of a few that was run least."""
        group = group or self.pick.choices(_GROUPS, _WEIGHTS)[0]
        forms = self.pick.choices(_MEMBERS[group], k=_CHOICES)
        latest = self.forms[next(reversed(self.values))]
        return max(forms, key=lambda f: self.steering.appeal((latest, f.text)))

    def add(self, form: Form) -> bool:
        """A line more; whether that could be."""
        operands = self._operands(form)
        if operands is None or (form.group == "draws" and self.draws):
            return False
        return self._write(form, operands)

    def _write(self, form: Form, operands: tuple[str, ...]) -> bool:
        first = self.values[operands[0]]
        drawn = {n: draw(self.pick, first) for n, draw in PARAMETERS.items() if f"{{{n}}}" in form.text}
        text = form.text.format(*operands, **drawn)
        name = operands[0] if form.writes else f"y{sum(not line.writes for line in self.lines)}"
        return self._take(Line(name, text, operands, form.writes), form)

    def _operands(self, form: Form) -> tuple[str, ...] | None:
        names: list[str] = []
        for place, fits in enumerate(form.fits):
            first = self.values[names[0]] if names else None
            pool = self.fresh if form.writes and not place else self.values
            able = [n for n in pool if FITS[fits](self.values[n], self.values[n] if first is None else first)]
            if not able:
                return None
            names.append(self._name(able))
        return tuple(names)

    def _name(self, able: list[str]) -> str:
        """The last value, what it was made of, or any other."""
        chance = self.pick.random()
        last = self.lines[-1] if self.lines else None
        if last is not None and chance < 0.4 and last.name in able:
            return last.name
        kin = [n for n in able if last is not None and n in last.operands]
        return self.pick.choice(kin if kin and chance < 0.7 else able)

    def _take(self, line: Line, form: Form) -> bool:
        """Add a line, if it works on the samples and leaves them as they should be."""
        value = _tried(line, self.values)
        if value is None or value.size > _LARGEST or not (self.wild or _tame(value)):
            return False
        self.values[line.name] = numpy.asarray(value)
        self.lines.append(line)
        self.draws |= form.group == "draws"  # one: a graph may need several in another order
        self.pairs += [(self.forms[n], form.text) for n in line.operands]
        if not line.writes:
            self.forms[line.name] = form.text
            is_view = value.base is not None or "broadcast" in line.text
            self.made += [] if is_view else [line.name]
            self.fresh += [] if is_view or isinstance(value, numpy.generic) else [line.name]
        return True


_GROUPS = tuple(SHARES)
_WEIGHTS = tuple(SHARES.values())
_MEMBERS = {group: [f for f in FORMS if f.group == group] for group in _GROUPS}


def drafted(seed: int, steering: Steering) -> tuple[Program, Draft]:
    """The program of a seed, and how it came about; the counts in ``steering`` have their part in it."""
    draft = Draft(seed, steering)
    return draft.program(draft.pick.choice((1, 2, 3, 3, 4, 4, 5, 6, 8))), draft


def values_of(program: Program, count: int) -> dict[str, Value]:
    """Name -> value after ``count`` lines, on the samples; nothing where NumPy refuses one of them."""
    values = dict(zip(program.arguments, program.case.samples(0), strict=True))
    for line in program.lines[:count]:
        value = _tried(line, values)
        if value is None:
            return {}
        values[line.name] = numpy.asarray(value)
    return values


def _tried(line: Line, values: dict[str, Value]) -> Value | None:
    """What the line's name holds behind it, or None where NumPy refuses."""
    scope: dict[str, Any] = {n: values[n] for n in line.operands}
    if line.writes:
        scope[line.name] = values[line.name].copy()
    try:
        with warnings.catch_warnings(), numpy.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            exec(str(line), dict(NAMESPACES), scope)
    except Exception:
        return None
    value = scope[line.name]
    return value if isinstance(value, numpy.ndarray | numpy.generic) else None


def _tame(value: Value) -> bool:
    """No overflow of floats, nor anything near one; whole numbers may wrap around."""
    if value.dtype.kind != "f":
        return True
    limit = 1e4 if value.dtype == "float16" else 1e6
    return bool(numpy.all(numpy.abs(value.astype("float64")) < limit))
