"""Which products of a schedule become one launch: chains of narrow ones, see NOTE [whole nets]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from blockfuse.codegen.cuda.products.elements import QUAD
from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import BETWEEN, ChainKernel, ProductKernel
from blockfuse.codegen.scheduling.buffers import BufferKind, planned
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import Launch, Pointer, Step, lives_of

MAX_UNITS = 128  # of a layer
MAX_INPUTS = 256  # elements of a row of the first layer's input
BLOCK_ROWS, BLOCK_THREADS = 8, 256
# of one launch: each takes most of a second to compile, and longer nets repeat the same source
MAX_LAYERS = 4
MAX_ROWS = 2048  # about two blocks for each multiprocessor of a large device


def with_whole_nets(schedule: Schedule, rows: int = BLOCK_ROWS, threads: int = BLOCK_THREADS) -> Schedule:
    """Chains of narrow products become one launch each, of blocks of so many rows and threads; memory is planned anew."""
    users = Counter(buffer for step in schedule.steps for buffer in step.touched)
    between = {n for n, b in enumerate(schedule.buffers) if b.kind is BufferKind.WORKSPACE and users[n] == 2}
    steps: list[Step] = []
    blocks: list[BlockSchedule] = []
    for block in schedule.blocks:
        first = len(steps)
        for chain in _chains(schedule.steps[block.first : block.end], between):
            steps.append(_joined(chain, rows, threads) if len(chain) > 1 else chain[0])
        blocks.append(replace(block, first=first, end=len(steps)))
    buffers, workspace = planned(list(schedule.buffers), lives_of(steps), schedule.batch)
    return replace(schedule, buffers=buffers, steps=tuple(steps), workspace=workspace, blocks=tuple(blocks))


def _chains(steps: tuple[Step, ...], between: set[int]) -> Iterator[list[Step]]:
    """The steps, narrow products with those that follow from them."""
    chain: list[Step] = []
    for step in steps:
        if chain and (len(chain) == MAX_LAYERS or not _follows(chain[-1], step, between)):
            yield chain
            chain = []
        chain.append(step)
    if chain:
        yield chain


def _follows(step: Step, following: Step, between: set[int]) -> bool:
    """Whether the result of one narrow product is the left operand of the next, and of nothing else."""
    if not (_is_narrow(step) and _is_narrow(following)):
        return False
    assert isinstance(step, Launch)
    assert isinstance(following, Launch)
    one, other, result = step.kernel, following.kernel, step.pointers[-1]
    assert isinstance(one, ProductKernel)
    assert isinstance(other, ProductKernel)
    uses = [
        name for name, p in zip(other.operands, following.pointers, strict=False) if p.buffer == result.buffer
    ]
    read_twice = other.left.name in {a.name for a in other.accesses[1:]}
    return (
        result.buffer in between
        and one.store.dtype == one.dtype == other.dtype
        and one.height == other.height
        and (other.inner, other.left.strides) == (one.units, (one.units,))
        and uses == [other.left.name]
        and not read_twice
    )


def _is_narrow(step: Step) -> bool:
    kernel = step.kernel if isinstance(step, Launch) else None
    if not isinstance(kernel, ProductKernel) or not isinstance(kernel.cut, BlockTile) or kernel.batched:
        return False
    fits = kernel.units <= MAX_UNITS and kernel.inner <= MAX_INPUTS and 0 < kernel.height <= MAX_ROWS
    return fits and kernel.dtype == "float32" and kernel.cut.panel >= kernel.units


def _joined(chain: list[Step], rows: int, threads: int) -> Launch:
    """One launch: operands of all layers one behind the other, each under a name of its own."""
    layers: list[ProductKernel] = []
    pointers: list[Pointer] = []
    values = 0
    launches = [step for step in chain if isinstance(step, Launch)]
    for launch in launches:
        layer = launch.kernel
        assert isinstance(layer, ProductKernel)
        names = {}
        for name, pointer in zip(layer.operands, launch.pointers, strict=False):
            if layers and name == layer.left.name:
                names[name] = BETWEEN
            else:
                names[name] = f"x{len(pointers)}"
                pointers.append(pointer)
        made = (layer.accumulator, *(s.name for s in layer.body))
        names |= {name: f"t{values + number}" for number, name in enumerate(made)}
        layers.append(_renamed(layer, names))
        values += len(made)
    last = layers[-1]
    block = BlockTile(rows, QUAD, last.block.panel, rows, QUAD, 1, slices=threads)
    taken = tuple(f"x{n}" for n in range(len(pointers)))
    kernel = ChainKernel("net", last.store, tuple(layers), taken, block)
    work = sum(launch.work for launch in launches)
    return replace(launches[-1], kernel=kernel, pointers=(*pointers, launches[-1].pointers[-1]), work=work)


def _renamed(layer: ProductKernel, names: dict[str, str]) -> ProductKernel:
    """The layer over pointers and values of these names."""

    def access(old: Access) -> Access:
        return replace(old, name=names[old.name])

    return replace(
        layer,
        left=access(layer.left),
        right=access(layer.right),
        bias=access(layer.bias) if layer.bias else None,
        loads=tuple(map(access, layer.loads)),
        operands=tuple(names[name] for name in layer.operands),
        body=tuple(Statement(names[s.name], s.dtype, s.expression.renamed(names)) for s in layer.body),
        accumulator=names[layer.accumulator],
        result=names[layer.result],
    )
