"""The table of rules: what the methods of a scikit-learn class compute, in our arrays.

A rule reads of an estimator what its methods read: arrays, which become arguments of every call of the program, and a
configuration, which the program is made for. So nothing of an estimator is kept from one call to the next: what a refit or a
write changed is what the next call gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

Estimator = Any  # of scikit-learn
Config = Any  # what a program is made for: compared with ==
Arrays = tuple[Any, ...]  # what a rule read, as arrays of ours
Node = tuple[
    Any, ...
]  # what was read of one estimator: rule, configuration, its arrays' begin and end, width, named
Read = Callable[[Estimator, list[Any]], Config]  # appends arrays, and returns the configuration
Compute = Callable[[Any, Config, Arrays], Any]  # x, configuration, arrays -> the result
Finish = Callable[[Estimator, numpy.ndarray], Any]  # a result as the estimator's method gives it
Step = Callable[
    [Any, Arrays, list[Any]], Any
]  # x, all arrays, flags of finite rows to append to -> the result

ALL = 10**6  # of the parts
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")


class NoRuleError(Exception):
    """Why scikit-learn computes a call itself."""


@dataclass(frozen=True, eq=False)
class Method:
    """What a method of an estimator computes."""

    compute: Compute
    finish: Finish | None = None  # what is left to do outside of the program
    refuses: Callable[[Config], str | None] = lambda config: None  # why some configurations have no rule


@dataclass(frozen=True, eq=False)
class Rule:
    """One row: what a class of scikit-learn computes."""

    read: Read
    dtype: str  # what validation makes of x: "float" widens integers, "double" everything, "any" nothing
    methods: dict[str, Method]
    missing: bool = False  # whether nan is allowed in x
    pairs: bool = False  # whether it computes something for each sample and each row of its first array
    combine: Callable[[Node, str], Step] | None = (
        None  # of an estimator made of others: its step, for a method
    )
    parts: Callable[[Estimator], Iterable[tuple[str, Estimator]]] = (
        lambda estimator: ()
    )  # these others, by name
    entered: int = 0  # how many of them, from the first, get x as it came; none where it looks at x itself


RULES: dict[str, Rule] = {}  # name of a class -> its row


def rule(
    names: str,
    dtype: str,
    methods: Mapping[str, Method | Compute],
    *,
    missing: bool = False,
    pairs: bool = False,
    combine: Callable[[Node, str], Step] | None = None,
    parts: Callable[[Estimator], Iterable[tuple[str, Estimator]]] = lambda estimator: (),
    entered: int = 0,
) -> Callable[[Read], Read]:
    """Declare that the decorated function reads the classes ``names``, whose methods compute ``methods``."""
    rows = {name: row if isinstance(row, Method) else Method(row) for name, row in methods.items()}

    def declared(read: Read) -> Read:
        row = Rule(read, dtype, rows, missing, pairs, combine, parts, entered)
        RULES.update(dict.fromkeys(names.split(), row))
        return read

    return declared


def labels(estimator: Estimator, indices: numpy.ndarray) -> Any:
    """The classes at ``indices``, of whatever dtype they are."""
    return estimator.classes_.take(indices)
