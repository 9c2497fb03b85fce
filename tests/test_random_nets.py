"""Random functions of arrays: hybridized they give what they give plain, and every pass leaves well-formed graphs.

A failing example prints its seed and the source of its function, ready to be pasted.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCES, assert_close

import blockfuse
from blockfuse import np, npx
from blockfuse.ir.passes.pipeline import optimize
from blockfuse.ir.verify import verify

DTYPES = ("float32", "float32", "float32", "float64", "int32", "bool")
FLOATS = ("float32", "float64")
SIZES = (0, 1, 1, 2, 3, 4, 5, 8, 17)
SAME = (
    "{0} + {1}",
    "{0} * {1}",
    "np.maximum({0}, {1})",
    "np.minimum({0}, {1})",
    "np.where({0} > {1}, {0}, {1})",
)
SIGNED = ("{0} - {1}", "np.where({0} < {1}, {1} * 2, {0})")
PREDICATES = ("{0} > {1}", "{0} <= {1}", "{0} == {1}", "np.logical_and({0}, {1})", "np.logical_xor({0}, {1})")
ONE_FLOAT = (
    *("np.tanh({0})", "npx.sigmoid({0})", "npx.relu({0})", "np.exp(-np.abs({0}))", "np.sqrt(np.abs({0}))"),
    *("npx.gelu({0})", "{0} / (1 + np.abs({0}))", "np.clip({0}, -1, 0.5)", "{0} * 0.5 - 1", "npx.silu({0})"),
)
ONE = (
    "np.abs({0})",
    "{0}.astype('float32')",
    "{0}.astype('float64')",
    "{0} * 1",
    "np.logical_not({0})",
    "{0} != 0",
)


class Writer:
    """Writes one function, line by line; runs every line on sample values, so that only lines that work stay."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.values: dict[str, numpy.ndarray] = {}
        self.lines: list[str] = []
        self.fresh: set[str] = set()  # made by an operator, and not seen through by anything else
        count = self.pick.randint(1, 3)
        shape = self.shape()
        self.types = []
        for number in range(count):
            if number and self.pick.random() < 0.5:
                shape = tuple(1 if self.pick.random() < 0.3 else n for n in shape)
            self.types.append((shape, self.pick.choice(DTYPES)))
            self.values[f"x{number}"] = self.sample(number, 0)
        self.names = 0

    def shape(self) -> tuple[int, ...]:
        return tuple(self.pick.choice(SIZES) for _ in range(self.pick.choice((0, 1, 2, 2, 2, 3))))

    def sample(self, number: int, turn: int) -> numpy.ndarray:
        """Input ``number`` of call ``turn``."""
        shape, dtype = self.types[number]
        rng = numpy.random.default_rng([number, turn, *shape])
        if dtype == "bool":
            return rng.random(shape) < 0.5
        scale = (1.0, 4.0, 0.1, 0.0)[turn % 4]
        return numpy.asarray(
            numpy.round(rng.normal(size=shape) * 4 * scale) / (1 if dtype == "int32" else 4)
        ).astype(dtype)

    # -- expressions -----------------------------------------------------------------------------------------

    def name(self, accept: Callable[[numpy.ndarray], bool] = lambda v: True) -> str | None:
        names = [n for n, v in self.values.items() if accept(v)]
        return self.pick.choice(names[-4:] if self.pick.random() < 0.6 else names) if names else None

    def expression(self) -> str | None:
        kinds = (self.pair, self.pair, self.single, self.single, self.reduction, self.movement, self.movement)
        return self.pick.choice((*kinds, self.product, self.joined, self.row))()

    def pair(self) -> str | None:
        x = self.name()
        y = self.name(lambda v: _broadcasts(v.shape, self.values[x].shape)) if x else None
        if y is None or x is None:
            return None
        numeric = self.values[x].dtype != bool and self.values[y].dtype != bool
        forms = (*SAME, *SAME, *PREDICATES, *(SIGNED if numeric else ()))
        return self.pick.choice(forms).format(x, y)

    def single(self) -> str | None:
        x = self.name()
        if x is None:
            return None
        return self.pick.choice(ONE_FLOAT * 2 if self.values[x].dtype.name in FLOATS else ONE).format(x)

    def reduction(self) -> str | None:
        x = self.name(lambda v: v.ndim > 0)
        if x is None:
            return None
        value = self.values[x]
        axes = [n for n in range(value.ndim) if self.pick.random() < 0.5]
        axis: Any = None if not axes else self.pick.choice((tuple(axes), axes[-1] - value.ndim))
        kind = self.pick.choice(
            ("sum", "mean", "max", "min", "prod" if value.size < 20 else "sum", "any", "all")
        )
        if kind == "mean" and value.dtype.name not in FLOATS:
            kind = "sum"
        return f"np.{kind}({x}, axis={axis}, keepdims={self.pick.random() < 0.5})"

    def movement(self) -> str | None:
        x = self.name(lambda v: v.ndim > 0)
        if x is None:
            return None
        value, pick = self.values[x], self.pick
        order = list(range(value.ndim))
        pick.shuffle(order)
        axis = pick.randrange(value.ndim)
        pieces = [
            pick.choice((":", "::-1", "1:", ":-1", "::2", "0" if n else ":", "None, :")) for n in value.shape
        ]
        return pick.choice(
            (
                f"{x}.transpose({tuple(order)})",
                f"{x}[{', '.join(pieces)}]",
                f"{x}[{', '.join(pieces)}]",
                f"np.flip({x}, {axis})",
                f"{x}.reshape({_reshaped(value.shape, pick)})",
                f"np.expand_dims({x}, {axis})",
                f"np.broadcast_to({x}, {(2, *value.shape)})",
                f"np.roll({x}, 1, axis={axis})",
                f"np.repeat({x}, 2, axis={axis})",
                f"np.squeeze({x})",
            )
        )

    def product(self) -> str | None:
        def fits(v: numpy.ndarray) -> bool:
            return v.ndim >= 2 and v.dtype.name in FLOATS and v.size < 2000

        x = self.name(fits)
        if x is None:
            return None
        inner = self.values[x].shape[-1]
        y = self.name(lambda v: fits(v) and v.shape[-2] == inner)
        forms = [f"np.matmul({x}, np.swapaxes({x}, -1, -2))", f"np.matmul(np.swapaxes({x}, -1, -2), {x}) + 1"]
        forms += [f"np.matmul({x}, {y})", f"npx.relu(np.matmul({x}, {y}) - 0.5)"] * 2 if y else []
        return self.pick.choice(forms)

    def joined(self) -> str | None:
        x = self.name(lambda v: v.ndim > 0)
        y = self.name(lambda v: v.shape == self.values[x].shape) if x else None
        if x is None or y is None:
            return None
        axis = self.pick.randrange(self.values[x].ndim)
        return f"np.{self.pick.choice(('concatenate', 'stack'))}([{x}, {y}], axis={axis})"

    def row(self) -> str | None:
        x = self.name(lambda v: v.ndim > 0 and v.dtype.name in FLOATS and v.shape[-1] > 0)
        if x is None:
            return None
        value = self.values[x]
        ones = f"np.ones(({value.shape[-1]},), dtype='{value.dtype}')"
        axis = self.pick.randrange(-1, 1) if value.size else -1
        forms = (f"npx.softmax({x}, axis={axis})", f"npx.log_softmax({x}, axis={axis})")
        return self.pick.choice((*forms, f"npx.layer_norm({x}, {ones}, {ones} * 0.5, axis=-1, eps=1e-3)"))

    # -- lines -----------------------------------------------------------------------------------------------

    def line(self) -> bool:
        choice = self.pick.random()
        if choice < 0.16 and self.fresh:
            return self.write()
        expression = self.expression()
        return expression is not None and self.add(f"y{self.names}", expression)

    def add(self, name: str, expression: str) -> bool:
        found = self.evaluated(f"{name} = {expression}", name)
        if found is None or found.size > 5000 or not _tame(found):
            return False
        self.values[name] = found
        self.lines.append(f"{name} = {expression}")
        self.names += 1
        if "broadcast_to" not in expression:  # read-only
            self.fresh.add(name)
        return True

    def write(self) -> bool:
        name = self.pick.choice(sorted(self.fresh))
        value = self.values[name]
        if value.dtype == bool:
            return False
        other = self.name(lambda v: _into(v.shape, value.shape) and v.dtype == value.dtype) or "1"
        lines = [f"{name} += {other}", f"{name} *= 2"]
        if value.ndim:
            lines += [f"{name}[...] = {other}", f"{name}[:1] = 1", f"{name}[..., -1:] -= 1"]
        line = self.pick.choice(lines)
        found = self.evaluated(line, name)
        if found is None or not _tame(found):
            return False
        self.values[name] = found
        self.lines.append(line)
        return True

    def branch(self) -> None:
        x = self.name(lambda v: v.dtype != bool)
        name = next(
            (n for n in reversed(self.values) if self.values[n].dtype.name in FLOATS and n in self.fresh),
            None,
        )
        if x is None or name is None:
            return
        kind = self.pick.random()
        if kind < 0.45:
            lines = [f"if {x}.sum() > {self.pick.choice((0, 1, -2))}:", f"    {name} = {name} * 2 + 1"]
            lines += [] if self.pick.random() < 0.5 else ["else:", f"    {name} = np.abs({name}) - 0.5"]
        elif kind < 0.8:
            update = self.pick.choice(
                (f"{name} = {name} / 2", f"{name} /= 2", f"{name} = np.tanh({name}) * 0.5")
            )
            lines = [f"while np.abs({name}).sum() > 1:", f"    {update}"]
        else:
            lines = [f"if np.any({x} > 1):", f"    return {name} + {name}"]
        if self.evaluated("\n".join(x.replace("return ", "0, ") for x in lines), name) is not None:
            self.lines += lines

    def evaluated(self, line: str, name: str) -> numpy.ndarray | None:
        """What ``name`` is after ``line``, or None where eager refuses."""
        scope = {n: np.array(v, dtype=v.dtype.name) for n, v in self.values.items()} | {"np": np, "npx": npx}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(line, scope)
        except Exception:
            return None
        found = scope[name]
        return found.asnumpy() if isinstance(found, np.ndarray) else None

    def source(self, length: int) -> str:
        places = {self.pick.randrange(2, length) for _ in range(self.pick.choice((0, 0, 1, 2)))}
        for number in range(length):
            for _ in range(20):
                if self.line():
                    break
            if number in places:
                self.branch()
        names = [n for n in self.values if n in self.fresh] or ["x0 * 1"]
        last = names[-1]
        results = (
            [last] if self.pick.random() < 0.6 or len(names) < 2 else [last, self.pick.choice(names[:-1])]
        )
        if any("    return" in line for line in self.lines):
            results = results[:1]
        arguments = ", ".join(f"x{n}" for n in range(len(self.types)))
        body = "".join(f"    {line}\n" for line in [*self.lines, f"return {', '.join(results)}"])
        return f"def function({arguments}):\n{body}"


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        numpy.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _into(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return _broadcasts(a, b) and numpy.broadcast_shapes(a, b) == b


def _tame(value: numpy.ndarray) -> bool:
    """No overflow, nor anything near a number where rounding would decide."""
    with numpy.errstate(all="ignore"):
        return bool(value.dtype == bool or numpy.all(numpy.abs(value.astype("float64")) < 1e6))


def _reshaped(shape: tuple[int, ...], pick: random.Random) -> tuple[int, ...]:
    size = int(numpy.prod(shape))
    if size == 0:
        return (*shape, 1)
    return pick.choice([(-1,), (1, -1), shape[::-1], *((n, -1) for n in (2, 3, 4) if size % n == 0)])


# -- checking ------------------------------------------------------------------------------------------------


def compare(found: Any, wanted: Any, limit: float) -> None:
    """Equal structure, shapes and dtypes; floats within ``limit`` of the largest element, as roundings add up."""
    if isinstance(wanted, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            compare(a, b, limit)
        return
    a, b = found.asnumpy(), wanted.asnumpy()
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    if a.dtype.kind != "f" or not b.size:
        assert_close(a, b)
        return
    scale = float(numpy.abs(b[numpy.isfinite(b)]).max(initial=1.0))
    numpy.testing.assert_allclose(a, b, rtol=limit, atol=limit * scale)


def check(seed: int, length: int) -> None:
    """One random function, several calls: hybridized it gives what it gives plain."""
    writer = Writer(seed)
    source = writer.source(length)
    shown = f"seed {seed}, length {length}, arguments {writer.types}\n{source}"
    scope = {"np": np, "npx": npx}
    exec(source, scope)
    function: Any = scope["function"]
    hybrid = blockfuse.hybridize(function)
    limit = 2 * TOLERANCES["float32" if "float32" in shown else "float64"][0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for turn in (0, 0, 0, 1, 1, 2, 3, 0, 1):
                values = [writer.sample(n, turn) for n in range(len(writer.types))]
                mine, plain = ([np.array(v, dtype=v.dtype.name) for v in values] for _ in range(2))
                try:
                    wanted = function(*plain)
                except ValueError as error:  # a write through a view that is read-only, as in NumPy
                    with pytest.raises(ValueError, match=re.escape(str(error))):
                        hybrid(*mine)
                    continue
                compare(hybrid(*mine), wanted, limit)
                for a, b in zip(mine, plain, strict=True):
                    numpy.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
            for case in hybrid._hybrid.cases.values():
                for block in case.program.flow.blocks if case.program else ():
                    optimize(verify(block.graph), 64, verify)
    except Exception as error:
        raise AssertionError(f"{shown}\n{hybrid.explain()}\n{type(error).__name__}: {error}") from error


@settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck), database=None
)
@given(st.integers(0, 10**9), st.integers(3, 11))
def test_random_functions_give_what_they_give_plain(seed: int, length: int) -> None:
    check(seed, length)


@pytest.mark.parametrize("seed", range(12))
def test_long_random_functions_give_what_they_give_plain(seed: int) -> None:
    check(seed, 24)
