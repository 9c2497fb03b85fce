"""An estimator of scikit-learn whose methods are compiled."""

from __future__ import annotations

from typing import Any

from blockfuse.frontends.sklearn import composites, reading, rules
from blockfuse.frontends.sklearn.method import CompiledMethod
from blockfuse.frontends.sklearn.rules.table import METHODS, Estimator
from blockfuse.runtime.calls.options import OPTIONS
from blockfuse.runtime.explanation import Explanation

assert "Pipeline" in rules.RULES, f"importing {composites.__name__} completes the table"


def lacking(estimator: Estimator) -> tuple[str, ...]:
    """What runs in scikit-learn, and why."""
    return tuple(reading.lacking(_checked(estimator)))


def compiled(estimator: Estimator, options: dict[str, Any]) -> CompiledEstimator:
    """The estimator with compiled methods."""
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"compile() has no option {name!r}; it has {', '.join(OPTIONS)}")
    return CompiledEstimator(_checked(estimator), options)


def _checked(estimator: Estimator) -> Estimator:
    if not any(
        callable(getattr(type(estimator), name, None)) or hasattr(estimator, name) for name in METHODS
    ):
        raise TypeError(f"a {type(estimator).__name__} has none of the methods {', '.join(METHODS)}")
    return estimator


class CompiledEstimator:
    """An estimator, or a pipeline, whose ``predict``, ``predict_proba``, ``predict_log_proba``, ``decision_function`` and
    ``transform`` run in compiled programs.

    Results and errors are scikit-learn's, values to rounding (1e-12 of float64). All else, attributes and ``fit`` among
    it, is the estimator's own: a refit, however it comes about, is seen by the next call. What the estimator does not
    have, neither has this.
    """

    _estimator: Estimator
    _options: dict[str, Any]

    def __init__(self, estimator: Estimator, options: dict[str, Any]) -> None:
        self.__dict__.update(_estimator=estimator, _options=options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and not name.startswith("__sklearn"):
            raise AttributeError(name)
        found = getattr(self._estimator, name)
        if name in METHODS:
            found = self.__dict__[name] = CompiledMethod(self._estimator, name, self._options)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._estimator, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._estimator, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledEstimator, (self._estimator, self._options)

    def __repr__(self) -> str:
        return f"compiled({self._estimator!r})"

    def explain(self) -> str:
        """What was compiled of each method that was called, and what ran in scikit-learn, and why."""
        methods = [self.__dict__[name] for name in METHODS if name in self.__dict__]
        return Explanation("\n".join(method.explain() for method in methods) or "nothing was called yet")
