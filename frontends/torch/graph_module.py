"""A graph of ``torch.fx`` as Dynamo makes them, read into a plain module whose forward is its code.

What a caller could tell apart is left to torch, as ``GraphOfTorch.problem`` says: results that lie in the memory of an
argument or of each other, functions that do more than compute with tensors (autocast, ``vmap``, gradients, ``torch.cond``).
Switches of grad mode are left out where the mode is the same before and after: when a program runs, nothing requires
gradients.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.overrides import get_overridable_functions

from blockfuse.frontends.torch.names import name_of
from blockfuse.frontends.torch.tensor_layout import DTYPES

_switch = torch._C._set_grad_enabled
_STATIC = "_dynamo_static_input_type"  # Dynamo's mark of parameters and buffers
_MAKERS = ("arange", "empty", "eye", "full", "linspace", "ones", "scalar_tensor", "tensor", "zeros")


def _known_functions() -> frozenset[Any]:
    """Those that compute with tensors and do nothing else that would be left out of a program."""
    seen = (f for functions in get_overridable_functions().values() for f in functions)
    return frozenset((*seen, *(getattr(torch, name) for name in _MAKERS)))


_KNOWN = _known_functions()


def _nothing() -> None:
    """The code of a graph that torch runs."""


@dataclass(frozen=True)
class GraphOfTorch:
    """A graph. problem: why torch must run it, or empty."""

    name: str  # of the function it is of, and where that is
    problem: str
    weights: tuple[int, ...] = ()  # which arguments are parameters and buffers
    inputs: tuple[int, ...] = ()  # which others are used
    code: Callable[..., Any] = _nothing  # the forward of a module with them
    names: tuple[str, ...] = ()  # of the weights in it
    constants: tuple[tuple[str, torch.Tensor], ...] = ()  # tensors that it has besides
    orders: tuple[tuple[int, ...] | None, ...] = ()  # of the axes of each result in what the code gives

    def module(self, weights: Sequence[Any]) -> nn.Module:
        """A module with these weights."""
        made = type(self.code.__name__, (nn.Module,), {"forward": self.code})()
        for name, value in (*zip(self.names, weights, strict=True), *self.constants):
            setattr(made, name, value) if isinstance(value, nn.Parameter) else made.register_buffer(
                name, value
            )
        return made

    def finished(self, result: Any) -> tuple[torch.Tensor, ...]:
        """The results, laid out as torch's are."""
        if len(self.orders) == 1:
            result = (result,)
        return tuple(
            [x if order is None else x.permute(order) for x, order in zip(result, self.orders, strict=True)]
        )


def read(graph: fx.GraphModule) -> GraphOfTorch:
    """What to do with a graph."""
    place, problem = _place_of(graph), _problem(graph)
    return GraphOfTorch(str(place), problem) if problem else _as_module(graph, place)


# -- what torch must run -------------------------------------------------------------------------------------------


def _problem(graph: fx.GraphModule) -> str:
    found = map(_problem_of_node, graph.graph.nodes)
    inner = next(filter(None, found), "") or _problem_of_switches(graph) or _problem_of_results(graph)
    given = graph.graph.find_nodes(op="placeholder")
    return inner or ("" if any(map(_is_argument, given)) else "it takes nothing but weights")


def _problem_of_node(node: fx.Node) -> str:
    if node.op == "call_module":
        return f"it calls the module {node.target}"
    if node.op == "get_attr" and not isinstance(
        getattr(node.graph.owning_module, str(node.target), None), torch.Tensor
    ):
        return f"it has another graph in it, {node.target}"
    if node.op != "call_function" or node.target is _switch:
        return ""
    is_known = (
        node.target in _KNOWN
        or node.target is getattr
        or getattr(node.target, "__module__", "") == "_operator"
    )
    return "" if is_known else f"{name_of(node.target)} has no rule"


def _is_weight(node: fx.Node) -> bool:
    """Whether an input is a parameter, a buffer, or another tensor that a module holds."""
    return _STATIC in (node.meta.get("tensor_dict") or {})


def _is_argument(node: fx.Node) -> bool:
    return isinstance(node.meta.get("example_value"), torch.Tensor) and not _is_weight(node)


def _problem_of_switches(graph: fx.GraphModule) -> str:
    """Of grad mode, which Dynamo guards: the one of now is the one of each call."""
    modes = [node.args[0] for node in graph.graph.find_nodes(op="call_function", target=_switch)]
    now = torch.is_grad_enabled()
    if not modes or (modes[-1] if now else True not in modes):
        return ""
    return "it switches grad mode"


def _problem_of_results(graph: fx.GraphModule) -> str:
    results = _results(graph)
    examples = [node.meta.get("example_value") if isinstance(node, fx.Node) else None for node in results]
    if not results or not all(map(_is_plain, examples)):
        return "it gives something else than dense tensors in the processor's memory"
    if any(0 in _strides(x) for x in examples):
        return "it gives elements that are seen many times"
    given = [node.meta.get("example_value") for node in graph.graph.find_nodes(op="placeholder")]
    places = [x.untyped_storage()._cdata for x in (*examples, *filter(_is_plain, given))]
    if len({*places[: len(results)]}) < len(results) or {*places[: len(results)]} & {*places[len(results) :]}:
        return "a result lies in the memory of an argument, or of another result"
    return ""


def _is_plain(example: Any) -> bool:
    return (
        isinstance(example, torch.Tensor)
        and example.layout is torch.strided
        and example.device.type == "cpu"
        and example.dtype in DTYPES
    )


def _strides(example: torch.Tensor) -> list[int]:
    """Those of a tensor with the sizes of the first call, where sizes are open."""
    return [stride if isinstance(stride, int) else int(stride.node.hint) for stride in example.stride()]


def _results(graph: fx.GraphModule) -> tuple[Any, ...]:
    return tuple(next(iter(reversed(graph.graph.nodes))).args[0])


# -- as a module ---------------------------------------------------------------------------------------------------


def _as_module(graph: fx.GraphModule, place: _Place) -> GraphOfTorch:
    given = list(graph.graph.find_nodes(op="placeholder"))
    weights = tuple(n for n, node in enumerate(given) if _is_weight(node))
    inputs = tuple(n for n, node in enumerate(given) if n not in weights and node.users)
    orders = tuple(_order(node.meta["example_value"]) for node in _results(graph))
    code = fx.Graph()
    copies: dict[fx.Node, Any] = {given[n]: code.placeholder(f"x{n}") for n in inputs}
    copies |= {given[n]: code.get_attr(f"weight{n}") for n in weights}
    for node in graph.graph.nodes:
        if node.op not in ("placeholder", "output") and node.target is not _switch:
            copies[node] = code.node_copy(node, copies.__getitem__)
    results = [_in_order(copies[node], order) for node, order in zip(_results(graph), orders, strict=True)]
    code.output(results[0] if len(results) == 1 else tuple(results))
    names = tuple(f"weight{n}" for n in weights)
    held = {str(node.target) for node in graph.graph.find_nodes(op="get_attr")}
    constants = tuple((name, getattr(graph, name)) for name in sorted(held))
    back = tuple(order and tuple(map(order.index, range(len(order)))) for order in orders)
    return GraphOfTorch(str(place), "", weights, inputs, _function(code, place), names, constants, back)


def _order(example: torch.Tensor) -> tuple[int, ...] | None:
    """The axes of a result as they lie in memory; None where they do as they are."""
    strides = _strides(example)
    order = tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))
    return None if order == tuple(range(len(order))) else order


def _in_order(node: Any, order: tuple[int, ...] | None) -> Any:
    return node if order is None else node.graph.call_method("permute", (node, order))


def _function(code: fx.Graph, place: _Place) -> Callable[..., Any]:
    """The code as a function, whose lines are the user's, so that whatever names a line names those."""
    written = code.python_code("self")
    tree = ast.parse(written.src.strip())
    (forward,) = (one for one in tree.body if isinstance(one, ast.FunctionDef))
    lines = {node.name: place.line_of(node) for node in code.nodes}
    line = place.line
    for statement in forward.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            line = lines.get(statement.targets[0].id) or line
        for part in ast.walk(statement):
            if isinstance(part, ast.stmt | ast.expr):
                part.lineno = part.end_lineno = line
    names = dict(written.globals)
    exec(compile(tree, place.file, "exec"), names)
    function: types.FunctionType = names["forward"]
    function.__name__ = place.function
    return function


# -- where it comes from -------------------------------------------------------------------------------------------

_FRAME = re.compile(r'File "(.+)", line (\d+), in (.+)')
_TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class _Place:
    """Where the function of a graph is written."""

    file: str = "<graph>"
    line: int = 1
    function: str = "graph"

    def line_of(self, node: fx.Node) -> int:
        """The innermost line of this file that a node comes from; 0 where there is none."""
        found = [line for file, line, _ in _frames(node) if file == self.file]
        return found[-1] if found else 0

    def __str__(self) -> str:
        return f"{self.function} ({Path(self.file).name}:{self.line})"


def _place_of(graph: fx.GraphModule) -> _Place:
    return next((_Place(*frame) for node in graph.graph.nodes for frame in _frames(node)), _Place())


def _frames(node: fx.Node) -> list[tuple[str, int, str]]:
    """Those of the user's, the outermost first."""
    found = _FRAME.findall(node.meta.get("stack_trace") or "")
    return [(file, int(line), name) for file, line, name in found if not file.startswith(_TORCH)]
