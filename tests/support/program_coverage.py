"""What random programs have run: operators that feed operators, and kernels by how they read memory.

A feature is a short text. What was never run before is new, and programs with something new are worth more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from blockfuse.codegen.compile import Compiled
from blockfuse.codegen.kernels.kernel import Access, Kernel
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel, MapKernel, RowKernel
from blockfuse.codegen.kernels.product_cuts import RegisterTiles
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.graph import Graph, Node, users
from blockfuse.ir.lowering import Fused, Leaf, Reduction
from blockfuse.ir.operator import TABLE

LANES = 8


def edges(graph: Graph) -> Iterator[tuple[str, str]]:
    """The operator rows that feed operator rows."""
    for node in graph.nodes:
        for operand in node.operands:
            yield operand.operator.name, node.operator.name


def features(compiled: Compiled) -> set[str]:
    """All that is remembered of one program without branches."""
    (graph,) = (block.graph for block in compiled.recorded.blocks)
    (fused,) = (block.graph for block in compiled.main.blocks)
    schedule = compiled.schedule
    found = {f"edge {a} > {b}" for a, b in edges(graph)}
    found |= {f"operator {node.operator.name}" for node in graph.nodes}
    for node in fused.nodes:
        found.add(f"operator {node.operator.name}")
        if isinstance(node.operator.lowering, Fused):
            found |= set(_readings(node))
            found |= {f"operator {n.operator.name}" for n in node.attrs["body"].nodes}
    for launch in schedule.launches:
        found |= set(_kernel_features(launch.kernel))
    found |= {f"host {s.operator.name}" for s in schedule.steps if isinstance(s, HostCall)}
    return found


# -- fused groups: at which granularities a leaf is read ------------------------------------------------------


def _readings(node: Node) -> Iterator[str]:
    """For each operand of a group: the shapes in which it is read there, against its own."""
    body: Graph = node.attrs["body"]
    whole = max((n.shape for n in (*body.nodes, *body.inputs)), key=lambda shape: (len(shape), _size(shape)))
    readers = users(body)
    folds = sum(isinstance(n.operator.lowering, Reduction) for n in body.nodes)
    for operand in set(node.operands):
        forms = {
            _form(i.shape, whole) for i, o in zip(body.inputs, node.operands, strict=True) if o is operand
        }
        if node.operands.count(operand) > 1:
            yield f"group {min(folds, 3)} folds, one operand as {' and '.join(sorted(forms))}"
    for leaf in body.inputs:
        ways = {_reading(reader, whole) for reader in readers[leaf]}
        yield f"group {min(folds, 3)} folds, {_form(leaf.shape, whole)} read {' and '.join(sorted(ways))}"
    for producer, consumer in edges(body):
        yield f"group {producer} > {consumer}"


def _reading(reader: Node, whole: tuple[int, ...]) -> str:
    if isinstance(reader.operator.lowering, Reduction):
        return "folded"
    return f"for {_form(reader.shape, whole)}"


def _form(shape: tuple[int, ...], whole: tuple[int, ...]) -> str:
    """A shape against the whole domain: ``=`` as long, ``1`` of size 1, ``?`` of another size, ``-`` not there."""
    known = whole[len(whole) - len(shape) :]
    signs = ("=" if n == m else "1" if n == 1 else "?" for n, m in zip(shape, known, strict=True))
    return "-" * (len(whole) - len(shape)) + "".join(signs)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


# -- kernels: how they walk memory ----------------------------------------------------------------------------


def _kernel_features(kernel: Kernel) -> Iterator[str]:
    kind = type(kernel).__name__.removesuffix("Kernel")
    for load in _loads(kernel):
        yield f"{kind} loads {load.dtype} {_strides(load)}" + (" by index" if load.indices else "")
    if isinstance(kernel, MapKernel):
        yield f"Map of {len(kernel.extents)} axes, ends {_ends(kernel.extents[-1] if kernel.extents else 1)}"
        yield f"Map loads {'; '.join(sorted(_strides(a) for a in kernel.loads))}"
    elif isinstance(kernel, RowKernel):
        shown = "; ".join(sorted({_strides(a) for a in kernel.loads}))
        keeps = " keeps" if any(s.keep for s in kernel.sweeps) else ""
        yield f"Row of {len(kernel.sweeps)} sweeps{keeps}, ends {_ends(kernel.extent)}, store {len(kernel.store.strides)}"
        yield f"Row of {len(kernel.sweeps)} sweeps loads {shown}; {len(kernel.row_loads)} once"
    elif isinstance(kernel, ColumnKernel):
        yield f"Column of {len(kernel.extents)} axes, ends {_ends(kernel.extents[-1])}: {kernel.fold.join}"
        yield f"Column loads {'; '.join(sorted(_strides(a) for a in kernel.loads))}"
    elif isinstance(kernel, ProductKernel):
        cut = f"batched {kernel.batched} by panels {kernel.by_panels} tiles {len(kernel.tiles)}"
        yield f"Product {kernel.dtype} {cut} bias {kernel.bias is not None}"
        yield f"Product epilogue {'; '.join(sorted(_strides(a) for a in kernel.loads))}"
        cut = f"of blocks {_block(kernel)} of slices {kernel.totals is not None}"
        yield f"Product results {kernel.results} read {kernel.reads_results} {cut}"
        shared = len(kernel.pointers) - len(set(kernel.pointers))
        yield f"Product columns {_ends(kernel.units)} inner {_ends(kernel.inner)} shared {shared}"


def _block(kernel: ProductKernel) -> bool:
    """Whether rows pass panels in blocks."""
    return isinstance(kernel.cut, RegisterTiles) and kernel.cut.block > 0


def _loads(kernel: Kernel) -> tuple[Access, ...]:
    if isinstance(kernel, ProductKernel):
        return (kernel.left, kernel.right, *kernel.loads)
    loads: tuple[Access, ...] = getattr(kernel, "loads", ())
    one: Access | None = getattr(kernel, "load", None)  # of scans, sorts, draws and scatters
    return loads if one is None else (one, *loads)


def _strides(access: Access) -> str:
    """0, 1, - (backwards) or n for each axis."""
    return "".join("-" if s < 0 else str(s) if s < 2 else "n" for s in access.strides) or "."


def _ends(extent: int) -> str:
    if extent <= 1:
        return str(extent)
    return ("whole" if extent % LANES == 0 else "masked") if extent > LANES else "short"


# -- counts ----------------------------------------------------------------------------------------------------


@dataclass
class Coverage:
    """Feature -> how many programs had it."""

    counts: Counter[str] = field(default_factory=Counter)

    def new(self, found: set[str]) -> int:
        """How much was never run before."""
        return sum(feature not in self.counts for feature in found)

    def worth(self, found: set[str]) -> float:
        """How much native code of a program has that was run seldom; most of all, operands read in several ways."""
        kinds = {"group": 1.0, "edge": 0.0, "operator": 0.0}
        return sum(
            kinds.get(f.split(" ", 1)[0], 1.0) * (8.0 if " and " in f else 1.0) / (1 + self.counts[f])
            for f in found
        )

    def note(self, found: set[str]) -> None:
        self.counts.update(found)

    def summary(self, rows: set[str]) -> str:
        """For people. rows: the operators that can be reached."""
        by_kind = Counter(feature.split()[0] for feature in self.counts)
        runs = Counter(feature.split()[0] for feature in self.counts.elements())
        lines = [f"  {kind:8} {by_kind[kind]:6} features, {runs[kind]:9} times" for kind in sorted(by_kind)]
        seen = {f.split()[1] for f in self.counts if f.startswith("operator ")}
        lines.append(
            f"  operators {len(rows & seen)} of {len(rows)}; never: {', '.join(sorted(rows - seen)) or 'none'}"
        )
        rare = [f for f, n in self.counts.items() if n == 1]
        lines.append(f"  run once: {len(rare)}")
        return "\n".join(lines)


def reachable(names: dict[str, object]) -> set[str]:
    """The rows that programs can call."""
    return {n for n, row in names.items() if not isinstance(getattr(row, "lowering", None), Leaf | Fused)}


def rows_of(*modules: str) -> set[str]:
    """The rows whose meaning stands in modules of these names."""
    return {name for name, row in TABLE.items() if row.meaning.__module__.rpartition(".")[2] in modules}
