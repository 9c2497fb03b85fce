"""Random numbers of a piece of the stream: the kernel, and the lines of its source that all backends write alike.

The state is two variables, ``low`` and ``high``; see NOTE [pieces of the stream] in ``ir.stream``.
"""

from __future__ import annotations

from blockfuse.codegen.kernels.cost import LINE_ELEMENTS, WORD_NANOSECONDS, cost_of
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.kernel_call import KernelCall, names_of_body
from blockfuse.codegen.kernels.loop_kernels import DrawKernel
from blockfuse.codegen.kernels.source_lines import assignment, indented
from blockfuse.codegen.kernels.statements import statement
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.lowering import Drawing
from blockfuse.ir.stream import KEPT, PIECE

_ROW = PIECE[1]


def draw_kernel(node: Node, body: Graph) -> KernelCall:
    """A row for each word; one more than half of the numbers, as the first float32 may be a kept half."""
    names = names_of_body(body)
    (draw,) = (n for n in body.nodes if isinstance(n.operator.lowering, Drawing))
    computed = (statement(n, names) for n in body.nodes if n.operator is not constant and n is not draw)
    kernel = DrawKernel(
        node.attrs["name"],
        Access("out", str(node.dtype), (1,)),
        Access("x0", "uint64", ()),
        names[draw],
        str(draw.dtype),
        tuple(computed),
        names[body.outputs[0]],
    )
    count = node.type.size
    rows = count if not halved(kernel) or not count else count // 2 + 1
    return KernelCall(kernel, rows, rows * WORD_NANOSECONDS + count * cost_of(body), LINE_ELEMENTS)


def halved(kernel: DrawKernel) -> bool:
    """Whether a word is two numbers."""
    return kernel.dtype == "float32"


def count_and_kept(kernel: DrawKernel, index: str) -> list[str]:
    """How many numbers there are, and how many of them are in front of the words, as integers of the type ``index``."""
    kept = [f"kept = {index}(x0[2] >= uint64({KEPT}))"] if halved(kernel) else []
    return [f"count = {index}(x0[3])", *kept]


def state_after(steps: str) -> list[str]:
    """The state of the piece after so many steps."""
    step = [
        "if steps & uint64(1):",
        *indented(1, [*_factor_and_term(_row_indices("place")), *stepped("low", "high")]),
    ]
    step += ["steps = uint64(steps >> uint64(1))", f"place = uint32(place + uint32({_ROW}))"]
    start = ["low = x0[0]", "high = x0[1]", f"steps = uint64({steps})", f"place = uint32({_ROW})"]
    return [*start, "while steps != uint64(0):", *indented(1, step)]


def power(doublings: int) -> list[str]:
    """Let a step be 2**doublings steps."""
    return _factor_and_term([f"uint32({_ROW * (1 + doublings) + n})" for n in range(_ROW)])


def _row_indices(first: str) -> list[str]:
    return [first, *(f"uint32({first} + uint32({n}))" for n in range(1, _ROW))]


def _factor_and_term(indices: list[str]) -> list[str]:
    names = ("factor_low", "factor_high", "term_low", "term_high")
    return [f"{name} = x0[{index}]" for name, index in zip(names, indices, strict=True)]


def stepped(low: str, high: str) -> list[str]:
    """The next state: 128 bits times a factor plus a term."""
    return [
        f"next_low = uint64({low} * factor_low + term_low)",
        f"across = uint64({low} * factor_high + {high} * factor_low)",
        "carry = uint64(next_low < term_low)",
        f"{high} = uint64(high_product({low}, factor_low) + across + term_high + carry)",
        f"{low} = next_low",
    ]


def numbers(kernel: DrawKernel) -> list[str]:
    """The numbers of ``word`` in [0, 1), as NumPy makes them."""
    if halved(kernel):
        return [_single("word & uint64(4294967295)"), _single("word >> uint64(32)")]
    return [f"float64(int64(word >> uint64(11))) * float64({2.0**-53})"]


def kept_number() -> str:
    """The number of the kept half, which is the first one."""
    return _single("x0[2] & uint64(4294967295)")


def _single(half: str) -> str:
    return f"float32(int32(({half}) >> uint64(8))) * float32({2.0**-24})"


def stored(kernel: DrawKernel, number: str, index: str) -> list[str]:
    """The lines that make the result of a number and store it."""
    value = f"uint8({kernel.result})" if kernel.store.dtype == "bool" else kernel.result
    lines = [f"{kernel.number} = {number}", *map(assignment, kernel.body)]
    return [*lines, f"out[{index}] = {value}"]
