"""Sweeps along rows as source: which of them become vector code, and the functions that say what they do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from blockfuse.codegen.kernels.expression import Expression, Name, Term, called, words
from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.loop_kernels import NEAR_ELEMENTS, Fold, MapKernel, RowKernel
from blockfuse.codegen.kernels.source_lines import assignment, indented, text, variable
from blockfuse.codegen.values.functions import FUNCTIONS, LIBRARY, ULP

STRETCH_ELEMENTS = 1024  # elements: a longer float sum is added up stretch by stretch, in float64
# elements: LLVM takes several rows of so few at a time, and no row by itself is as fast
_UNROLLED_ELEMENTS = 10
_UNROLLED_MAP_ELEMENTS = 8  # the same where nothing is folded
_WHOLE_ELEMENTS = 16  # elements: maps of a multiple of so many are whole vectors, which LLVM makes itself
_FLOATS = ("float32", "float64")
_QUOTIENT = "{0} / {1}"
_PYTHON_OPERATORS = ("//", "%", "**")  # which values of LLVM do not have
_KNOWN = {*FUNCTIONS, *_FLOATS, "inf", "nan"} - {*LIBRARY}


@dataclass(frozen=True)
class Walk:
    """A ``Sweep`` with its memory."""

    name: str
    extent: int  # 0: from ``begin`` to ``end``
    indices: tuple[str, ...]  # of the loops around it
    loads: tuple[tuple[str, Access], ...]  # the variable of the element, and where it is from
    body: tuple[Statement, ...]
    folds: tuple[Fold, ...]
    store: Access | None
    result: str  # the variable that is stored
    unrolled: int = _UNROLLED_ELEMENTS  # up to which extent loops are faster

    @property
    def accesses(self) -> tuple[Access, ...]:
        return (*(access for _, access in self.loads), *((self.store,) if self.store else ()))

    @property
    def element(self) -> list[str]:
        """What is done with each element, once it is loaded."""
        folds = [f"{f.name} = {text(f.step)}" for f in self.folds]
        return [*(assignment(s) for s in self.body), *folds]

    @property
    def expressions(self) -> list[Term]:
        """What is computed of each element, in order."""
        return [*(s.expression for s in self.body), *(f.step for f in self.folds)]

    @property
    def sums(self) -> tuple[Fold, ...]:
        """Sums of so many float32 that their rounding errors would show."""
        if self.extent <= 4 * STRETCH_ELEMENTS:
            return ()
        return tuple(f for f in self.folds if f.dtype == "float32" and f.join.startswith("fold_add"))

    @property
    def is_vector(self) -> bool:
        """Whether a sweep is vector code, see NOTE [sweeps]: accesses are dense, everything is floats and flags."""
        return (
            (self.extent > self.unrolled or not self.extent)
            and not self.sums
            and all(a.strides[-1] in (0, 1) for a in self.accesses)
            and {*(a.dtype for a in self.accesses), *(s.dtype for s in self.body)} <= {*_FLOATS, "bool"}
            and all(f.dtype in _FLOATS for f in self.folds)
            and all(map(_has_vectors, self.expressions))
            and not any("erf" in _called(s.expression) and s.dtype == "float64" for s in self.body)
        )

    @property
    def row_values(self) -> tuple[str, ...]:
        """What a sweep takes from the row: names that it neither loads nor computes, folds aside."""
        own = {name for name, _ in self.loads} | {s.name for s in self.body} | {f.name for f in self.folds}
        read = (variable(name) for expression in self.expressions for name in expression.names)
        return tuple(name for name in dict.fromkeys(read) if name not in own)


def _has_vectors(expression: Term) -> bool:
    """Whether values of LLVM can do all of it: functions of the C library go number by number."""
    templates = expression.templates
    return all(words(t) <= _KNOWN and not any(sign in t for sign in _PYTHON_OPERATORS) for t in templates)


def _called(expression: Term) -> set[str]:
    return {name for template in expression.templates for name in called(template)}


def walks(kernel: RowKernel) -> tuple[Walk, ...]:
    """The sweeps of a kernel, with what they keep in near memory where vector code does that."""
    near = Access("near", kernel.store.dtype, (0, 1))
    target = near if kernel.nontemporal else kernel.store
    found = _with_memory(kernel, near, target)
    if kernel.extent <= NEAR_ELEMENTS and all(w.is_vector for w in found):
        return found
    return _with_memory(kernel, target, target)


def _with_memory(kernel: RowKernel, kept: Access, target: Access) -> tuple[Walk, ...]:
    """kept: where values are that one sweep keeps for another; target: where the last one puts the result."""
    last = len(kernel.sweeps) - 1
    found = []
    for number, sweep in enumerate(kernel.sweeps):
        loads = tuple(_load(access, kept) for access in sweep.loads)
        store, result = (kept, sweep.keep) if sweep.keep else (None, "")
        if number == last and kernel.stores_elements:
            store, result = target, variable(kernel.result)
        found.append(
            Walk(f"sweep{number}", kernel.extent, ("r",), loads, sweep.body, sweep.folds, store, result or "")
        )
    return tuple(found)


def _load(access: Access, kept: Access) -> tuple[str, Access]:
    return variable(access.value), kept if access.alias else access


def walk_of_map(kernel: MapKernel, indices: tuple[str, ...], store: Access) -> Walk | None:
    """The innermost loop of a map, where LLVM's loop would leave an end to scalars, or has what wide vectors have forms
    of their own for. store: where the results go.
    """
    extent = kernel.extents[-1] if kernel.extents else 0
    has_forms = any(_has_forms(s.expression, kernel) for s in kernel.body)
    if kernel.indices or (not has_forms and extent % _WHOLE_ELEMENTS == 0):
        return None
    accesses = [*kernel.loads, store]
    if not kernel.extents:
        indices = ("begin",)
        accesses = [replace(access, strides=access.strides * 2) for access in accesses]
    loads = tuple((variable(access.value), access) for access in accesses[:-1])
    result = variable(kernel.result)
    walk = Walk(
        "sweep", extent, indices, loads, kernel.body, (), accesses[-1], result, _UNROLLED_MAP_ELEMENTS
    )
    return walk if walk.is_vector else None


def _has_forms(expression: Term, kernel: MapKernel) -> bool:
    """Whether these are functions, or quotients by one number."""
    if not ULP.keys().isdisjoint(_called(expression)):
        return True
    if not isinstance(expression, Expression) or expression.template != _QUOTIENT:
        return False
    divisor = expression.operands[1]
    same = {access.value for access in kernel.loads if not access.strides[-1]}
    return not divisor.names or (isinstance(divisor, Name) and divisor.name in same)


# -- vector code ---------------------------------------------------------------------------------------------


def definition(walk: Walk) -> list[str]:
    """The function of one sweep."""
    names = [*(name for name, _ in walk.loads), *walk.row_values, *(f.name for f in walk.folds)]
    columns = {
        "extent": walk.extent,
        "indices": walk.indices,
        "loads": tuple(_columns(access) for _, access in walk.loads),
        "store": _columns(walk.store) if walk.store else None,
        "joins": _joins(walk.folds),
    }
    results = [*([walk.result] if walk.store else []), *(f.name for f in walk.folds)]
    return [
        "@row_sweep(",
        *indented(1, [f"{k}={v}," for k, v in columns.items()]),
        ")",
        f"def {walk.name}({', '.join(names)}):",
        *indented(1, [*walk.element, f"return {', '.join(results)}"]),
        "",
    ]


def _columns(access: Access) -> tuple[str, str, tuple[int, ...]]:
    return access.name, access.dtype, access.strides


def _joins(folds: tuple[Fold, ...]) -> str:
    joins = [f"lambda a, b: {fold.join.format('a', 'b')}" for fold in folds]
    return f"({', '.join(joins)}{',' if len(joins) == 1 else ''})"


def call(walk: Walk) -> str:
    """The sweep of the row at the indices."""
    pointers = dict.fromkeys(access.name for access in walk.accesses)
    extent = [] if walk.extent else ["end - begin"]
    operands = [*pointers, *walk.indices, *extent, *walk.row_values, *(text(f.start) for f in walk.folds)]
    called = f"{walk.name}({', '.join(operands)})"
    return f"{', '.join(f.name for f in walk.folds)} = {called}" if walk.folds else called
