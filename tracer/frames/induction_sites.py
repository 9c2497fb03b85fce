"""Where the byte code of a function sets, tests or uses what may be an induction variable.

A variable may be one if the function changes it by a step (``i = i + 1``) or a ``for`` sets it. What is done with it is
read off straight stretches of byte code; any pattern that is not known counts as a use of its value.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass

from blockfuse.tracer.code.bytecode import Anatomy, anatomy, jumps, once_per_code
from blockfuse.tracer.frames.operand_stack import understood

Stretch = tuple[int, int]  # from where to where a value is computed
Operand = str | Stretch  # a variable, or anything else


@dataclass(frozen=True)
class Site:
    """Something that an instruction does with a variable."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The variables whose values it follows."""
        return ()

    def parts(self, form: Anatomy, index: int) -> Iterator[int]:  # noqa: ARG002 - others look at the code
        """The loads and stores that the site at ``index`` stands for."""
        return iter(())


@dataclass(frozen=True)
class OfOperands(Site):
    """Something done with two operands."""

    operator: str
    operands: tuple[Operand, Operand]

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(o for o in self.operands if isinstance(o, str))

    def parts(self, form: Anatomy, index: int) -> Iterator[int]:
        middle = form.start_of(index)
        start = None if middle is None else form.start_of(middle)
        for where, operand in zip((start, middle), self.operands, strict=True):
            if where is not None and isinstance(operand, str):
                yield where


@dataclass(frozen=True)
class Test(OfOperands):
    """Before a comparison that a jump follows."""


@dataclass(frozen=True)
class Update(OfOperands):
    """Before ``target = left + right``."""

    target: str

    def parts(self, form: Anatomy, index: int) -> Iterator[int]:
        yield index + 1
        yield from super().parts(form, index)


@dataclass(frozen=True)
class Truth(Site):
    """Before a jump that asks whether a variable is zero."""

    variable: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.variable,)

    def parts(self, form: Anatomy, index: int) -> Iterator[int]:  # noqa: ARG002 - as of all sites
        yield index


@dataclass(frozen=True)
class Copy(Site):
    """Before ``target = source``."""

    source: str
    target: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def parts(self, form: Anatomy, index: int) -> Iterator[int]:  # noqa: ARG002 - as of all sites
        yield from (index, index + 1)


@dataclass(frozen=True)
class Store(Site):
    """Before a variable gets a value that is not followed."""

    target: str


@dataclass(frozen=True)
class Use(Site):
    """Before the value of a variable goes elsewhere."""

    variable: str


@dataclass(frozen=True)
class Iterate(Site):
    """Before an iterator is made of a value."""

    value: Stretch | None


@dataclass(frozen=True)
class Next(Site):
    """Before the iterator made at the index ``iterator`` gives its next value, to a variable or (None) elsewhere."""

    iterator: int | None
    target: str | None

    def parts(self, form: Anatomy, index: int) -> Iterator[int]:  # noqa: ARG002 - as of all sites
        if self.target is not None:
            yield index + 1


@dataclass(frozen=True, eq=False)
class Plan:
    """variables: those that may be induction variables. sites: index in the byte code -> what happens there to them."""

    variables: frozenset[str]
    sites: dict[int, Site]


_NOTHING = Plan(frozenset(), {})


@once_per_code
def plan(code: types.CodeType) -> Plan:
    """What there is to follow in a function; nothing where it has no loop."""
    form = anatomy(code)
    looping = any(
        i.opname == "FOR_ITER" or (jumps(i) and form.indices[i.argval] <= n)
        for n, i in enumerate(form.instructions)
    )
    if form.live is None or not looping:
        return _NOTHING
    candidates = {n: site for n in range(len(form.instructions)) if (site := _site(form, n)) is not None}
    variables = _induction_variables(form, list(candidates.values()))
    kept = {n: _narrowed(s, variables) for n, s in candidates.items() if _concerns(s, variables)}
    followed = {part for index, site in kept.items() for part in site.parts(form, index)}
    for index, instruction in enumerate(form.instructions):
        if index not in followed and instruction.argval in variables and "_FAST" in instruction.opname:
            stores = instruction.opname == "STORE_FAST"
            kept[index] = Store(instruction.argval) if stores else Use(instruction.argval)
    return Plan(variables, kept)


def _site(form: Anatomy, index: int) -> Site | None:
    """What the instruction may be, should its variables be induction variables."""
    instruction = form.instructions[index]
    following = form.instructions[index + 1] if index + 1 < len(form.instructions) else instruction
    straight = index + 1 not in form.targets
    name, operator = instruction.opname, instruction.argrepr.removesuffix("=")
    if name == "GET_ITER":
        start = form.start_of(index)
        return Iterate(None if start is None else (start, index))
    if name == "FOR_ITER":
        stack = form.stacks[index]
        stores = following.opname == "STORE_FAST" and straight
        return Next(stack[-1] if stack else None, following.argval if stores else None)
    if name == "LOAD_FAST" and straight and following.opname == "STORE_FAST":
        return Copy(instruction.argval, following.argval)
    if (
        name == "LOAD_FAST"
        and straight
        and following.opname.startswith(("POP_JUMP", "TO_BOOL"))
        and "NONE" not in following.opname
    ):
        return Truth(instruction.argval)
    operands = _operands(form, index) if name in ("BINARY_OP", "COMPARE_OP") and straight else None
    if operands is None:
        return None
    if name == "COMPARE_OP" and following.opname.startswith("POP_JUMP"):
        return Test(instruction.argval, operands)
    if operator in ("+", "-") and following.opname == "STORE_FAST":
        return Update(operator, operands, following.argval)
    return None


def _operands(form: Anatomy, index: int) -> tuple[Operand, Operand] | None:
    """Both operands of the instruction at ``index``, if they are computed in one straight line."""
    middle = form.start_of(index)
    start = None if middle is None else form.start_of(middle)
    if middle is None or start is None or index in form.targets:
        return None
    if not all(understood(i) for i in form.instructions[start:index]):
        return None
    return _operand(form, start, middle), _operand(form, middle, index)


def _operand(form: Anatomy, first: int, end: int) -> Operand:
    instruction = form.instructions[first]
    return instruction.argval if end == first + 1 and instruction.opname == "LOAD_FAST" else (first, end)


def _induction_variables(form: Anatomy, candidates: list[Site]) -> frozenset[str]:
    """The variables that may be induction variables."""
    variables = {s.target for s in candidates if isinstance(s, Next) and s.target is not None}
    variables |= {s.target for s in candidates if isinstance(s, Update) and s.target in s.operands}
    grown = True
    while grown:
        more = {
            s.target for s in candidates if isinstance(s, Copy | Update) and variables.intersection(s.reads)
        }
        grown = not more <= variables
        variables |= more
    deleted = {i.argval for i in form.instructions if i.opname in ("DELETE_FAST", "LOAD_FAST_AND_CLEAR")}
    return frozenset(variables - deleted)


def _concerns(site: Site, variables: frozenset[str]) -> bool:
    if isinstance(site, Iterate | Next):
        return True
    read = variables.intersection(site.reads)
    # The sum of two induction variables may grow faster than what 64 bits hold.
    return bool(read) and not (isinstance(site, Update) and variables.issuperset(site.operands))


def _narrowed(site: Site, variables: frozenset[str]) -> Site:
    return Next(site.iterator, None) if isinstance(site, Next) and site.target not in variables else site
