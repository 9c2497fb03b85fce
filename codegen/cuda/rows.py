"""Kernels of sweeps along rows, as device source: a team of threads shares a row and holds it in registers between sweeps.

NOTE [teams]
Short rows have a part of a warp or a warp, which folds by shuffles; long ones a block, whose warps meet in shared memory.
Every element is read once, before the first sweep, and stays in the registers of its thread: arrays that are only indexed by
constants once their loops are unrolled. Rows that no block can hold are read again in each sweep. Which thread folds what,
and in which order parts join, depends on the kernel alone, so that results can be repeated.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy

from blockfuse.codegen.cuda.places import (
    WIDE,
    beyond,
    four,
    function,
    guarded,
    head,
    is_wide,
    local,
    looped,
    most_rows,
    multiple,
    place,
    read,
    seen,
    shared,
    stored,
    times,
    unsigned,
)
from blockfuse.codegen.cuda.source import DeviceSource, Stage
from blockfuse.codegen.kernel import Access, Fold, RowKernel, Sweep
from blockfuse.codegen.lines import assignment, element, indented, of_elements, pointers

_WARP = 32
_MINE = 32  # elements of a row for each thread of a warp: a longer row has a block
_HELD = 64  # words of 4 bytes of a row that a thread holds between sweeps
_UNROLLED = 2000  # statements of a sweep with its loops unrolled: more would not be unrolled, and not held in registers


def rows_source(kernel: RowKernel, threads: int, wide: bool) -> DeviceSource:
    team = _team(kernel, threads, wide)
    types = pointers(kernel)
    lines = [*_row_of_thread(team), *_row_values(team), *_arrays(team), *_held_loads(team)]
    for number, sweep in enumerate(kernel.sweeps):
        lines += _sweep(team, number, sweep)
    if len(kernel.store.strides) == 1:
        lines += guarded(
            "live & (lane == uint32(0))" if team.rows > 1 else "lane == uint32(0)",
            [f"out[r] = {stored(of_elements(kernel.result), kernel.store.dtype)}"],
        )
    return DeviceSource(
        kernel.name,
        function(head(kernel.name, types), lines),
        types,
        (Stage(kernel.name, team.threads, share=team.rows),),
        wide=team.width > 1,
        most_rows=most_rows(
            (*(a for a in kernel.loads if a not in kernel.row_loads), kernel.store), (kernel.extent,)
        ),
    )


# -- teams ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Team:
    """How rows are shared out: ``size`` threads for each, ``width`` elements at a time, in blocks of ``threads``."""

    kernel: RowKernel
    size: int
    width: int
    threads: int
    holds: bool  # the row between sweeps

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.threads // self.size

    @property
    def step(self) -> int:
        return self.size * self.width

    @property
    def steps(self) -> int:
        return -(-self.kernel.extent // self.step)

    @property
    def mine(self) -> int:
        """Elements of a row that a thread has."""
        return self.steps * self.width

    @cached_property
    def held(self) -> tuple[Access, ...]:
        """Loads that several sweeps need."""
        return tuple(a for a in _walked(self.kernel) if _uses(self.kernel)[a.name] > 1) if self.holds else ()


def _walked(kernel: RowKernel) -> list[Access]:
    """Loads with an element for each place of a row."""
    return [a for a in kernel.loads if a not in kernel.row_loads and a.strides[1]]


def _uses(kernel: RowKernel) -> Counter[str]:
    """Name of a load -> how many sweeps need it."""
    return Counter(a.name for s in kernel.sweeps for a in s.loads)


def _team(kernel: RowKernel, threads: int, wide: bool) -> _Team:
    """See NOTE [teams]."""
    width = WIDE if wide and _is_wide(kernel) else 1
    small = next(n for n in (1, 2, 4, 8, 16, 32) if n == _WARP or n * width >= kernel.extent)
    teams = [_Team(kernel, size, width, max(threads, size), True) for size in (small, threads, 2 * threads)]
    fitting = (
        t for t in teams if _words(t) <= _HELD and (t.mine <= _MINE or t.rows == 1) and _is_unrolled(t)
    )
    return next(fitting, _Team(kernel, 2 * threads, width, 2 * threads, False))


def _is_wide(kernel: RowKernel) -> bool:
    full = [*_walked(kernel), *([kernel.store] if len(kernel.store.strides) == 2 else [])]
    return (
        kernel.extent % WIDE == 0
        and any(map(is_wide, full))
        and (kernel.store not in full or is_wide(kernel.store))
    )


def _words(team: _Team) -> int:
    """Registers that a thread needs for what is held."""
    kept = [team.kernel.store.dtype for s in team.kernel.sweeps if s.keep]
    dtypes = [*(a.dtype for a in team.held), *kept]
    sizes = [max(4, numpy.dtype(d).itemsize) // 4 for d in dtypes]
    return team.mine * max(1, sum(sizes))


def _is_unrolled(team: _Team) -> bool:
    return all(team.mine * (len(s.body) + len(s.folds)) <= _UNROLLED for s in team.kernel.sweeps)


# -- a thread and its row ------------------------------------------------------------------------------------


def _row_of_thread(team: _Team) -> list[str]:
    thread, block = "uint32(cuda.threadIdx.x)", "uint32(cuda.blockIdx.x)"
    if team.rows == 1:
        return [f"lane = {thread}", f"r = {block}"]
    return [
        f"lane = uint32({thread} % {unsigned(team.size)})",
        f"r = uint32({block} * {unsigned(team.rows)} + {thread} // {unsigned(team.size)})",
        "live = r < rows",
        "r = minimum(r, uint32(rows - uint32(1)))",
    ]


def _row_values(team: _Team) -> list[str]:
    """What there is once a row, and where its elements begin."""
    kernel = team.kernel
    lines = [f"{element(a.name)} = {read(a, place(('r',), a.strides[:1]))}" for a in kernel.row_loads]
    lines += [assignment(s) for s in kernel.before]
    for a in kernel.loads:
        if a not in kernel.row_loads:
            lines.append(f"p{a.name[1:]} = {place(('r',), a.strides[:1])}")
            if not a.strides[1]:
                lines.append(f"{element(a.name)} = {read(a, f'p{a.name[1:]}')}")
    if len(kernel.store.strides) == 2:
        lines.append(f"p = {place(('r',), kernel.store.strides[:1])}")
    return lines


# -- walks ---------------------------------------------------------------------------------------------------


def _walk(team: _Team, lines: list[str], condition: str = "") -> list[str]:
    """``lines`` for each step of a thread along its row; ``c`` is the element that the step begins with."""
    start = times("lane", team.width)
    ragged = team.kernel.extent % team.step != 0
    inside = f"c < {unsigned(team.kernel.extent)}" if ragged else ""
    tests = f"{condition} & ({inside})" if condition and inside else condition or inside
    lines = guarded(tests, lines)
    used = any(re.search(r"\bc\b", line) for line in lines)
    if team.steps == 1:
        return [*([f"c = {multiple('lane', team.width)}"] if used else []), *lines]
    first = f"c = uint32(uint32(s) * {unsigned(team.step)} + {start})"
    return looped("s", team.steps, [*([first] if used else []), *lines])


def _each(team: _Team, lines: list[str]) -> list[str]:
    """``lines`` for each element of a step: ``e`` is its number there."""
    return looped("e", WIDE, lines) if team.width > 1 and lines else lines


def _mine(team: _Team) -> str:
    """The number of an element among those that a thread holds."""
    if team.width == 1:
        return "s" if team.steps > 1 else "0"
    return f"{WIDE} * s + e" if team.steps > 1 else "e"


def _load(team: _Team, access: Access, array: str, held: bool) -> list[str]:
    """The elements of a step into an array."""
    start = f"p{access.name[1:]}"
    if team.width > 1 and is_wide(access):
        base = f"{WIDE} * s" if held and team.steps > 1 else ""
        return [f"{four(array, base)} = ldv4({access.name}, uint32({start} + c))"]
    where = beyond(start, "c" if team.width == 1 else "(c + uint32(e))", access.strides[1])
    target = _mine(team) if held else "e" if team.width > 1 else "0"
    return _each(team, [f"{array}[{target}] = {access.name}[{where}]"])


def _arrays(team: _Team) -> list[str]:
    """Registers: of the row between sweeps, of what one step of a sweep loads and stores."""
    kernel = team.kernel
    lines = [local(_array(a), team.mine, a.dtype) for a in team.held]
    if team.holds and any(s.keep for s in kernel.sweeps):
        lines.append(local("kept", team.mine, kernel.store.dtype))
    if team.width > 1:
        lines += [local(_passing(a), WIDE, a.dtype) for a in _walked(kernel) if a not in team.held]
        if len(kernel.store.strides) == 2:
            lines.append(local("result", WIDE, kernel.store.dtype))
    return lines


def _held_loads(team: _Team) -> list[str]:
    loads = [line for a in team.held for line in _load(team, a, _array(a), held=True)]
    return _walk(team, loads) if loads else []


def _array(access: Access) -> str:
    return "a" + access.name[1:]


def _passing(access: Access) -> str:
    """The array of what is loaded in every step anew."""
    return "b" + access.name[1:]


# -- sweeps --------------------------------------------------------------------------------------------------


def _sweep(team: _Team, number: int, sweep: Sweep) -> list[str]:
    kernel = team.kernel
    storing = number == len(kernel.sweeps) - 1 and len(kernel.store.strides) == 2
    passing = [a for a in sweep.loads if a in _walked(kernel) and a not in team.held]
    lines = [f"{f.name} = {f.start}" for f in sweep.folds]
    inner = [line for a in passing if team.width > 1 for line in _load(team, a, _passing(a), held=False)]
    inner += _each(team, _element_lines(team, sweep, passing, storing))
    if storing and team.width > 1:
        inner.append(f"stv4(out, uint32(p + c), {four('result')})")
    lines += _walk(team, inner, "live" if storing and team.rows > 1 else "")
    for fold in sweep.folds:
        lines += _joined(team, fold)
    return lines + [assignment(s) for s in sweep.after]


def _element_lines(team: _Team, sweep: Sweep, passing: list[Access], storing: bool) -> list[str]:
    """What a sweep does with each element."""
    kernel, lines = team.kernel, list[str]()
    for load in sweep.loads:
        if load.name.startswith("out as "):
            kept = f"kept[{_mine(team)}]" if team.holds else f"out[{_out_place(team)}]"
            lines.append(f"{load.name[7:]} = {seen(kept, kernel.store.dtype)}")
        elif load in team.held:
            lines.append(f"{element(load.name)} = {seen(f'{_array(load)}[{_mine(team)}]', load.dtype)}")
        elif load in passing:
            text = (
                f"{_passing(load)}[e]"
                if team.width > 1
                else f"{load.name}[{beyond(f'p{load.name[1:]}', 'c', load.strides[1])}]"
            )
            lines.append(f"{element(load.name)} = {seen(text, load.dtype)}")
    lines += [assignment(s) for s in sweep.body]
    lines += [f"{f.name} = {of_elements(f.step)}" for f in sweep.folds]
    if sweep.keep:
        target = f"kept[{_mine(team)}]" if team.holds else f"out[{_out_place(team)}]"
        lines.append(f"{target} = {stored(sweep.keep, kernel.store.dtype)}")
    if storing:
        target = "result[e]" if team.width > 1 else f"out[{_out_place(team)}]"
        lines.append(f"{target} = {stored(of_elements(kernel.result), kernel.store.dtype)}")
    return lines


def _out_place(team: _Team) -> str:
    return "uint32(p + c)" if team.width == 1 else "uint32(p + c + uint32(e))"


def _joined(team: _Team, fold: Fold) -> list[str]:
    """The folds of all threads of a team as one, which each of them gets."""
    inside = min(team.size, _WARP)
    masks = [1 << n for n in reversed(range(inside.bit_length() - 1))]
    lines = [
        f"{fold.name} = {fold.join.format(fold.name, f'shfl_xor({fold.name}, {unsigned(m)})')}" for m in masks
    ]
    if team.size <= _WARP:
        return lines
    parts, warps = f"parts_{fold.name}", team.size // _WARP
    other = seen(f"{parts}[w]", fold.dtype)
    return [
        *lines,
        shared(parts, warps, fold.dtype),
        *guarded(
            "lane % uint32(32) == uint32(0)",
            [f"{parts}[uint32(lane // uint32(32))] = {stored(fold.name, fold.dtype)}"],
        ),
        "cuda.syncthreads()",
        f"{fold.name} = {seen(f'{parts}[0]', fold.dtype)}",
        f"for w in range(1, {warps}):",
        *indented(1, [f"{fold.name} = {fold.join.format(fold.name, other)}"]),
    ]
