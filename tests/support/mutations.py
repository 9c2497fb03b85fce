"""Mutants: the code generator with one stride, bound, order, type or condition of it broken.

A mutation changes one place in the body of a function. What decides how quick a program is, and nothing else, is left alone
(``ESTIMATES``), and so are messages, assertions and texts for people.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Path_ = tuple[tuple[str, int | None], ...]  # fields, and places in lists, from the module down to a node


@dataclass(frozen=True)
class Mutant:
    """``before`` in a function of a file reads ``after``; ``statement``: where the function comes to it."""

    file: str
    line: int
    function: str
    before: str
    after: str
    kind: str
    place: Path_
    statement: Path_
    number: int  # among the mutations of the same node

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.before} -> {self.after}"

    @property
    def without_line(self) -> str:
        return f"{self.file} {self.function}: {self.before} -> {self.after}"

    def tree(self) -> ast.Module:
        """The file, broken."""
        tree = ast.parse((ROOT / self.file).read_text(encoding="utf-8"))
        node, parent, _ = found_at(tree, self.place)
        _, new = list(mutations(node, parent))[self.number]
        return with_node(tree, self.place, new)


def files() -> list[str]:
    """What computes strides, masks, bounds, orders and types."""
    folders = ["ir/passes", "codegen", "codegen/kernels", "codegen/scheduling", "codegen/values"]
    native = [f"codegen/cpu/{name}" for name in ("intrinsics", "native", "process", "program", "source")]
    named = [
        ROOT / f"ir/{name}.py"
        for name in ("layout", "batch_items", "gathers", "granularity", "graph", "stream")
    ]
    found = [*named, *(path for folder in (*folders, *native) for path in (ROOT / folder).glob("*.py"))]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name not in _LEFT_OUT)


# No element goes through these: memory kept between calls, slots of CPython's types, offsets in its objects and in those of
# other libraries, keys of caches; estimates; and what kernels mean, which is a judge itself.
_LEFT_OUT = (
    "__init__.py",
    "cost.py",
    "allocator.py",
    "type_call_slot.py",
    "cpython.py",
    "dict_versions.py",
    "tensor_call.py",
    "tensor_call_ir.py",
    "tensor_fields.py",
    "tensor_result_ir.py",
    "store.py",
    "object_code.py",
    "meaning.py",
)

# What people read, and what only asserts.
_TEXT_FUNCTIONS = (
    "__post_init__",
    "__str__",
    "__repr__",
    "_step_lines",
    "_launch_text",
    "names_of",
    "_name",
    "_word",
    "key_text",
)

# Functions and variables that say how quick something is, or how long it pays: any value of theirs is right.
ESTIMATES = frozenset(
    {
        "work",
        "cost",
        "grain",
        "again",
        "conflicts",
        "best_cost",
        "_pays",
        "_fewest",
        "_worth_keeping",
        "waste",
    }
)


def equivalents() -> dict[str, str]:
    """A mutant of which nothing comes, as one line -> the reason."""
    lines = (Path(__file__).parent / "equivalents.txt").read_text(encoding="utf-8").splitlines()
    pairs = pairwise(lines)
    return {line: why.strip() for line, why in pairs if " -> " in line and why.startswith("    ")}


def mutants_of(file: str) -> list[Mutant]:
    """All mutants of one file, in the order of the source."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return [mutant for function in _functions(tree) for mutant in _in_function(file, tree, *function)]


def sample(count: int, seed: int, only: str = "") -> list[Mutant]:
    """So many mutants, the same for the same seed: one from each function, in a random order, then further ones.

    only: a part of the line that tells of a mutant.
    """
    pick = random.Random(seed)
    by_function: dict[tuple[str, str], list[Mutant]] = {}
    for file in files():
        for mutant in (m for m in mutants_of(file) if only in str(m)):
            by_function.setdefault((file, mutant.function), []).append(mutant)
    groups = list(by_function.values())
    pick.shuffle(groups)
    for group in groups:
        random.Random(f"{seed} {group[0].file} {group[0].function}").shuffle(group)
    rounds = range(max(map(len, groups)))
    return [group[n] for n in rounds for group in groups if n < len(group)][:count]


# -- where -----------------------------------------------------------------------------------------------------


def _functions(tree: ast.Module) -> Iterator[tuple[str, Path_, Any]]:
    """Name, place and node of the functions of modules and classes."""
    for path, node in _walk(tree, lambda n: not isinstance(n, ast.FunctionDef)):
        texts = isinstance(node, ast.FunctionDef) and node.name in _TEXT_FUNCTIONS
        if isinstance(node, ast.FunctionDef) and not texts and node.name not in ESTIMATES:
            outer = [found_at(tree, path[:n])[0] for n in range(len(path))]
            names = [*(n.name for n in outer if isinstance(n, ast.ClassDef)), node.name]
            if not any(name.lower().endswith("meaning") for name in names):  # a judge itself
                yield ".".join(names), path, node


def _in_function(
    file: str, tree: ast.Module, name: str, path: Path_, function: ast.FunctionDef
) -> Iterator[Mutant]:
    for below, node in _walk(function, _is_computed, start=path):
        if below == path or below[len(path)][0] != "body":
            continue
        _, parent, statement = found_at(tree, below)
        for number, (kind, new) in enumerate(mutations(node, parent)):
            line = getattr(node, "lineno", getattr(parent, "lineno", 0))
            yield Mutant(file, line, name, _text(node), _text(new), kind, below, statement, number)


def _is_computed(node: ast.AST) -> bool:
    """Whether to look below: not at what is only said, asserted or estimated."""
    if isinstance(node, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.arguments):
        return False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    if isinstance(node, ast.keyword) and node.arg in ("strict", *ESTIMATES):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return not any(isinstance(t, ast.Name) and t.id in ESTIMATES for t in targets)


def _walk(
    node: ast.AST, into: Callable[[ast.AST], bool], start: Path_ = (), top: bool = True
) -> Iterator[tuple[Path_, ast.AST]]:
    if not into(node) and not top:
        if isinstance(node, ast.FunctionDef):
            yield start, node
        return
    yield start, node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "ctx"):
            continue
        for number, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield from _walk(child, into, (*start, (field, number)), top=False)


def found_at(tree: ast.AST, path: Path_) -> tuple[Any, Any, Path_]:
    """The node at ``path``, its parent, and the place of the statement around it."""
    node, parent, statement = tree, None, ()
    for depth, (field, number) in enumerate(path, 1):
        child = getattr(node, field)
        node, parent = child if number is None else child[number], node
        if isinstance(node, ast.stmt):
            statement = path[:depth]
    return node, parent, statement


def with_node(tree: ast.Module, path: Path_, new: ast.AST) -> ast.Module:
    """The tree with another node in one place."""
    (*_, (field, number)) = path
    _, parent, _ = found_at(tree, path)
    if number is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[number] = new
    return ast.fix_missing_locations(tree)


def _text(node: ast.AST) -> str:
    """One line, the first of several."""
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}: ..."
    return ast.unparse(node).partition("\n")[0]


# -- what ------------------------------------------------------------------------------------------------------

Mutation = tuple[str, ast.AST]


def mutations(node: ast.AST, parent: ast.AST) -> Iterator[Mutation]:
    """Kind and replacement, for each way to break a node."""
    for kind, rows in _ROWS.items():
        if isinstance(node, kind):
            for row in rows:
                yield from ((row.__name__.strip("_"), new) for new in row(node, parent))


_OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any", "prod": "sum"}
_METHODS = {
    "add": "sub",
    "sub": "add",
    "mul": "add",
    "sdiv": "mul",
    "fadd": "fsub",
    "fsub": "fadd",
    "fmul": "fadd",
    "and_": "or_",
    "or_": "and_",
    "shl": "lshr",
    "lshr": "shl",
    "sext": "zext",
    "zext": "sext",
    "strides": "shape",
    "inputs": "outputs",
}
_TEXTS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "float32": "float64",
    "float64": "float32",
    "int64": "int32",
    "uint8": "uint16",
}
_PIECES = {
    " + ": " - ",
    " - ": " + ",
    " * ": " + ",
    " < ": " <= ",
    " >= ": " > ",
    " != ": " == ",
    "minimum": "maximum",
}


def _operator(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    texts = (ast.List, ast.Tuple, ast.JoinedStr, ast.ListComp, ast.Dict, ast.Set)
    listed = any(
        isinstance(n, texts)
        or (isinstance(n, ast.Constant) and isinstance(n.value, str))
        or (isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "indented")
        for n in (node.left, node.right)
    )
    if type(node.op) in _OPERATORS and not listed:  # a list less a list is no list: everything would see it
        yield _changed(node, op=_OPERATORS[type(node.op)]())


def _comparison(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    for place, op in enumerate(node.ops):
        if type(op) in _COMPARISONS:
            yield _changed(node, ops=[*node.ops[:place], _COMPARISONS[type(op)](), *node.ops[place + 1 :]])


def _dropped_not(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Not):
        yield node.operand


def _connective(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    yield _changed(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())


def _negated(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node.test, ast.Compare | ast.UnaryOp):  # those have mutants of their own
        yield _changed(node, test=ast.UnaryOp(ast.Not(), node.test))


def _kept_all(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    """A comprehension without one of its conditions."""
    for place in range(len(node.ifs)):
        yield _changed(node, ifs=[c for n, c in enumerate(node.ifs) if n != place])


def _constant(node: Any, parent: ast.AST) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, str) and isinstance(parent, ast.JoinedStr):
        for old, new in _PIECES.items():
            if old in value:
                yield ast.Constant(value.replace(old, new, 1))
    elif isinstance(value, str) and value in _TEXTS:
        yield ast.Constant(_TEXTS[value])


def _arguments(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    """Two neighbours among the arguments of a call change places."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in _SYMMETRIC:
        return
    for n, (a, b) in enumerate(zip(node.args, node.args[1:], strict=False)):
        if _exchangeable(a, b):
            yield _changed(node, args=[*node.args[:n], b, a, *node.args[n + 2 :]])


def _exchangeable(a: ast.expr, b: ast.expr) -> bool:
    return _role(a) == _role(b) != "" and ast.dump(a) != ast.dump(b)


def _role(node: ast.expr) -> str:
    """What is probably of one type where it is the same, and not empty."""
    match node:
        case ast.Starred(value=value):
            return f"*{_role(value)}"
        case ast.Name(id=name):
            return "" if name in _OBJECTS or not name.islower() else "name"
        case ast.Attribute(attr=name):
            return f".{name}"
        case ast.Call(func=function):
            return ast.unparse(function)
        case ast.Subscript(value=ast.Name(id=name)):
            return f"{name}[]"
        case ast.Constant(value=int()):
            return "number"
    return ""


_SYMMETRIC = ("add", "mul", "fadd", "fmul", "and_", "or_", "xor")

# Parameters of these names stand beside others of other types: a call that exchanges them fails whatever it is for.
_OBJECTS = (
    *(
        "self",
        "builder",
        "module",
        "machine",
        "plan",
        "graph",
        "body",
        "node",
        "kernel",
        "names",
        "schedule",
        "step",
    ),
    *("str", "int", "tuple", "list", "dict", "isinstance", "numpy", "function", "context", "table", "dtype"),
)


def _function(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in _FUNCTIONS:
        yield _changed(node, func=ast.Name(_FUNCTIONS[name], ast.Load()))
    if name == "reversed":
        yield _changed(node, func=ast.Name("list", ast.Load()))
    if name == "range":
        yield _changed(node, args=[*node.args[:1], *node.args[2:]] if len(node.args) == 3 else _shorter(node))
    if name == "tuple" and node.args:
        yield ast.Subscript(node, ast.Slice(None, None, ast.UnaryOp(ast.USub(), ast.Constant(1))), ast.Load())


def _shorter(node: Any) -> list[ast.expr]:
    return [*node.args[:-1], ast.BinOp(node.args[-1], ast.Sub(), ast.Constant(1))]


def _method(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    emits = ast.unparse(node.value).endswith("builder") or node.attr in ("strides", "inputs")
    if node.attr in _METHODS and isinstance(node.ctx, ast.Load) and emits:
        yield _changed(node, attr=_METHODS[node.attr])


def _tuple(node: Any, parent: ast.AST) -> Iterator[ast.AST]:
    """Without its last element, where it is not unpacked, or with two neighbours exchanged."""
    unpacked = isinstance(parent, ast.Assign) and any(isinstance(t, ast.Tuple) for t in parent.targets)
    if not isinstance(node.ctx, ast.Load) or len(node.elts) < 2:
        return
    if not unpacked:
        yield _changed(node, elts=node.elts[:-1])
    for n, (a, b) in enumerate(zip(node.elts, node.elts[1:], strict=False)):
        if _exchangeable(a, b):
            yield _changed(node, elts=[*node.elts[:n], b, a, *node.elts[n + 2 :]])


def _deleted(node: Any, _: ast.AST) -> Iterator[ast.AST]:
    """A call for its effect, a change of a variable, a way out: the function goes on without it."""
    guard = (
        isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], ast.Return | ast.Continue)
    )
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if guard or call or isinstance(node, ast.AugAssign | ast.Continue | ast.Break):
        yield ast.copy_location(ast.Pass(), node)


def _changed(node: ast.AST, **fields: Any) -> ast.AST:
    new = type(node)(**{**dict(ast.iter_fields(node)), **fields})
    return deepcopy(ast.copy_location(new, node))


_Row = Callable[[Any, ast.AST], Iterator[ast.AST]]
_ROWS: dict[type | tuple[type, ...], tuple[_Row, ...]] = {
    ast.BinOp: (_operator,),
    ast.Compare: (_comparison,),
    ast.UnaryOp: (_dropped_not,),
    ast.BoolOp: (_connective,),
    (ast.If, ast.IfExp, ast.While): (_negated,),
    ast.comprehension: (_kept_all,),
    ast.Constant: (_constant,),
    ast.Call: (_arguments, _function),
    ast.Attribute: (_method,),
    ast.Tuple: (_tuple,),
    ast.stmt: (_deleted,),
}
