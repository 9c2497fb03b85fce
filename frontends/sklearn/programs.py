"""The program of a method: what its estimators compute, one after the other, with a flag for each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.array import np
from blockfuse.frontends.sklearn.rules.table import Arrays, Finish, Node, NoRuleError, Rule, Step
from blockfuse.frontends.sklearn.rules.values import has_width
from blockfuse.runtime.calls.function import HybridFunction, hybridize


def program(node: Node, method: str, options: dict[str, Any]) -> HybridFunction:
    """A hybridized function of x and the arrays of ``node``: the result, and whether each sample is one to compute with."""
    step = step_of(node, method)

    def computed(x: Any, *arrays: Any) -> tuple[Any, Any]:
        flags: list[Any] = []
        value = step(x, arrays, flags)
        return value, _all(flags)

    computed.__name__ = computed.__qualname__ = method
    return hybridize(computed, **options)


def _all(flags: list[Any]) -> Any:
    if not flags:
        raise NoRuleError("nothing is computed")
    result = flags[0]
    for flag in flags[1:]:
        result = result & flag
    return result


def step_of(node: Node, method: str) -> Step:
    """What ``node`` computes for ``method``; raises NoRuleError."""
    rule: Rule = node[0]
    return _leaf(node, method) if rule.combine is None else rule.combine(node, method)


def _leaf(node: Node, method: str) -> Step:
    rule, config, begin, end, width, _ = node
    row = rule.methods.get(method)
    reason = f"there is no rule for its {method}" if row is None else row.refuses(config)
    if row is None or reason:
        raise NoRuleError(reason)
    compute, validate = row.compute, VALIDATIONS[rule.dtype]
    acceptable = _no_infinity if rule.missing else np.isfinite

    def step(x: Any, arrays: Arrays, flags: list[Any]) -> Any:
        if validate is not None:
            if not has_width(x, width):
                raise NoRuleError(f"it takes {width} features")
            x = validate(x)
            flags.append(np.all(acceptable(x), axis=1))
        return compute(x, config, arrays[begin:end])

    return step


def _no_infinity(x: Any) -> Any:
    return np.isfinite(x) | np.isnan(x)


def _floating(x: Any) -> Any:
    return x if x.dtype.kind == "f" else x.astype("float64")


def _double(x: Any) -> Any:
    return x if x.dtype == "float64" else x.astype("float64")


def _double_only(x: Any) -> Any:
    if x.dtype == "float32":
        raise NoRuleError("it takes no float32")
    return _double(x)


# what a row of the table says of dtypes -> what becomes of x
VALIDATIONS: dict[str, Callable[[Any], Any] | None] = {
    "float": _floating,
    "double": _double,
    "double only": _double_only,
    "any": lambda x: x,
    "as it is": lambda x: x,
    "unchecked": None,
}


def finish_of(node: Node, method: str) -> Finish | None:
    """What is left to do with a result."""
    rule, config = node[:2]
    if rule.combine is not None:
        return finish_of(config[0][-1], method) if method != "transform" else None
    finish: Finish | None = rule.methods[method].finish
    return finish


def leaves(node: Node) -> list[Node]:
    """What was read of the estimators that are not made of others."""
    rule, config = node[:2]
    return [node] if rule.combine is None else [leaf for child in config[0] for leaf in leaves(child)]


def entries(node: Node) -> list[Node]:
    """What was read of the estimators that look at x as it came."""
    rule, config = node[:2]
    entered = config[0][: rule.entered] if rule.combine is not None else ()
    return [entry for child in entered for entry in entries(child)] or [node]
