"""A schedule as one native program: kernels in order over a table of pointers, blocks in the order of decisions.

NOTE [the table]
Native code finds everything through one table of 64-bit words, so that its object code holds no address of this process
and can be cached. First the buffers, in the order of the schedule; then the kernels; then the number of items of the
batch; then the thread pool; then the bits of NOTE [variants]; then what NOTE [safepoints] needs; then the ends of stacks,
whose words lead to the value on top. A caller copies the program's table and fills in arguments, results, workspace and
items.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.safepoint import safepoint
from blockfuse.codegen.cpu.process.thread_pool_state import FORK_OPERANDS, run_alone
from blockfuse.codegen.cpu.program.drive import Drive
from blockfuse.codegen.cpu.program.entry import emit_entry
from blockfuse.codegen.cpu.program.pieces import emit_piece
from blockfuse.codegen.cpu.program.plan import Plan, is_native, native_entry
from blockfuse.codegen.values.emitter import VOID, Emitter


def program_ir(plan: Plan, with_entry: bool = True) -> str:
    """LLVM IR: ``piece0``, ... (table) for the runs of launches; ``entry`` where no host call is between them.

    with_entry: without, there are pieces alone, which is most of the work of compiling a small program saved.
    """
    module = ir.Module("program")
    pieces = {n: emit_piece(module, plan, n) for n, steps in enumerate(plan.pieces) if is_native(plan, steps)}
    if plan.is_parallel:
        _emit_alone(module)
    if with_entry and native_entry(plan):
        pause = safepoint(module, plan.safepoint_index) if plan.decides else None
        emit_entry(module, plan, Drive(module, plan, pieces, pause).build())
    return str(module)


def _emit_alone(module: ir.Module) -> None:
    """``alone``: what a program calls in place of the pool's ``fork`` where nothing is to be shared."""
    function = ir.Function(module, ir.FunctionType(VOID, FORK_OPERANDS), "alone")
    emit = Emitter.of(function)
    _, part, table, rows, _ = function.args
    run_alone(emit, part, table, rows)
    emit.builder.ret_void()
