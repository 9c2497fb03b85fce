"""What a method of an estimator will compute, read of it before every call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from blockfuse.frontends.sklearn.rules.table import METHODS, RULES, Estimator, Node, NoRuleError, Rule

# What an instance must not have of its own: it would run instead of the class's method.
SHADOWS = frozenset({*METHODS, "get_support", "_sklearn_output_config"})

_known: dict[type, Rule] = {}  # class -> its row


def read(estimator: Estimator, arrays: list[Any]) -> Node:
    """What a program for ``estimator`` is made for; its arrays are appended to ``arrays``.

    Raises NoRuleError where there is no rule, AttributeError and the like where the estimator is not fitted.
    """
    row = _known.get(type(estimator)) or rule_of(estimator)
    own = estimator.__dict__
    if not own.keys().isdisjoint(SHADOWS):
        _refuse_shadows(own)
    begin = len(arrays)
    config = row.read(estimator, arrays)
    return (row, config, begin, len(arrays), own.get("n_features_in_"), "feature_names_in_" in own)


def rule_of(estimator: Estimator) -> Rule:
    """The row for the very class of ``estimator``: a class derived from it may compute something else."""
    kind = type(estimator)
    row = RULES.get(kind.__name__)
    if row is None or getattr(sys.modules.get(_public(kind)), kind.__name__, None) is not kind:
        raise NoRuleError(f"there is no rule for the class {kind.__module__}.{kind.__qualname__}")
    _known[kind] = row
    return row


def _public(kind: type) -> str:
    """The module of scikit-learn that offers a class: `sklearn.svm` for `sklearn.svm._classes`."""
    return ".".join(kind.__module__.split(".")[:2]) if kind.__module__.startswith("sklearn.") else ""


def _refuse_shadows(own: dict[str, Any]) -> None:
    for name in SHADOWS & own.keys():
        if name == "_sklearn_output_config":
            if own[name].get("transform", "default") not in (None, "default"):
                raise NoRuleError("set_output asks for other results than arrays")
        else:
            raise NoRuleError(f"the object has a {name} of its own")


def lacking(estimator: Estimator, place: str = "") -> Iterator[str]:
    """Why parts of ``estimator``, or methods of it, run in scikit-learn."""
    try:
        row = rule_of(estimator)
        parts = [reason for name, part in row.parts(estimator) for reason in lacking(part, f"{place}{name}.")]
        yield from parts
        if not parts:
            node = read(estimator, [])
            yield from _methods_lacking(estimator, node, place)
    except NoRuleError as refusal:
        yield f"{_called(estimator, place)}: {refusal}"
    except (AttributeError, KeyError, TypeError, ValueError):
        yield f"{_called(estimator, place)}: it is not fitted"


def _methods_lacking(estimator: Estimator, node: Node, place: str) -> Iterator[str]:
    row, config = node[:2]
    for name in METHODS if row.combine is None else ():
        if hasattr(estimator, name):
            method = row.methods.get(name)
            reason = "there is no rule for it" if method is None else method.refuses(config)
            if reason:
                yield f"{_called(estimator, place)}.{name}: {reason}"


def _called(estimator: Estimator, place: str) -> str:
    return f"{place}{type(estimator).__name__}"
