"""A method of an estimator, compiled: what happens between an array of the caller's and its program."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy

from blockfuse.frontends.sklearn.checking import agrees
from blockfuse.frontends.sklearn.frames import TAKEN, check_names, converted
from blockfuse.frontends.sklearn.plan import Plan
from blockfuse.frontends.sklearn.reading import read
from blockfuse.frontends.sklearn.rules.table import Estimator, Node, NoRuleError
from blockfuse.ir.errors import CompilerWarning
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.explanation import Explanation

PLANS = 16  # kept of one method: what it was called with in turn
DIFFERS = "scikit-learn computes something else here than the rule says"


class CompiledMethod:
    """A method of an estimator, which computes in a program what it can, and leaves all else to scikit-learn.

    Every call reads the estimator as it is then. What scikit-learn would refuse (nan, other features) and what
    has no rule is its own to answer.
    """

    def __init__(self, estimator: Estimator, name: str, options: dict[str, Any]) -> None:
        self._estimator, self._name, self._options = estimator, name, options
        self._plan: Plan | None = None  # that of the last call
        self._plans: list[Plan] = []
        self._refusals: Counter[str] = Counter()  # reason -> calls that ran in scikit-learn

    def __call__(self, X: Any, *args: Any, **params: Any) -> Any:
        """As the method of the estimator."""
        try:
            if args or params:
                raise NoRuleError("it was called with more than X")
            return self._computed(X)
        except NoRuleError as refusal:
            self._refusals[str(refusal)] += 1
        except Exception as error:  # most often scikit-learn refuses the call as well: it has the word
            if came_from_handler(error):
                raise
            return self._after(error, X)
        return self._in_sklearn(X, args, params)

    def _computed(self, X: Any) -> Any:
        arrays: list[Any] = []
        node = read(self._estimator, arrays)
        x = X if type(X) is numpy.ndarray else converted(self._estimator, X)
        plan = self._plan
        if plan is None or plan.node != node or plan.kind is not getattr(x, "dtype", None):
            plan = self._planned(node, x, arrays)
        result = plan(self._estimator, x, arrays) if plan.proven else self._proven(plan, X, x, arrays)
        if plan.named and x is X:
            check_names(self._estimator, X)
        return result

    def _planned(self, node: Node, x: Any, arrays: list[Any]) -> Plan:
        """The plan for what was read."""
        kind = getattr(x, "dtype", None)
        plan = next((plan for plan in self._plans if plan.node == node and plan.kind == kind), None)
        if plan is None:
            _check(x, arrays)
            plan = Plan(node, self._name, kind, arrays, self._options)
            self._plans = [*self._plans[1 - PLANS :], plan]
        self._plan = plan
        return plan

    def _proven(self, plan: Plan, X: Any, x: Any, arrays: list[Any]) -> Any:
        """The first result of a plan, held against scikit-learn's."""
        if plan.wrong:
            raise NoRuleError(DIFFERS)
        result = plan(self._estimator, x, arrays)
        narrow = any(part.dtype == "float32" for part in (x if type(x) is tuple else (x,)))
        if self._options.get("check", True) and not agrees(self._estimator, self._name, X, result, narrow):
            plan.wrong = True
            self._warn(f"{DIFFERS}; it computes such calls from now on")
            raise NoRuleError(DIFFERS)
        plan.proven = True
        return result

    def _after(self, error: Exception, X: Any) -> Any:
        result = self._in_sklearn(X, (), {})
        reason = f"{type(error).__name__}: {error}"
        if not self._refusals[reason]:
            self._warn(f"scikit-learn computed what failed here with {reason}")
        self._refusals[reason] += 1
        return result

    def _in_sklearn(self, X: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        return getattr(self._estimator, self._name)(X, *args, **params)

    def _warn(self, what: str) -> None:
        warnings.warn(f"{self._title()}: {what}", CompilerWarning, stacklevel=5)

    def _title(self) -> str:
        return f"{type(self._estimator).__name__}.{self._name}"

    def explain(self) -> str:
        """What was compiled, and why calls ran in scikit-learn."""
        programs = [plan.program.explain() for plan in self._plans]
        reasons = [f"{count} calls in scikit-learn: {reason}" for reason, count in self._refusals.items()]
        return Explanation("\n".join([self._title(), *programs, *reasons]))


def _check(x: Any, arrays: list[Any]) -> None:
    """That a program can be made; calls with another kind of array make another plan, or fail as they do here."""
    if not all(part.dtype in TAKEN for part in (x if type(x) is tuple else (x,))):
        raise NoRuleError("X has an unusual dtype")
    if not all(type(array) is numpy.ndarray and array.dtype.kind in "fiu" for array in arrays):
        raise NoRuleError("what was fitted is no plain array")
