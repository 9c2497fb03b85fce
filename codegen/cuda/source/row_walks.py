"""What a thread does with its part of a row, as source: where it stands, what it loads and holds, and one walk a sweep."""

from __future__ import annotations

from blockfuse.codegen.cuda.source.addresses import (
    WIDE_ELEMENTS,
    four,
    guarded,
    is_wide,
    local,
    looped,
    offset,
    offset_after,
    read,
    seen,
    stored,
    times,
    unsigned,
)
from blockfuse.codegen.cuda.source.thread_groups import (
    ThreadGroup,
    joined,
    walked,
)
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import Sweep
from blockfuse.codegen.kernels.source_lines import assignment, text, variable

# steps of a thread: longer folds are joined from stretches, which keeps float sums accurate
_STRETCH_STEPS = 64


def all_of(*tests: str) -> str:
    """Tests that are not empty, all of them."""
    there = [t for t in tests if t]
    return there[0] if len(there) == 1 else " & ".join(f"({t})" for t in there)


# -- a thread and its row ------------------------------------------------------------------------------------


def row_of_thread(group: ThreadGroup) -> list[str]:
    thread, block = "uint32(cuda.threadIdx.x)", "uint32(cuda.blockIdx.x)"
    if group.rows == 1:
        return [f"lane = {thread}", f"r = {block}", *_only_step(group)]
    return [
        f"lane = uint32({thread} % {unsigned(group.size)})",
        f"r = uint32({block} * {unsigned(group.rows)} + {thread} // {unsigned(group.size)})",
        "live = r < rows",
        "r = minimum(r, uint32(rows - uint32(1)))",
        *_only_step(group),
    ]


def _only_step(group: ThreadGroup) -> list[str]:
    return [_element_of_step(group)] if group.steps == 1 else []


def row_values(group: ThreadGroup) -> list[str]:
    """What there is once a row."""
    kernel = group.kernel
    lines = [f"{variable(a.value)} = {read(a, offset(('r',), a.strides[:1]))}" for a in kernel.row_loads]
    return lines + [assignment(s) for s in kernel.before]


def starts(group: ThreadGroup) -> list[str]:
    """Where the elements of the row begin."""
    kernel, lines = group.kernel, list[str]()
    for a in kernel.loads:
        if a not in kernel.row_loads:
            lines.append(f"p{a.name[1:]} = {offset(('r',), a.strides[:1])}")
            if not a.strides[1]:
                lines.append(f"{variable(a.value)} = {read(a, f'p{a.name[1:]}')}")
    if kernel.stores_elements:
        lines.append(f"p = {offset(('r',), kernel.store.strides[:1])}")
    return lines


def row_store(group: ThreadGroup) -> list[str]:
    kernel = group.kernel
    store = f"out[r] = {stored(variable(kernel.result), kernel.store.dtype)}"
    return guarded(all_of("live" if group.rows > 1 else "", "lane == uint32(0)"), [store])


# -- walks ---------------------------------------------------------------------------------------------------


def walk(group: ThreadGroup, lines: list[str], condition: str = "", reaches_memory: bool = True) -> list[str]:
    """``lines`` for each step of a thread along its row.

    reaches_memory: whether they need ``c``, the element that the step begins with.
    """
    inside = f"c < {unsigned(group.kernel.extent)}" if group.is_ragged else ""
    lines = guarded(all_of(condition, inside) if condition or inside else "", lines)
    if group.steps == 1:
        return lines
    element = [_element_of_step(group)] if reaches_memory or inside else []
    return looped("s", group.steps, [*element, *lines])


def _element_of_step(group: ThreadGroup, step: str = "uint32(s)") -> str:
    terms = [f"{step} * {unsigned(group.step)}" if group.steps > 1 else "", times("lane", group.width)]
    if group.parts > 1:
        terms.insert(0, "first")
    return f"c = uint32({' + '.join(t for t in terms if t)})"


def _each(group: ThreadGroup, lines: list[str]) -> list[str]:
    """``lines`` for each element of a step: ``e`` is its number there."""
    return looped("e", WIDE_ELEMENTS, lines) if group.width > 1 and lines else lines


def _mine(group: ThreadGroup) -> str:
    """The number of an element among those that a thread holds."""
    if group.width == 1:
        return "s" if group.steps > 1 else "0"
    return f"{WIDE_ELEMENTS} * s + e" if group.steps > 1 else "e"


def _load(group: ThreadGroup, access: Access, array: str, held: bool) -> list[str]:
    """The elements of a step into an array."""
    start = f"p{access.name[1:]}"
    if group.width > 1 and is_wide(access):
        base = f"{WIDE_ELEMENTS} * s" if held and group.steps > 1 else ""
        return [f"{four(array, base)} = ldv4({access.name}, uint32({start} + c))"]
    where = offset_after(start, "c" if group.width == 1 else "(c + uint32(e))", access, 1)
    target = _mine(group) if held else "e" if group.width > 1 else "0"
    return _each(group, [f"{array}[{target}] = {access.name}[{where}]"])


def arrays(group: ThreadGroup) -> list[str]:
    """Registers: of the row between sweeps, of what one step of a sweep loads and stores."""
    kernel = group.kernel
    lines = [local(_array(a), group.mine, a.dtype) for a in group.held]
    if group.holds and any(s.keep for s in kernel.sweeps):
        lines.append(local("kept", group.mine, kernel.store.dtype))
    if group.width > 1:
        lines += [local(_passing(a), WIDE_ELEMENTS, a.dtype) for a in walked(kernel) if a not in group.held]
        if kernel.stores_elements:
            lines.append(local("result", WIDE_ELEMENTS, kernel.store.dtype))
    return lines


def held_loads(group: ThreadGroup) -> list[str]:
    loads = [line for a in group.held for line in _load(group, a, _array(a), held=True)]
    return walk(group, loads) if loads else []


def _array(access: Access) -> str:
    return "a" + access.name[1:]


def _passing(access: Access) -> str:
    """The array of what is loaded in every step anew."""
    return "b" + access.name[1:]


# -- sweeps --------------------------------------------------------------------------------------------------


def sweep_lines(group: ThreadGroup, number: int, sweep: Sweep) -> list[str]:
    return [*fold_lines(group, number, sweep), *(assignment(s) for s in sweep.after)]


def fold_lines(group: ThreadGroup, number: int, sweep: Sweep) -> list[str]:
    """A walk along the row, and what its folds come to."""
    kernel = group.kernel
    storing = number == len(kernel.sweeps) - 1 and kernel.stores_elements
    passing = [a for a in sweep.loads if a in walked(kernel) and a not in group.held]
    lines = [f"{f.name} = {text(f.start)}" for f in sweep.folds]
    inner = [line for a in passing if group.width > 1 for line in _load(group, a, _passing(a), held=False)]
    inner += _each(group, _element_lines(group, sweep, passing, storing))
    if storing and group.width > 1:
        inner.append(f"stv4(out, uint32(p + c), {four('result')})")
    if _is_long(group, sweep):
        lines += _stretches(group, sweep, inner)
    else:
        reloads = not group.holds and bool(sweep.keep or any(load.alias for load in sweep.loads))
        condition = "live" if storing and group.rows > 1 else ""
        lines += walk(group, inner, condition, storing or reloads or bool(passing))
    for fold in sweep.folds:
        lines += joined(group, fold)
    return lines


def _is_long(group: ThreadGroup, sweep: Sweep) -> bool:
    return bool(sweep.folds) and not group.holds and group.steps > 2 * _STRETCH_STEPS


def _stretches(group: ThreadGroup, sweep: Sweep, inner: list[str]) -> list[str]:
    """A walk in stretches: folds start anew in each."""
    step = f"uint32(stretch * {_STRETCH_STEPS} + s)"
    tested = guarded(f"c < {unsigned(group.kernel.extent)}", inner)
    return [
        *(f"{f.name}_total = {text(f.start)}" for f in sweep.folds),
        *looped(
            "stretch",
            -(-group.steps // _STRETCH_STEPS),
            [
                *(f"{f.name} = {text(f.start)}" for f in sweep.folds),
                *looped("s", _STRETCH_STEPS, [_element_of_step(group, step), *tested]),
                *(f"{f.name}_total = {f.join.format(f'{f.name}_total', f.name)}" for f in sweep.folds),
            ],
        ),
        *(f"{f.name} = {f.name}_total" for f in sweep.folds),
    ]


def _element_lines(group: ThreadGroup, sweep: Sweep, passing: list[Access], storing: bool) -> list[str]:
    """What a sweep does with each element."""
    kernel, lines = group.kernel, list[str]()
    for load in sweep.loads:
        if load.alias:
            kept = f"kept[{_mine(group)}]" if group.holds else f"out[{_out_place(group)}]"
            lines.append(f"{load.alias} = {seen(kept, kernel.store.dtype)}")
        elif load in group.held:
            lines.append(f"{variable(load.value)} = {seen(f'{_array(load)}[{_mine(group)}]', load.dtype)}")
        elif load in passing:
            element = (
                f"{_passing(load)}[e]"
                if group.width > 1
                else f"{load.name}[{offset_after(f'p{load.name[1:]}', 'c', load, 1)}]"
            )
            lines.append(f"{variable(load.value)} = {seen(element, load.dtype)}")
    lines += [assignment(s) for s in sweep.body]
    lines += [f"{f.name} = {text(f.step)}" for f in sweep.folds]
    if sweep.keep:
        target = f"kept[{_mine(group)}]" if group.holds else f"out[{_out_place(group)}]"
        lines.append(f"{target} = {stored(sweep.keep, kernel.store.dtype)}")
    if storing:
        target = "result[e]" if group.width > 1 else f"out[{_out_place(group)}]"
        lines.append(f"{target} = {stored(variable(kernel.result), kernel.store.dtype)}")
    return lines


def _out_place(group: ThreadGroup) -> str:
    return "uint32(p + c)" if group.width == 1 else "uint32(p + c + uint32(e))"
