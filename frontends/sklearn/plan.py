"""A program for what was read of an estimator, and what its calls must be."""

from __future__ import annotations

from typing import Any

import sklearn

from blockfuse.frontends.sklearn.programs import entries, finish_of, leaves, program
from blockfuse.frontends.sklearn.rules.table import Estimator, Node, NoRuleError

PAIRS = (
    2**24
)  # samples times rows that each is held against; more take memory that scikit-learn does not need


class Plan:
    """One program of a method; ``kind`` is the dtype of x, None where x comes in parts."""

    def __init__(
        self, node: Node, method: str, kind: Any, arrays: list[Any], options: dict[str, Any]
    ) -> None:
        entered = entries(node)
        self.node, self.kind = node, kind
        self.program = program(node, method, options)
        self.finish = finish_of(node, method)
        self.named = any(entry[5] for entry in entered)
        self.proven = self.wrong = False
        self._width: int = entered[0][4]
        self._rows = max((len(arrays[leaf[2]]) for leaf in leaves(node) if leaf[0].pairs), default=0)
        self._gives_features = method == "transform"

    def __call__(self, estimator: Estimator, x: Any, arrays: list[Any]) -> Any:
        """The result of the method; raises NoRuleError where scikit-learn must compute it."""
        samples = self._samples(x)
        if samples * self._rows > PAIRS:
            raise NoRuleError("so many samples at once take less memory in scikit-learn")
        if self._gives_features and sklearn.get_config()["transform_output"] != "default":
            raise NoRuleError("set_config asks for other results than arrays")
        value, finite = self.program(x, *arrays)
        if not (finite[0] if samples == 1 else finite.all()):
            raise NoRuleError("X has nan or infinities, or a step made some")
        return value if self.finish is None else self.finish(_last(estimator), value)

    def _samples(self, x: Any) -> int:
        """How many samples there are, with as many features as were fitted."""
        if self.kind is None:
            shapes = {part.shape[0] for part in x}
            if len(shapes) == 1 and 0 not in shapes:
                return int(shapes.pop())
        else:
            shape = x.shape
            if len(shape) == 2 and shape[1] == self._width and shape[0]:
                return int(shape[0])
        raise NoRuleError("X has no samples, or other features than were fitted")


def _last(estimator: Estimator) -> Estimator:
    """The estimator at the end of pipelines, whose classes labels are."""
    while type(estimator).__name__ == "Pipeline":
        estimator = estimator.steps[-1][1]
    return estimator
