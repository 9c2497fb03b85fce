"""``torch.compile(backend="blockfuse")``: graphs that Dynamo captured, compiled as modules of torch are.

NOTE [graphs of Dynamo]
Dynamo reads the byte code of a function, and hands over what it does with tensors as straight code: a graph, whose inputs
are arguments, but also parameters, buffers and sizes. It guards everything else. Here a graph becomes a module with
parameters and buffers as attributes, whose forward is that code; from there on it is a module like others: recorded while
torch runs it, by the same rules, with the same checks (``following.py``, ``torch_net.py``). Dynamo does not guard which
tensors the parameters are, as modules of one class share graphs; so there is a net for each set of them.
"""

from __future__ import annotations

import operator
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from blockfuse.frontends.torch.graph_module import GraphOfTorch, read
from blockfuse.frontends.torch.torch_net import WEIGHTS, TorchNet
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.options import Options
from blockfuse.runtime.explanation import Explanation

SETS = 8  # of weights for which a graph has nets at one time
IDLE = 64  # calls of a graph, after which a set that none of them used may go
_GRADIENTS = "gradients are recorded: call it under torch.no_grad(), or let nothing require them"
_MANY = f"it is called with more than {SETS} sets of weights in turn"

_is_grad_enabled, _switch = torch.is_grad_enabled, torch._C._set_grad_enabled
_graphs: list[weakref.ref[CompiledGraph]] = []  # the oldest first
_lock = threading.Lock()


def backend(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],  # noqa: ARG001 - the graph has them, too
    *,
    options: dict[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """What ``torch.compile(backend="blockfuse")`` calls with each graph.

    graph, example_inputs: a module of FX operators, and tensors of the kinds that it will be called with, as torch gives
    them.
    options: those of ``Block.hybridize``, and ``weights``, as ``blockfuse.compile`` has it.

    Raises UsageError for a ``mode``, which is a word of another backend.

    >>> import torch
    >>> import blockfuse
    >>> module = torch.compile(torch.nn.Linear(3, 2), backend=blockfuse.torch.backend, options={"threads": 1})
    >>> with torch.no_grad():
    ...     module(torch.ones(1, 3)).shape
    torch.Size([1, 2])
    """
    if mode not in (None, "default"):
        raise UsageError(
            f"mode={mode!r} is a word of another backend: leave it out, or give options={{...}} as hybridize has them"
        )
    given = dict(options or {})
    weights = given.pop("weights", "live")
    if weights not in WEIGHTS:
        raise UsageError(f"weights={weights!r}; there are {', '.join(map(repr, WEIGHTS))}")
    Options.read(given)
    found = CompiledGraph(graph, weights, given)
    with _lock:
        _graphs[:] = [one for one in _graphs if one() is not None]
        _graphs.append(weakref.ref(found))
    return found.__call__


def explain() -> str:
    """What became of each graph that ``torch.compile(backend="blockfuse")`` handed over, the oldest first.

    >>> import torch
    >>> import blockfuse
    >>> module = torch.compile(torch.nn.Tanh(), backend=blockfuse.torch.backend, options={"threads": 1})
    >>> y, y = module(torch.ones(3)), module(torch.ones(3))
    >>> "(float32[3]): compiled" in blockfuse.torch.explain()
    True
    """
    found = [graph for one in list(_graphs) if (graph := one()) is not None]
    return Explanation("\n".join(f"graph {n}: {graph.explain()}" for n, graph in enumerate(found, 1)))


class _Net:
    """A net for one set of weights. used: the number of the last call."""

    def __init__(self, weights: tuple[Any, ...], net: TorchNet) -> None:
        self.weights, self.net, self.used = weights, net, 0


class CompiledGraph:
    """A graph of Dynamo's, called as the graph is: with weights, sizes and arguments by position; gives a tuple."""

    def __init__(self, graph: fx.GraphModule, weights: str, options: dict[str, Any]) -> None:
        self._in_torch: Counter[str] = Counter()  # why calls ran in torch -> how often
        self._run = graph.forward
        self._kind, self._options = weights, options
        self._graph: GraphOfTorch = read(graph)
        self._nets: list[_Net] = []
        self._calls = 0
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> Any:
        """What the graph gives."""
        if self._graph.problem:
            return self._by_torch(self._graph.problem, args)
        if not _is_grad_enabled():
            return self._computed(args)
        if any(type(value) is not int and getattr(value, "requires_grad", False) for value in args):
            return self._by_torch(_GRADIENTS, args)
        with _without_gradients():
            return self._computed(args)

    def _by_torch(self, why: str, args: tuple[Any, ...]) -> Any:
        self._in_torch[why] += 1
        return self._run(*args)

    def _computed(self, args: tuple[Any, ...]) -> Any:
        net = self._net_of(tuple([args[n] for n in self._graph.weights]))
        if net is None:
            return self._by_torch(_MANY, args)
        return self._graph.finished(net(*[args[n] for n in self._graph.inputs]))

    def _net_of(self, weights: tuple[Any, ...]) -> TorchNet | None:
        """That with these weights, made now if there is room for one more."""
        self._calls += 1
        for known in self._nets:
            if all(map(operator.is_, known.weights, weights)):
                known.used = self._calls
                return known.net
        with self._lock:
            idle = [known for known in self._nets if self._calls - known.used > IDLE]
            if len(self._nets) >= SETS and not idle:
                return None
            kept = [known for known in self._nets if len(self._nets) < SETS or known is not idle[0]]
            made = _Net(weights, TorchNet(self._graph.module(weights), self._kind, self._options))
            made.used, self._nets = self._calls, [*kept, made]
            return made.net

    def explain(self) -> str:
        """What was compiled, what runs in torch, and why."""
        found = [str(known.net.explain()) for known in self._nets]
        ran = [f"{count} calls ran in torch: {why}" for why, count in self._in_torch.items()]
        return "\n".join([self._graph.name, *found, *ran])


@contextmanager
def _without_gradients() -> Iterator[None]:
    """As nothing requires any, the results are the same; native code takes such calls."""
    _switch(False)
    try:
        yield
    finally:
        _switch(True)
