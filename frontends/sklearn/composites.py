"""Rules for what is made of other estimators: pipelines, unions, columns that go different ways."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np
from blockfuse.frontends.sklearn.programs import step_of
from blockfuse.frontends.sklearn.reading import read
from blockfuse.frontends.sklearn.rules.projections import columns
from blockfuse.frontends.sklearn.rules.table import ALL, Arrays, Estimator, Node, NoRuleError, Step, rule


def _left_out(step: Estimator) -> bool:
    return step is None or type(step) is str


def steps_of(pipeline: Estimator) -> list[tuple[str, Estimator]]:
    """The steps that do something."""
    return [(name, step) for name, step in pipeline.steps if not _left_out(step)]


def _chained(node: Node, method: str) -> Step:
    """Each step after the other; the last one is asked for the method."""
    *transforms, last = node[1][0]
    steps = [*(step_of(child, "transform") for child in transforms), step_of(last, method)]

    def chained(x: Any, arrays: Arrays, flags: list[Any]) -> Any:
        for step in steps:
            x = step(x, arrays, flags)
        return x

    return chained


@rule("Pipeline", "as it is", {}, combine=_chained, parts=steps_of, entered=1)
def _pipeline(pipeline: Estimator, arrays: list[Any]) -> tuple[Any, ...]:
    nodes = tuple([read(step, arrays) for _, step in pipeline.steps if not _left_out(step)])
    if not nodes or _left_out(pipeline.steps[-1][1]):
        raise NoRuleError("the last step does nothing")
    return nodes, ()


def _united(node: Node, method: str) -> Step:
    """All of the same features, side by side."""
    parts = [(_only_transforms(child, method), weight) for child, weight in zip(*node[1], strict=True)]

    def united(x: Any, arrays: Arrays, flags: list[Any]) -> Any:
        return np.concatenate([_weighted(step(x, arrays, flags), weight) for step, weight in parts], axis=1)

    return united


def _only_transforms(node: Node, method: str) -> Step:
    if method != "transform":
        raise NoRuleError(f"it has no {method}")
    return step_of(node, method)


def _weighted(x: Any, weight: float | None) -> Any:
    return x if weight is None else x * weight


@rule(
    "FeatureUnion",
    "as it is",
    {},
    combine=_united,
    parts=lambda union: [part for part in union.transformer_list if not isinstance(part[1], str)],
    entered=ALL,
)
def _union(union: Estimator, arrays: list[Any]) -> tuple[Any, ...]:
    weights = union.transformer_weights or {}
    kept = [(name, part) for name, part in union.transformer_list if not isinstance(part, str)]
    if any(part == "passthrough" for _, part in union.transformer_list if isinstance(part, str)):
        raise NoRuleError("passthrough in a union")
    if not kept:
        raise NoRuleError("it has no parts")
    return tuple([read(part, arrays) for _, part in kept]), tuple([weights.get(name) for name, _ in kept])


def _by_columns(node: Node, method: str) -> Step:
    """Parts of the features side by side; of a data frame each part comes as an array of its own."""
    parts = [
        (_only_transforms(child, method), picked, weight)
        for child, (picked, weight) in zip(*node[1], strict=True)
    ]

    def by_columns(x: Any, arrays: Arrays, flags: list[Any]) -> Any:
        given = x if isinstance(x, tuple) else [columns(x, picked) for _, picked, _ in parts]
        return np.concatenate(
            [
                _weighted(step(part, arrays, flags), weight)
                for part, (step, _, weight) in zip(given, parts, strict=True)
            ],
            axis=1,
        )

    return by_columns


def used_parts(transformer: Estimator) -> list[tuple[str, Estimator, tuple[int, ...]]]:
    """The fitted parts that get columns, with the places of these."""
    places = transformer._transformer_to_input_indices
    return [
        (name, part, tuple(places[name]))
        for name, part, _ in transformer.transformers_
        if not isinstance(part, str) and len(places[name])
    ]


@rule(
    "ColumnTransformer",
    "as it is",
    {},
    combine=_by_columns,
    parts=lambda transformer: [(name, part) for name, part, _ in used_parts(transformer)],
)
def _columns(transformer: Estimator, arrays: list[Any]) -> tuple[Any, ...]:
    if transformer.sparse_output_:
        raise NoRuleError("its result is sparse")
    weights = transformer.transformer_weights or {}
    parts = used_parts(transformer)
    if not parts or any(isinstance(chosen, str | int) for _, _, chosen in transformer.transformers_):
        raise NoRuleError("it has no parts, or one that gets a single column with one axis")
    if any(part == "passthrough" for _, part, _ in transformer.transformers_ if isinstance(part, str)):
        raise NoRuleError("passthrough that was not made a transformer")
    extras = tuple([(places, weights.get(name)) for name, _, places in parts])
    return tuple([read(part, arrays) for _, part, _ in parts]), extras


@rule("FunctionTransformer", "unchecked", {"transform": lambda x, config, arrays: x})
def _nothing(transformer: Estimator, arrays: list[Any]) -> None:
    if transformer.func is not None or transformer.validate:
        raise NoRuleError("it calls a function of the user's, or validates")
