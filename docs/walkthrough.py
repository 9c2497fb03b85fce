"""One block through every stage, printed: run me, or read me beside the output (the tests run me too).

Block.__call__ -> dispatch (guards) -> trace -> graph -> passes -> schedule -> kernels -> source -> program -> launch
"""

from blockfuse import nn, np
from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.program.native_program import program_ir
from blockfuse.runtime.inspection import STAGES, settled


def title(text):
    print(f"\n=== {text} {'=' * (90 - len(text))}")


title("block: plain Python, which runs eagerly on NumPy")


class MLP(nn.Block):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(64, activation="relu")
        self.out = nn.Dense(10)

    def forward(self, X):
        return self.out(self.hidden(X))


np.random.seed(0)
net = MLP()
net.initialize()
X = np.random.uniform(size=(2, 20))
expected = net(X)
print(net)

title("trace: the next call runs eagerly once more, while what it does is recorded")
net.hybridize()
program = settled(net, [X]).program
print(STAGES["graph"](program))

title("guards: what the recording rests on")
print(STAGES["guards"](program))

title("passes: weights are packed once, dense and ReLU become one kernel")
print(STAGES["passes"](program))

title("prologue: what depends on parameters only, run when they change")
print(program.compiled.optimized[0].prologue)

title("schedule: which kernel runs on which memory")
print(STAGES["schedule"](program))

title("source: each kernel, as Python that Numba lowers")
print(STAGES["source"](program))

title("program: kernels in order, behind one function that Python calls")
machine = program.executable.plan.machine
text = program_ir(program.executable.plan)
code = engine.object_code(text, machine)
print(f"{len(text.splitlines())} lines of LLVM IR, {len(code)} bytes of object code for {machine.name}")
print(f"entry: {program.executable.entry}")

title("call: the entry checks the arguments, allocates the result, launches the kernels")
result = net(X)
print(result)
difference = float(np.abs(result - expected).max())
print(f"largest difference from the eager call: {difference:.1g}")
assert difference < 1e-6

title("guards at work: a parameter changes, and the next call knows")
net.out.bias.data()[:] += 1
shifted = net(X)
print(f"results moved by {float((shifted - result).mean()):.3f}")
assert abs(float((shifted - result).mean()) - 1) < 1e-5

title("explain: the same for people in a hurry")
print(net.explain())
