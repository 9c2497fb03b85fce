"""Random lines of array code: expressions, writes, branches and loops over named values.

Every line is run on sample values before it is taken, so that only lines that work stay, and no value grows so
large, or so close to a threshold, that rounding would decide.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse import np, npx

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


def sample(shape: tuple[int, ...], dtype: str, seed: int, scale: float = 1.0) -> numpy.ndarray:
    """Random quarters (whole numbers, truths): float sums of a few are exact, and none is near a threshold."""
    rng = numpy.random.default_rng([seed, *shape])
    if dtype == "bool":
        return rng.random(shape) < 0.5
    values = numpy.asarray(numpy.round(rng.normal(size=shape) * 4 * scale) / (1 if "int" in dtype else 4))
    return (numpy.abs(values) if dtype[0] == "u" else values).astype(dtype)


class Lines:
    """Writes lines, one after the other. values: name -> what it holds on the samples, at the present line.

    scope: other names that lines may use. fresh: names of arrays that an operator made and that nothing else
    sees through.
    """

    def __init__(self, pick: random.Random, values: dict[str, numpy.ndarray], scope: dict[str, Any]) -> None:
        self.pick = pick
        self.values = dict(values)
        self.scope = {"np": np, "npx": npx, "numpy": numpy, **scope}
        self.lines: list[str] = []
        self.fresh: set[str] = set()
        self.names = 0

    # -- expressions -----------------------------------------------------------------------------------------

    def name(self, accept: Callable[[numpy.ndarray], bool] = lambda v: True) -> str | None:
        names = [n for n, v in self.values.items() if accept(v)]
        return self.pick.choice(names[-4:] if self.pick.random() < 0.6 else names) if names else None

    def expression(self) -> str | None:
        kinds = (self.pair, self.pair, self.single, self.single, self.reduction, self.movement, self.movement)
        return self.pick.choice((*kinds, self.product, self.joined, self.row, self.picked))()

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

    def picked(self) -> str | None:
        """Elements by index; for other values an index may lie beyond its axis."""
        x, y = self.name(lambda v: v.ndim > 0), self.name(lambda v: v.size < 50)
        if x is None or y is None:
            return None
        axis = self.pick.randrange(self.values[x].ndim)
        places = f"({y} > 0).astype('{self.pick.choice(('int32', 'int64', 'float32'))}')"
        return self.pick.choice(
            (
                f"{x}[{places}]",
                f"{x}[np.array([0, -1])]",
                f"{x}[..., None, {places}]",
                f"np.take({x}, {places} - 1, axis={axis})",
                f"np.take({x}, {places} * 3, axis={axis}, mode='{self.pick.choice(('clip', 'wrap'))}')",
                f"np.take_along_axis({x}, ({x} > 0).astype('int64') * -1, {axis})",
                f"npx.pick({x}, ({x} > 0).sum(axis={axis}), axis={axis})",
                f"npx.one_hot({places}, 3)",
            )
        )

    # -- lines -----------------------------------------------------------------------------------------------

    def line(self) -> bool:
        if self.pick.random() < 0.16 and self.fresh:
            return self.write()
        expression = self.expression()
        return expression is not None and self.add(expression)

    def add(self, expression: str) -> bool:
        """A new name for the value of ``expression``."""
        name = f"y{self.names}"
        if not self.take([f"{name} = {expression}"], name):
            return False
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
        return self.take([self.pick.choice(lines)], name)

    def branch(self) -> bool:
        x = self.name(lambda v: v.dtype != bool)
        name = self.written()
        if x is None or name is None:
            return False
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
        return self.take(lines)

    def written(self) -> str | None:
        """The last fresh float array."""
        names = (n for n in reversed(self.values) if self.values[n].dtype.name in FLOATS and n in self.fresh)
        return next(names, None)

    # -- trying ----------------------------------------------------------------------------------------------

    def take(self, lines: list[str], name: str | None = None) -> bool:
        """Add ``lines`` if they work; ``name`` then has the value that they give it."""
        found = self.tried("\n".join(lines).replace("return ", "0, "))
        if found is None:
            return False
        if name is not None:
            value = found.get(name)
            if not isinstance(value, np.ndarray) or value.size > 5000 or not _tame(value.asnumpy()):
                return False
            self.values[name] = value.asnumpy()
        self.lines += lines
        return True

    def tried(self, code: str) -> dict[str, Any] | None:
        """All names after ``code``, or None where eager refuses."""
        scope = {**self.scope, **{n: np.array(v, dtype=v.dtype.name) for n, v in self.values.items()}}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(code, scope)
        except Exception:
            return None
        return scope


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        numpy.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _into(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return _broadcasts(a, b) and numpy.broadcast_shapes(a, b) == b


def _tame(value: numpy.ndarray) -> bool:
    """No overflow, nor anything near one."""
    with numpy.errstate(all="ignore"):
        return bool(value.dtype == bool or numpy.all(numpy.abs(value.astype("float64")) < 1e6))


def _reshaped(shape: tuple[int, ...], pick: random.Random) -> tuple[int, ...]:
    size = int(numpy.prod(shape))
    if size == 0:
        return (*shape, 1)
    return pick.choice([(-1,), (1, -1), shape[::-1], *((n, -1) for n in (2, 3, 4) if size % n == 0)])
