"""Einstein's sums, ``"ij,jk->ik"``: every axis has a letter, and the operator is written with products and sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.contractions import matmul
from blockfuse.ir.operators.movement import get_item, reshape, transpose
from blockfuse.ir.operators.pointwise import cast
from blockfuse.ir.types import TensorType


def _einsum_type(*operands: TensorType, subscripts: str) -> TensorType:
    terms, output = _terms(subscripts)
    for term, x in zip(terms, operands, strict=True):
        if len(term) != x.ndim:
            raise ShapeError(f"einsum {subscripts!r}: {term!r} has {len(term)} letters, its operand is {x}")
    sizes = _sizes(terms, operands, subscripts)
    if len(set(output)) != len(output) or not set(output) <= set(sizes):
        raise ShapeError(
            f"einsum {subscripts!r}: the result needs each of its letters once, from the operands"
        )
    return TensorType(
        tuple(sizes[letter] for letter in output), numpy.result_type(*(x.dtype for x in operands))
    )


def _sizes(terms: list[str], operands: Sequence[Any], subscripts: str) -> dict[str, int]:
    """Letter -> its size; as in NumPy, an axis of size 1 goes with every size of its letter in other operands."""
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        own: dict[str, int] = {}
        for letter, n in zip(term, x.shape, strict=True):
            known = sizes.get(letter, n)
            if own.setdefault(letter, n) != n or (known != n and 1 not in (known, n)):
                raise ShapeError(f"einsum {subscripts!r}: {letter!r} is both {known} and {n}")
            sizes[letter] = n if known == 1 else known
    return sizes


def _terms(subscripts: str) -> tuple[list[str], str]:
    inputs, _, output = subscripts.partition("->")
    return inputs.split(","), output


def _einsum(*operands: Any, subscripts: str) -> Any:
    """Operands are folded into the first one from the left; letters that nobody needs any more are summed.

    All in the dtype of the result, as NumPy does: two of three operands may have a narrower one in common.
    """
    terms, output = _terms(subscripts)
    dtype = str(numpy.result_type(*(x.dtype for x in operands)))
    sizes = _sizes(terms, operands, subscripts)
    parts, terms = _without_ones([_as(x, dtype) for x in operands], terms, sizes)
    later = ["".join(terms[n + 1 :]) + output for n in range(len(terms))]
    x, term = _summed(*_on_diagonal(parts[0], terms[0]), later[0])
    for y, other, needed in zip(parts[1:], terms[1:], later[1:], strict=True):
        y, other = _summed(*_on_diagonal(y, other), term + needed)
        x, term = _contracted(x, term, y, other, needed)
        x, term = _summed(x, term, needed)
    ordered = transpose(x, axes=tuple(term.index(letter) for letter in output))
    return _as(ordered, dtype)


def _as(x: Any, dtype: str) -> Any:
    return x if str(x.dtype) == dtype else cast(x, dtype=dtype)


def _without_ones(
    operands: Sequence[Any], terms: list[str], sizes: dict[str, int]
) -> tuple[list[Any], list[str]]:
    """Axes of size 1 whose letter has another size elsewhere are dropped."""
    found = []
    for x, term in zip(operands, terms, strict=True):
        kept = [a for a, letter in enumerate(term) if x.shape[a] == sizes[letter]]
        shape = tuple(x.shape[a] for a in kept)
        found.append((x if len(kept) == x.ndim else reshape(x, shape=shape), "".join(term[a] for a in kept)))
    return [x for x, _ in found], [term for _, term in found]


def _on_diagonal(x: Any, term: str) -> tuple[Any, str]:
    """A letter that stands twice: only elements at equal places along both axes count."""
    double = next((letter for letter in term if term.count(letter) > 1), None)
    if double is None:
        return x, term
    first, second = term.index(double), term.rindex(double)
    rest = [a for a in range(x.ndim) if a not in (first, second)]
    n, shape = x.shape[first], tuple(x.shape[a] for a in rest)
    flat = reshape(transpose(x, axes=(first, second, *rest)), shape=(n * n, *shape))
    index = (("slice", 0, n * n, n + 1), *(("slice", 0, size, 1) for size in shape))
    return _on_diagonal(get_item(flat, index=index), double + "".join(term[a] for a in rest))


def _summed(x: Any, term: str, needed: str) -> tuple[Any, str]:
    axes = tuple(a for a, letter in enumerate(term) if letter not in needed)
    return (x.sum(axis=axes), "".join(c for c in term if c in needed)) if axes else (x, term)


def _contracted(x: Any, term: str, y: Any, other: str, needed: str) -> tuple[Any, str]:
    """One product of stacks of matrices (shared letters that are needed on stack, the others are summed)."""
    batch = [c for c in term if c in other and c in needed]
    inner = [c for c in term if c in other and c not in needed]
    left, right = [c for c in term if c not in other], [c for c in other if c not in term]
    sizes = dict(zip(term + other, (*x.shape, *y.shape), strict=True))
    stack = tuple(sizes[c] for c in batch)
    rows, depth, columns = (prod(sizes[c] for c in letters) for letters in (left, inner, right))
    flat_x = reshape(_arranged(x, term, batch + left + inner), shape=(*stack, rows, depth))
    flat_y = reshape(_arranged(y, other, batch + inner + right), shape=(*stack, depth, columns))
    product = matmul(flat_x, flat_y) if inner else flat_x * flat_y
    result = batch + left + right
    return reshape(product, shape=tuple(sizes[c] for c in result)), "".join(result)


def _arranged(x: Any, term: str, letters: list[str]) -> Any:
    return transpose(x, axes=tuple(term.index(c) for c in letters))


einsum = row(
    "einsum",
    lambda *operands, subscripts: numpy.asarray(numpy.einsum(subscripts, *operands)),
    Composite(_einsum),
    type_rule=_einsum_type,
    examples=(
        Example(((3, 4), (4, 5)), {"subscripts": "ij,jk->ik"}),
        Example(((2, 3, 4), (2, 5, 4)), {"subscripts": "bik,bjk->bji"}),
        Example(((3, 3, 2),), {"subscripts": "iij->j"}),
        Example(((3,), (4,), (3, 4)), {"subscripts": "i,j,ij->"}),
        Example(((3,), (4,)), {"subscripts": "i,j->ji"}),
        Example(((3, 3),), {"subscripts": "ii->i"}),
        Example(((2, 3, 4), (2, 1, 1)), {"subscripts": "bij,bkj->bik"}),
        Example(((1, 3), (3, 3), (4, 1)), {"subscripts": "ij,jj,ij->i"}),
    ),
)
