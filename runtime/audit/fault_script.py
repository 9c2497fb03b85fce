"""A script that shows a fault of the compiler: one operator with what it needs, compiled, and what it should give."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy

from blockfuse.ir.graph import Node, constant, graph_of, parameter
from blockfuse.runtime import config

MAX_INLINE_SIZE = 1  # constants of more elements stand in the file of values

_SCRIPT = '''\
"""{title}

Written by a check of blockfuse. Fails as long as the compiled operators differ from what the eager call gave.
"""

from pathlib import Path

import numpy

import blockfuse
from blockfuse import np
from blockfuse.ir.operator import TABLE
from blockfuse.runtime.audit.rounding import distance

with numpy.load(Path(__file__).with_suffix(".npz")) as stored:
    VALUES = dict(stored)
{loads}

def computed({arguments}):
{body}


compiled = blockfuse.hybridize(computed, check=False)
for _ in range(3):
    found = compiled({arguments}).asnumpy()
wanted = VALUES["wanted"]
print(compiled.explain())
difference = distance(found, wanted)
print(f"compiled and eager differ by up to {{difference:.3g}}")
raise SystemExit(difference > {limit!r})
'''


def written(
    name: str, node: Node, wanted: numpy.ndarray, limit: float, known: dict[Node, numpy.ndarray]
) -> str:
    """Write a script that computes ``node``, with its values beside it; a line that says where.

    known: the values of its leaves. limit: how far it may be off from what is ``wanted``.
    """
    values: dict[str, numpy.ndarray] = {"wanted": wanted}
    script = _script(f"{name}: {node.operator.name} differs.", node, values, limit, known)
    content = io.BytesIO()
    numpy.savez(content, allow_pickle=False, **values)
    digest = hashlib.sha256(script.encode() + content.getvalue()).hexdigest()[:12]
    path = config.cache_folder() / "faults" / f"{name}-{digest}.py"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path.with_suffix(".npz"), content.getvalue())
        _write(path, script.encode())
    except OSError as error:
        return f"  no script of it is written: {error}"
    return f"  to see it again, run {path} (its values are beside it, in {path.stem}.npz)"


def _write(path: Path, content: bytes) -> None:
    """Only for this user: arguments and parameters are nobody else's business."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)


def _script(
    title: str, node: Node, values: dict[str, numpy.ndarray], limit: float, known: dict[Node, numpy.ndarray]
) -> str:
    graph = graph_of((), [node])
    names: dict[Node, str] = {}
    given: list[str] = []
    body: list[str] = []
    for one in graph.nodes:
        if one.operator is constant and one.type.size <= MAX_INLINE_SIZE:
            names[one] = f"numpy.full({one.shape}, {_number(one.attrs['value'])}, {one.dtype.name!r})"
        elif one.is_leaf:
            kind = "c" if one.operator is constant else "x" if one.operator is not parameter else "p"
            names[one] = f"{kind}{len(values)}"
            values[names[one]] = one.attrs["value"] if one.operator is constant else known[one]
            if kind == "x":
                given.append(names[one])
        else:
            names[one] = f"v{len(body)}"
            operands = [names[o] for o in one.operands]
            attrs = [f"{key}={value!r}" for key, value in one.attrs.items()]
            source = f"  # {one.source}" if one.source else ""
            body.append(
                f'{names[one]} = TABLE["{one.operator.name}"]({", ".join([*operands, *attrs])}){source}'
            )
    body.append(f"return {names[node]}")
    return _SCRIPT.format(
        title=title,
        loads="".join(f'{n} = np.array(VALUES["{n}"])\n' for n in values if n != "wanted"),
        arguments=", ".join(given),
        body="\n".join(f"    {line}" for line in body),
        limit=limit,
    )


def _number(value: Any) -> str:
    text = repr(value.item() if value.size else 0)
    return f"float({text!r})" if text in ("nan", "inf", "-inf") else text
