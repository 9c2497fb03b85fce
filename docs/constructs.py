"""The table of constructs in contract.md: each row is executed, compared with eager calls, and described by what was seen.

``python docs/constructs.py`` prints the table; with ``--write`` it puts it into contract.md. The tests compare the two.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from blockfuse import nn, np

CONTRACT = Path(__file__).with_name("contract.md")
BEGIN, END = "<!-- constructs: python docs/constructs.py --write -->\n", "<!-- end of constructs -->\n"
CALLS = 12

Arguments = Callable[[int], tuple[Any, ...]]


def _one(n: int) -> tuple[Any, ...]:
    """The argument of call ``n``: values of both signs, of another size each time."""
    rng = numpy.random.default_rng(n)
    return (np.array((rng.normal(size=(64, 256)) * 2.0 ** (3 * n % 8) + n % 3 - 1).astype(numpy.float32)),)


def _batches(n: int) -> tuple[Any, ...]:
    return (np.array(_one(n)[0].asnumpy()[: 7 + 5 * n]),)


@dataclass(frozen=True)
class Construct:
    """What a user writes: the body of ``forward(self, x, ...)``, and what ``__init__`` sets up."""

    name: str
    forward: str
    setup: str = ""
    arguments: Arguments = _one
    parameters: str = "x"
    before: str = ""  # what somebody does before each call, to ``net``; ``n`` is the number of the call


CONSTRUCTS = (
    Construct("operators and layers", "return self.out(npx.relu(x) * 2)", "self.out = nn.Dense(10)"),
    Construct("NumPy functions on our arrays", "return numpy.maximum(x, 0).mean(axis=1)"),
    Construct("`if` on array values", "if x.sum() > 0:\n    x = x * 2\nreturn x + 1"),
    Construct(
        "several `if`s, `and`, conditional expressions",
        "a = 2 if x.sum() > 0 and x.max() < 50 else 3\nif x.min() < -9:\n    x = -x\nreturn x * a",
    ),
    Construct(
        "early `return`",
        "if x.sum() > 0:\n    return x\nreturn np.exp(-np.abs(x)) + x".replace(
            "return x\n", "return x * 1\n", 1
        ),
    ),
    Construct("`while` on array values", "while np.abs(x).sum() > 100:\n    x = x / 2\nreturn x"),
    Construct(
        "`while` with a counter",
        "n = 0\nwhile np.abs(x).sum() > 100 and n < 50:\n    x = x / 2\n    n += 1\nreturn x",
    ),
    Construct(
        "`for` with a data-dependent `break`",
        "for _ in range(50):\n    if np.abs(x).sum() < 100:\n        break\n    x = x / 2\nreturn x",
    ),
    Construct(
        "`for` over many steps",
        "h, out = x[0], []\nfor t in range(100):\n    h = np.tanh(h * 0.5 + x[t % 2])\n    out.append(h)\n"
        "return np.stack(out)",
    ),
    Construct(
        "`for` over layers",
        "for layer in self.layers:\n    x = layer(x)\nreturn x",
        "self.layers = nn.Sequential()\nfor _ in range(3):\n    self.layers.add(nn.Dense(8))",
    ),
    Construct(
        "`float(x)`, `x.item()` that is only compared",
        "error = 1e9\nwhile error > 100:\n    x = x / 2\n    error = float(np.abs(x).sum())\nreturn x",
    ),
    Construct(
        "`float(x)`, `int(x)`, `x.item()`", "return np.tanh(x / float(np.abs(x).max())) * 2 + np.exp(-x * x)"
    ),
    Construct(
        "`x.asnumpy()` and NumPy on it",
        "low = numpy.percentile(x.asnumpy(), 10)\nreturn np.exp(-np.abs(x - float(low))) * x",
    ),
    Construct(
        "iteration over an array of values",
        "return sum(float(v) for v in x.sum(axis=1)) + np.exp(-np.abs(x)) * 2",
    ),
    Construct("formatting", "self.text = f'{x.sum()}'\nreturn np.exp(-np.abs(x)) * 2 + 1", "self.text = ''"),
    Construct("NumPy functions that we do not have", "return np.tanh(numpy.partition(x, 3)) * 2 + 1"),
    Construct("writes at boolean masks", "y = np.tanh(x) * 2\ny[y > 1] = 0\nreturn np.exp(y) + 1"),
    Construct("boolean masks", "y = np.tanh(x) * 2\nreturn np.exp(y) + y[y > 1].sum()"),
    Construct("writes at arrays of indices", "y = x * 2\ny[x.argmax(axis=0)] = 1\nreturn np.tanh(y)"),
    Construct("picking by arrays of indices", "return npx.pick(x, (x[:, 0] > 0).astype('int32')) * 2"),
    Construct(
        "an index beyond its axis, caught",
        "try:\n    y = x[np.maximum(x[0], 0).astype('int32')]\nexcept IndexError:\n    y = x\nreturn y + 1",
    ),
    Construct("in-place operators on own arrays", "y = x * 2\ny += 1\ny[0] = 0\nreturn y"),
    Construct("writes to an argument", "x *= 0.5\nreturn np.tanh(x) * 2 + 1"),
    Construct("writes to a view", "y = np.tanh(x) * 2\ny[1:][0] += 1\nreturn np.exp(y) + 1"),
    Construct("a result that is an argument, or a view of it", "return x, x[1:], np.tanh(x) * 2 + 1"),
    Construct(
        "a counter in an attribute", "self.calls += 1\nreturn np.tanh(x) * self.calls + 1", "self.calls = 0"
    ),
    Construct(
        "an array kept in an attribute",
        "self.weights = npx.softmax(x)\nreturn np.tanh(self.weights) * 2",
    ),
    Construct(
        "a state that a block reads and assigns",
        "self.state = np.tanh(x * 0.5 + self.state)\nreturn self.state * 2",
        "self.state = np.zeros((256,))",
    ),
    Construct(
        "a list that outlives the call",
        "self.seen.append(x.shape)\nreturn np.tanh(x) * 2 + 1",
        "self.seen = []",
    ),
    Construct("`random`, `time`, files", "return np.tanh(x) * 2 + (0 if random.random() < 2 else 1)"),
    Construct(
        "a cache filled by the first call",
        "if self.table is None:\n    self.table = np.arange(256)\nreturn np.tanh(x) * self.table",
        "self.table = None",
    ),
    Construct("an attribute that is read", "return np.tanh(x) * self.scale", "self.scale = 2"),
    Construct(
        "an attribute that somebody changes",
        "return np.tanh(x) * self.scale",
        "self.scale = 2.0",
        before="net.scale = 2.0 + n // 6",
    ),
    Construct(
        "a parameter that somebody changes",
        "return self.out(x)",
        "self.out = nn.Dense(4, in_units=256)",
        before="net.out.bias.set_data(np.full((4,), n))",
    ),
    Construct(
        "a number argument that changes",
        "return np.tanh(x) * t",
        arguments=lambda n: (*_one(n), 0.5 * n),
        parameters="x, t",
    ),
    Construct(
        "a batch size that changes", "return npx.softmax(self.out(x))", "self.out = nn.Dense(10)", _batches
    ),
    Construct(
        "`None`, strings, lists, dicts as arguments",
        "return x * 2 if how == 'twice' else x + more['b'][0]",
        arguments=lambda n: (*_one(n), ("twice", "once")[n % 2], {"b": [1, None]}),
        parameters="x, how, more",
    ),
    Construct(
        "NumPy arrays as arguments", "return np.tanh(x) * 2", arguments=lambda n: (_one(n)[0].asnumpy(),)
    ),
    Construct(
        "writes to an array that an attribute holds",
        "self.total[...] = self.total + x.sum(axis=0)\nreturn x * self.total",
        "self.total = np.zeros((256,))",
    ),
    Construct(
        "a step of training",
        "with autograd.record():\n    total = (self.out(x) ** 2).mean()\ntotal.backward()\n"
        "weight = self.out.weight.data()\nweight -= self.out.weight.grad() * 0.01\nreturn total",
        "self.out = nn.Dense(10)",
    ),
    Construct(
        "running statistics of batches",
        "with autograd.train_mode():\n    return self.norm(x)",
        "self.norm = nn.BatchNorm()",
    ),
    Construct(
        "a gradient through a `while` on array values",
        "with autograd.record():\n    y = self.out(x)\n    while np.abs(y).sum() > 500:\n        y = y / 2\n"
        "    total = (y**2).mean()\ntotal.backward()\nreturn self.out.weight.grad() * 1",
        "self.out = nn.Dense(10)",
    ),
    Construct("an exception", "try:\n    return x @ x\nexcept ValueError:\n    return x * 2"),
    Construct("dropout and `np.random` of blockfuse", "return x + np.random.uniform(size=(256,))"),
    Construct("`numpy.random`", "return np.tanh(x) * 2 + 0 * numpy.random.rand()"),
)


def net_of(construct: Construct) -> nn.Block:
    """The block, as if it stood in a file of a user's."""
    lines = [
        "import random, numpy",
        "from blockfuse import autograd, nn, np, npx",
        "class Net(nn.Block):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" for line in construct.setup.splitlines()),
        f"    def forward(self, {construct.parameters}):",
        *(f"        {line}" for line in construct.forward.splitlines()),
    ]
    scope: dict[str, Any] = {"__name__": "constructs"}
    exec(compile("\n".join(lines), f"<{construct.name}>", "exec"), scope)
    np.random.seed(0)
    net = scope["Net"]()
    net.initialize()
    return net


def seen(construct: Construct) -> tuple[str, int]:
    """How the calls ran, and how many of them were recorded. Every call is compared with that of an eager twin."""
    net, twin = net_of(construct), net_of(construct)
    for one in (net, twin):
        np.random.seed(0)  # parameters that wait for a shape are drawn now
        one(*construct.arguments(0))
    net.hybridize()
    for n in range(CALLS):
        for one in (net, twin):
            exec(construct.before, {"net": one, "n": n, "np": np})
        _call_both(net, twin, construct.arguments, n)
    hybrid = net._hybrid
    return _outcome(hybrid), sum(case.attempts for case in hybrid.cases.values())


def _call_both(net: nn.Block, twin: nn.Block, arguments: Arguments, n: int) -> None:
    mine, theirs = arguments(n), arguments(n)
    np.random.seed(n)
    got = net(*mine)
    np.random.seed(n)
    _same((got, mine), (twin(*theirs), theirs))


def _same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    if isinstance(want, tuple):
        for a, b in zip(got, want, strict=True):
            _same(a, b)
    elif hasattr(want, "shape"):
        largest = float(numpy.abs(numpy.asarray(want)).max())
        numpy.testing.assert_allclose(
            numpy.asarray(got), numpy.asarray(want), rtol=1e-4, atol=1e-5 * max(largest, 1)
        )


def _outcome(hybrid: Any) -> str:
    programs = [case.program for case in hybrid.cases.values() if case.program is not None]
    if len(programs) < len(hybrid.cases):
        count = len(hybrid._segments.programs)
        return f"Python, {count} compiled segment{'s' * (count > 1)}" if count else "Python"
    blocks = [block for program in programs for block in program.flow.blocks]
    ways = [
        (n, s) for program in programs for n, b in enumerate(program.flow.blocks) for s in b.successors or ()
    ]
    if any(s is not None and s <= n for n, s in ways):
        return "one program with a native loop"
    if len(blocks) > len(programs):
        return "one program with branches"
    return "one program" if len(programs) == 1 else f"{len(programs)} programs"


def line(construct: Construct) -> str:
    """One row of the table."""
    how, recordings = seen(construct)
    code = "<br>".join(f"`{text.replace('    ', '· ')}`" for text in construct.forward.splitlines())
    return f"| {construct.name} | {code} | {how} | {recordings} |"


def table() -> str:
    """The table, as Markdown."""
    head = [f"| construct | `forward` | how it runs | recordings in {CALLS} calls |", "|---|---|---|---|"]
    return "\n".join([*head, *map(line, CONSTRUCTS)]) + "\n"


def shown() -> str:
    """The table that the document has."""
    text = CONTRACT.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def write() -> None:
    """Bring the document up to date."""
    before, begin, rest = CONTRACT.read_text(encoding="utf-8").partition(BEGIN)
    CONTRACT.write_text(f"{before}{begin}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    write() if "--write" in sys.argv else print(table())
