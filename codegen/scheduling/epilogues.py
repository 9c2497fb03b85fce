"""Maps that go on with what a product makes, as part of its epilogue: an optimizer needs no pass over gradients of its own.

NOTE [maps behind a product]
A map joins a product that it reads the result of, where both may run at one place: the product moves down to it past steps
that neither read what it writes nor write what it reads, the map up. (The gradient of a layer's input reads the weight
before the map writes it.) The tile then does for each element what the map did: what it takes and is no sum is loaded from
where the element is, before anything is stored there. A result that nobody else needs is not stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.product_kernels import ProductKernel, tiles_load
from blockfuse.codegen.scheduling.buffers import Buffer
from blockfuse.codegen.scheduling.merging import (
    MAX_POINTERS,
    MAX_STATEMENTS,
    accesses_of,
    conflicts,
    is_flat,
    is_private,
    joined_name,
    map_of,
)
from blockfuse.codegen.scheduling.steps import Launch, Plain, Pointer

_Place = tuple[int, int, tuple[int, ...]]  # buffer, offset, strides


def with_epilogues(steps: Sequence[Plain], block: Sequence[Plain], buffers: Sequence[Buffer]) -> list[Plain]:
    """The steps, with maps in the epilogues of products. block: all steps that may need what these make."""
    found = _numbers_first(steps)
    touched = Counter(b for step in block for b in set(step.touched))
    number = 0
    while number < len(found):
        if not _join_one(found, number, touched, buffers):
            number += 1
    return found


def _numbers_first(steps: Sequence[Plain]) -> list[Plain]:
    """Steps of one number (a learning rate, a count) as early as they may run, so that what reads them may move up, too.

    Not before what the host computes: draws stand first, for an entry to ask for.
    """
    found: list[Plain] = []
    for step in steps:
        place = len(found)
        if isinstance(step, Launch) and is_flat(step) and step.rows == 1:
            while place and isinstance(found[place - 1], Launch) and not conflicts(step, found[place - 1]):
                place -= 1
        found.insert(place, step)
    return found


def _join_one(found: list[Plain], number: int, touched: Counter[int], buffers: Sequence[Buffer]) -> bool:
    """Whether a map became part of product ``number``; what stood there may be another step now."""
    product = found[number]
    if not isinstance(product, Launch) or not _has_room(product.kernel):
        return False
    for later in range(number + 1, len(found)):
        step = found[later]
        if isinstance(step, Launch) and is_flat(step) and not set(product.written).isdisjoint(step.touched):
            place = _meeting(found, number, later)
            joined = _Joined.of(product, step) if place is not None else None
            if joined is not None and place is not None:
                touched.subtract([*set(product.touched), *set(step.touched)])
                launch = joined.launch(step, lambda b: is_private(buffers[b], not touched[b]))
                touched.update(set(launch.touched))
                found[number : later + 1] = [
                    *found[number + 1 : place],
                    launch,
                    *found[place:later],
                ]
                return True
    return False


def _has_room(kernel: object) -> bool:
    """Whether a kernel is a product whose tiles can take statements."""
    return isinstance(kernel, ProductKernel) and not kernel.batched and bool(kernel.height)


def _meeting(found: Sequence[Plain], product: int, later: int) -> int | None:
    """In front of which step both may run, as early as possible; None where there is no place."""
    place = later
    while place > product + 1 and not conflicts(found[later], found[place - 1]):
        place -= 1
    fits = not any(conflicts(found[product], step) for step in found[product + 1 : place])
    return place if fits else None


@dataclass
class _Joined:
    """A product and a map as one launch, while it is put together."""

    product: Launch
    operands: dict[str, Pointer]  # by the names of the product's pointers and of further loads
    loads: list[Access]
    body: list[Statement]
    values: dict[_Place, str] = field(default_factory=dict)  # what is known of elements
    results: dict[int, _Result] = field(default_factory=dict)  # by buffer

    @classmethod
    def of(cls, product: Launch, later: Launch) -> _Joined | None:
        """None where the map does not fit."""
        kernel = _product_of(product)
        if later.rows != kernel.height * kernel.units:
            return None
        operands = dict(zip((name for name, _ in kernel.pointers), product.pointers, strict=True))
        joined = cls(product, operands, list(kernel.loads), list(kernel.body))
        joined._take_product()
        joined._take_map(later)
        return joined if joined._fits() else None

    def launch(self, later: Launch, is_private: Callable[[int], bool]) -> Launch:
        """Both as one. is_private: whether nobody else needs a buffer."""
        *others, last = self.results
        kept = [*(buffer for buffer in others if not is_private(buffer)), last]
        names = {buffer: f"out{n}" for n, buffer in enumerate(kept[:-1])} | {last: "out"}
        kernel = _product_of(self.product)
        read = {
            name: pointer for name, pointer in self.operands.items() if pointer.buffer not in self.results
        }
        stores = [
            (replace(self.results[b].access, name=name), self.results[b].value) for b, name in names.items()
        ]
        changed = replace(
            kernel,
            name=joined_name((*kernel.groups, *later.kernel.groups)),
            store=stores[-1][0],
            loads=tuple(self._renamed(load, names) for load in self.loads),
            operands=tuple(read),
            body=tuple(self.body),
            result=stores[-1][1],
            others=tuple(stores[:-1]),
            joined=(*kernel.groups, *later.kernel.groups),
        )
        pointers = (*read.values(), *(self.results[buffer].pointer for buffer in names))
        return replace(self.product, kernel=changed, pointers=pointers, work=self.product.work + later.work)

    # -- what each of them does --------------------------------------------------------------------------------

    def _take_product(self) -> None:
        kernel = _product_of(self.product)
        for load in kernel.loads:
            self.values[_place(load, self.operands[load.name])] = load.value
        for store, value in kernel.stores:
            self._store(store, self.operands[store.name], value)

    def _take_map(self, later: Launch) -> None:
        units, names = _product_of(self.product).units, dict[str, str]()
        reads = [(_in_rows(access, units), pointer) for access, pointer in accesses_of(later)]
        store, target = reads.pop()
        for access, pointer in reads:
            place = _place(access, pointer)
            names[access.value] = self.values.get(place) or self._loaded(access, pointer)
        for one in map_of(later).body:
            name = names[one.name] = self._new("t")
            self.body.append(Statement(name, one.dtype, one.expression.renamed(names)))
        self._store(store, target, names[map_of(later).result])

    def _store(self, access: Access, pointer: Pointer, value: str) -> None:
        self.values[_place(access, pointer)] = value
        self.results[pointer.buffer] = _Result(access, pointer, value)

    def _loaded(self, access: Access, pointer: Pointer) -> str:
        name = self.values[_place(access, pointer)] = self._new("x")
        self.loads.append(replace(access, name=name, alias=""))
        self.operands[name] = pointer
        return name

    def _new(self, letter: str) -> str:
        """A name that nothing has."""
        kernel = _product_of(self.product)
        taken = {
            *self.operands,
            kernel.accumulator,
            *(a.value for a in self.loads),
            *(s.name for s in self.body),
        }
        return next(name for n in range(len(taken) + 1) if (name := f"{letter}{n}") not in taken)

    def _renamed(self, load: Access, names: dict[int, str]) -> Access:
        """A load through the pointer of a result, where it is of its memory."""
        name = names.get(self.operands[load.name].buffer)
        return load if name is None else replace(load, name=name, alias=load.value)

    def _fits(self) -> bool:
        """Whether tiles load and store everything, what is written is read at the element alone, and there are not too many
        of anything.
        """
        kernel = _product_of(self.product)
        summed = {a.name for a in (kernel.left, kernel.right, kernel.bias) if a}
        places = [place for place in self.values if place[0] in self.results]
        return (
            all(tiles_load(load.strides) for load in self.loads)
            and all(result.access.strides[-1] == 1 for result in self.results.values())
            and all(self.operands[name].buffer not in self.results for name in summed)
            and len(places) == len(self.results)
            and len({p.buffer for p in self.operands.values()} | self.results.keys()) <= MAX_POINTERS
            and len(self.body) <= MAX_STATEMENTS
        )


@dataclass(frozen=True)
class _Result:
    access: Access
    pointer: Pointer
    value: str  # its name


def _product_of(launch: Launch) -> ProductKernel:
    assert isinstance(launch.kernel, ProductKernel)
    return launch.kernel


def _in_rows(access: Access, units: int) -> Access:
    """What a flat map touches as rows of a product have it."""
    (stride,) = access.strides
    return replace(access, strides=(units * stride, stride))


def _place(access: Access, pointer: Pointer) -> _Place:
    return pointer.buffer, pointer.offset, access.strides
