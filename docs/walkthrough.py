"""The ideas of blockfuse in the order in which they are needed, with the objects of one small net.

Run me and read along (the tests run me, too). Before each output stands why it is so, and what to read: with these files,
some 3,300 lines, it takes an hour. What stands after "Later" waits until you change something there. docs/architecture.md
says more about each stage, and its section "Words" has every term.
"""

from textwrap import dedent

import numpy

from blockfuse import nn, np
from blockfuse.array.eager import Eager
from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.program.native_program import program_ir
from blockfuse.codegen.meaning.kernels import kernel_meaning
from blockfuse.codegen.meaning.memory import Address, given, unwritten
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operator import TABLE
from blockfuse.runtime.inspection import STAGES, settled


def chapter(title, text):
    """Say what comes next, why it is so, and where to read about it."""
    print(f"\n=== {title} {'=' * (110 - len(title))}\n{dedent(text).strip()}\n")


# -- from Python to a flow -----------------------------------------------------------------------------------

chapter(
    "block",
    """
    A net is a Python object with a forward, and a call runs it: nothing has to be written in another way to be compiled.
    Eager calls are also the definition of what compiled ones must give.
    Read the docstrings of nn/layers/basic.py.
    Later `Block.__call__` in nn/block.py, and array/ndarray.py.
    """,
)


class Net(nn.Block):
    """Two layers, and scores that are made smaller where they are large: a branch on values."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(8, activation="relu")
        self.out = nn.Dense(3)

    def forward(self, X):
        scores = self.out(self.hidden(X))
        if np.abs(scores).max() > 1:
            scores = scores * 0.5
        return scores


np.random.seed(0)
net = Net()
net.initialize()
X = np.random.uniform(size=(2, 4))
expected = net(X)
print(net)
print(expected)

chapter(
    "operator",
    """
    All that arrays do goes through operators, and an operator is one row of a table. Its meaning is a NumPy function, which
    defines it; a kernel that disagrees is wrong. The type rule serves recording and verifying alike, and the lowering class
    says what kind of loop it is: passes, schedules and kernels ask for the class, so none of them knows any name.
    Read ir/operator.py.
    Later the rows of ir/operators/pointwise.py, and ir/lowering.py.
    """,
)
relu = TABLE["relu"]
two = numpy.array([-1.0, 2.0], "float32")
print(f"{relu}: meaning {two.tolist()} -> {relu.meaning(two).tolist()}, lowering {relu.lowering}")
print(f"lowering of dense: {type(TABLE['dense'].lowering).__name__}")

chapter(
    "interpreter",
    """
    Calling an operator asks the current interpreter what that shall mean, so user code never knows whether it is only
    computed or also recorded. The default one computes; here one tells what it is asked, as the recorder does.
    Read ir/interpreter.py and array/eager.py.
    Later array/functions/elementwise.py, from `relu` in array/npx.py on.
    """,
)


class Telling(Eager):
    """Computes as ever, and prints the name of each operator."""

    def apply(self, operator, operands, attrs):
        result = super().apply(operator, operands, attrs)
        print(f"{operator.name:10} -> {result.dtype}{list(result.shape)}")
        return result


with interpreting(Telling()):
    net(X)

chapter(
    "recording",
    """
    After hybridize(), a call runs once more in Python while the recorder writes a node for each operator. Nodes are
    immutable and know the line they come from. The call's result is real, so a recording costs nobody an answer.
    Read ir/graph.py.
    Read record() and Recording in tracer/recording/record.py.
    Later tracer/recording/recorder.py.
    """,
)
net.hybridize()
outcome = settled(net, [X])
program, (recording,) = outcome.program, outcome.recordings
for node in recording.path.sequence:
    print(f"{node.operator.name:10} {node.type!s:16} {node.source or 'a constant'}")

chapter(
    "facts",
    """
    A graph replaces Python, so it may be used only where Python did nothing else, and only as long as all that it read is
    what it was. The first is the certificate of a witness: every function that ran is known or was watched. The second
    are facts about state; those that blocks and parameters report themselves cost a call nothing, the others are compared.
    Read tracer/state/picture.py and runtime/programs/guards.py.
    Later tracer/certificate/witness.py (NOTE [the certificate]), tracer/state/facts.py and array/stamps.py.
    """,
)
print(f"problem with the recording: {recording.problem or 'none'}")
print(STAGES["guards"](program))

chapter(
    "path",
    """
    One recorded call is one path: nodes in order, and between them decisions, where Python asked for the truth of an array.
    A decision knows its program point, a key of the whole Python stack: two paths whose points are equal go on alike, which
    is how loops close and branches join without looking at source.
    Read tracer/flow/path.py and tracer/frames/program_points.py.
    Later tracer/frames/stack_keys.py, which makes the keys.
    """,
)
for event in recording.path.events:
    print(f"{type(event).__name__} after {event.position} nodes, in {event.source}: {event.outcome}")

chapter(
    "flow",
    """
    Paths are put together to a flow: straight-line graphs, called blocks, joined by decisions and registers. So each pass
    sees an ordinary graph. The way that no call has taken yet is unknown, and goes back to Python.
    Read ir/flow.py.
    Later tracer/flow/replay.py (NOTE [blocks and positions]) and tracer/flow/assembly.py.
    """,
)
print(STAGES["graph"](program))

# -- from a flow to native code ------------------------------------------------------------------------------

chapter(
    "passes",
    """
    A pass is a function from graph to graph that says what it makes true; the pipeline is one tuple of them. Weights are
    packed for the tiles of products, what depends on parameters alone moves into the prologue (hoist), and what can run as
    one loop nest becomes one fused node (fuse). No pass changes a float beyond the order of a sum.
    Read codegen/compile.py, which is the compiler as one function, and ir/passes/pipeline.py.
    Later ir/passes/grouping.py (NOTE [what fits in one kernel]) and ir/passes/fuse.py.
    """,
)
print(STAGES["passes"](program))

chapter(
    "prologue",
    """
    The prologue runs when a parameter changes, not when the net is called: its results are parameters of the program.
    Read ir/passes/hoist.py.
    """,
)
print(program.compiled.optimized[0].prologue)

chapter(
    "kernel",
    """
    A fused node becomes a kernel, which is data: loads, statements, folds and a store, with the strides to walk. So its
    meaning is a few lines of NumPy over flat memory, without any compiler, and a test can say which of two stages is wrong.
    Here the kernel of the decision is asked whether the largest of six numbers is greater than one.
    Read codegen/kernels/kernel.py, then RowKernel in codegen/kernels/loop_kernels.py.
    Later codegen/meaning/kernels.py, codegen/kernels/lowering.py, which makes them of fused nodes, and
    codegen/kernels/products.py.
    """,
)
kernel = next(launch.kernel for launch in program.schedule.launches if "max" in launch.kernel.name)
print(f"{type(kernel).__name__} {kernel.name}: {kernel.pointers}")
for sweep in kernel.sweeps:
    print("for each element of a row:", *(f"{s.name} = {s.expression.text()}" for s in sweep.body))
    print("folded:", *(f"{f.name} = {f.step.text()}, from {f.start.text()}" for f in sweep.folds))
    print("once a row:", *(f"{s.name} = {s.expression.text()}" for s in sweep.after))
large = Address(unwritten(1, "bool"))
scores = numpy.array([0.5, -3, 0.25, 0, 0, 0], "float32")
kernel_meaning(kernel, {"x0": Address(given(scores)), "out": large}, begin=0, end=1)
print(f"its meaning for {scores.tolist()}: {large.memory.array.item()}")

chapter(
    "schedule",
    """
    The schedule says which kernel runs on which memory, in order: launches over buffers, and which block follows. A buffer
    is an argument, a parameter, a result, a register, or a part of the workspace, which is planned once for all calls.
    Read codegen/scheduling/buffers.py and codegen/scheduling/steps.py.
    Later codegen/scheduling/scheduler.py and codegen/scheduling/strips.py (NOTE [strips]).
    """,
)
print(STAGES["schedule"](program))

chapter(
    "source",
    """
    Each kernel is rendered as Python that Numba types and lowers, and that a person can read and even run. What loops
    cannot say well, such as the tile of a product, is an intrinsic: a call in the source, with a meaning in NumPy beside it.
    Equal kernels have equal source, which is the key of the cache of object code.
    Read codegen/cpu/source/render.py and codegen/cpu/source/maps.py.
    Later codegen/cpu/source/products.py, and tests/goldens/ for the source of typical kernels.
    """,
)
print(STAGES["source"](program))

chapter(
    "native",
    """
    Numba stops after lowering; LLVM optimises the text, and the object is loaded into an engine of its own, which frees it
    again. Object code holds no address of the process, so it can be kept on disk. The numbers depend on the machine.
    Read codegen/cpu/native/frontend.py and codegen/cpu/native/engine.py.
    Later codegen/cpu/intrinsics/register_tile.py (NOTE [the tile]).
    """,
)
plan = program.executable.plan
text = program_ir(plan)
code = engine.object_code(text, plan.machine)
print(f"{len(text.splitlines())} lines of LLVM IR, {len(code)} bytes of object code for {plan.machine.name}")

chapter(
    "entry",
    """
    The whole program is one built-in function, its entry: it checks the arguments, allocates results, runs the blocks over a
    table of pointers and wraps the results. Python calls it as it calls `len`; it answers NotImplemented to all that it does
    not know, so that dispatch takes over.
    Read codegen/cpu/program/entry.py and codegen/cpu/program/native_program.py.
    Later codegen/cpu/program/drive.py and codegen/cpu/program/executable.py.
    """,
)
print(f"{type(program.executable.entry).__name__} {program.executable.entry.__name__}")
print(f"of a matrix of another shape: {program.executable.entry(np.ones((3, 3)))}")

# -- calls ---------------------------------------------------------------------------------------------------

chapter(
    "call",
    """
    The entry is asked first; the facts that nobody reports are compared before by one function that was generated for
    them. Dispatch is for all else: it finds the case of the call's signature, and then its program, a recording, or Python.
    Read runtime/calls/dispatch.py.
    Later runtime/calls/cases.py, runtime/calls/entry_slot.py and runtime/programs/program.py.
    """,
)
before = program.executable.calls()
result = net(X)
print(result)
print(f"calls that the entry took: {program.executable.calls() - before}")
difference = float(np.abs(result - expected).max())
print(f"largest difference from the eager call: {difference:.1g}")
assert difference < 1e-6

chapter(
    "guard",
    """
    A parameter changes. It tells its watchers, one of which clears a word that the entry compares; dispatch then looks at
    the facts again, finds that only values changed, and runs the prologue anew. Nothing is compiled.
    Read codegen/validity.py.
    Later `Program.refresh` in runtime/programs/program.py.
    """,
)
net.out.bias.data()[:] += 0.25
shifted = net(X)
print(f"results moved by {float((shifted - result).mean()):.3f}")
assert abs(float((shifted - result).mean()) - 0.25) < 1e-5

chapter(
    "self-check",
    """
    Before a program served its first call it was run on the arguments of its recording, whose right answer was there, and
    compared. That proves only the code that this call took: the other outcome of a decision is a variant that is not proven,
    and the entry gives back a call that takes one.
    Read codegen/variants.py.
    Later runtime/audit/selfcheck.py (NOTE [self-check]).
    """,
)
unproven = set()
program.executable.run([X.asnumpy()], unproven)
print(f"variants that this call takes and that nobody has proven: {len(unproven)}")

chapter(
    "another way",
    """
    Scores of larger inputs take the way that no call has taken. The program has written nothing but its own memory, so the
    call starts again in Python and is recorded; then there is one program for both ways.
    Read runtime/calls/learning.py.
    Later `flow_of` in tracer/flow/replay.py.
    """,
)
print(f"the program alone: {program.executable.run([1000 * X.asnumpy()])}")
net(1000 * X)
outcome = settled(net, [1000 * X])
print(f"recordings: {len(outcome.recordings)}")
print(
    "\n".join(line for line in STAGES["graph"](outcome.program).split("\n") if not line.startswith("graph"))
)

chapter(
    "Python",
    """
    What no graph can stand for runs in Python from beginning to end: here a number leaves for a list of Python's. The reason
    is in explain(), the blocks within have programs of their own, and other operators may wait for each other in segments.
    Read NOTE [segments] in tracer/lazy/segments.py.
    Later runtime/calls/segments.py and nn/block_owner.py.
    """,
)
seen = []


class Counting(nn.Block):
    """Such a net, whose largest scores are kept."""

    def __init__(self):
        super().__init__()
        self.inner = Net()

    def forward(self, X):
        scores = self.inner(X)
        seen.append(float(scores.max()))
        return scores


counting = Counting()
counting.initialize()
counting.hybridize()
for _ in range(4):
    counting(X)
print(counting.explain())
print(f"numbers in the list: {len(seen)}")
assert len(seen) == 4

chapter(
    "explain",
    """
    The same for people in a hurry; `blockfuse show FILE` prints the stages of a net of yours. How many milliseconds it took
    to compile differs from run to run. CONTRIBUTING.md goes on with how to add an operator, a pass, a kernel or a layer.
    Read runtime/inspection.py.
    Later runtime/calls/explain.py.
    """,
)
print(net.explain())
