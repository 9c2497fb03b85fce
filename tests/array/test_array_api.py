"""The Python array API standard: names, signatures, promotion and what programs ask a namespace for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from blockfuse import np
from blockfuse.array import array_api
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError

# The functions of the standard (2024.12) that need no complex numbers, by their parameters: those before ``/`` have places
# and no names, those behind ``*`` are given by name. ``linalg`` before names: they are there.
SIGNATURES = """
abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan log log1p
log2 log10 logical_not negative positive real reciprocal round sign signbit sin sinh square sqrt tan tanh trunc:  x /
add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal floor_divide
greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum minimum multiply nextafter
not_equal pow remainder subtract matmul:  x1 x2 /
clip:  x / min max
arange:  start / stop step * dtype device
asarray:  obj / * dtype device copy
empty ones zeros:  shape * dtype device
empty_like ones_like zeros_like:  x / * dtype device
eye:  n_rows n_cols / * k dtype device
from_dlpack:  x / * device copy
full:  shape fill_value * dtype device
full_like:  x / fill_value * dtype device
linspace:  start stop / num * dtype device endpoint
meshgrid:  * indexing
tril triu:  x / * k
astype:  x dtype / * copy device
broadcast_to:  x / shape
can_cast:  from_ to /
isdtype:  dtype kind
take:  x indices / * axis
take_along_axis:  x indices / * axis
matrix_transpose nonzero unique_all unique_counts unique_inverse unique_values:  x /
tensordot:  x1 x2 / * axes
vecdot:  x1 x2 / * axis
concat stack:  arrays / * axis
expand_dims:  x / * axis
flip squeeze:  x / axis
moveaxis:  x source destination /
permute_dims:  x / axes
repeat:  x repeats / * axis
reshape:  x / shape * copy
roll:  x / shift * axis
tile:  x repetitions /
unstack:  x / * axis
argmax argmin count_nonzero max min mean all any:  x / * axis keepdims
searchsorted:  x1 x2 / * side sorter
where:  condition x1 x2 /
argsort sort:  x / * axis descending stable
cumulative_prod cumulative_sum:  x / * axis dtype include_initial
prod sum:  x / * axis dtype keepdims
std var:  x / * axis correction keepdims
diff:  x / * axis n prepend append
linalg cross vecdot:  x1 x2 / * axis
linalg det inv slogdet svdvals matrix_transpose eigvalsh:  x /
linalg cholesky:  x / * upper
linalg diagonal:  x / * offset
linalg trace:  x / * offset dtype
linalg eigh:  x /
linalg matmul outer solve:  x1 x2 /
linalg matrix_norm:  x / * keepdims ord
linalg matrix_power:  x n /
linalg matrix_rank pinv:  x / * rtol
linalg qr:  x / * mode
linalg svd:  x / * full_matrices
linalg tensordot:  x1 x2 / * axes
linalg vector_norm:  x / * axis keepdims ord
"""


def signatures() -> Iterator[tuple[str, str]]:
    """Names with their parameters. Names may go on in the next line."""
    for names, parameters in re.findall(r"([^:]+):  (.*)\n", SIGNATURES):
        submodule, first, *rest = ("", *names.split()) if "linalg" not in names else names.split()
        for name in (first, *rest):
            yield f"{submodule}.{name}".lstrip("."), parameters


@pytest.mark.parametrize("module", [np, array_api], ids=["np", "array_api"])
@pytest.mark.parametrize(("name", "parameters"), list(signatures()))
def test_signatures_are_those_of_the_standard(module: Any, name: str, parameters: str) -> None:
    function = module
    for part in name.split("."):
        function = getattr(function, part)
    found = list(inspect.signature(function).parameters.values())
    named = {p.name for p in found if p.kind is not p.POSITIONAL_ONLY}
    places = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    first, _, rest = parameters.rpartition("/") if "/" in parameters else ("", "", parameters)
    by_place, _, by_name = rest.partition("*")
    assert len(places) >= len(first.split()) or any(p.kind is p.VAR_POSITIONAL for p in found)
    assert set(by_place.split()) | set(by_name.split()) <= named


DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_dtypes_are_promoted_as_the_standard_says(dtype: str) -> None:
    x = ndarray(numpy.ones(3, dtype))
    for other in DTYPES[1:]:
        y = ndarray(numpy.ones(3, other))
        bits = max(numpy.dtype(d).itemsize + (d[0] == "u" and dtype[0] != other[0]) for d in (dtype, other))
        for found in (x + y, np.maximum(x, y), np.where(x == y, x, y), np.concat((x, y))):
            assert found.dtype == np.result_type(x, y)
            assert found.dtype.itemsize >= min(bits, 8)
    for number in (2, True) if dtype[0] != "f" else (2, 2.5):
        assert (x * number).dtype == (number * x).dtype == dtype


def test_whole_numbers_stay_whole_in_the_namespace_of_the_standard() -> None:
    xp = np.ones(2).__array_namespace__(api_version="2023.12")
    assert xp.asarray(1).dtype == xp.asarray([[1, 2], [3, True]]).dtype == xp.arange(3).dtype == "int64"
    assert xp.full((2,), 7).dtype == "int64"
    assert xp.full((2,), True).dtype == xp.asarray([True]).dtype == "bool"
    assert xp.asarray([1, 2.5]).dtype == xp.arange(0, 1, 0.5).dtype == xp.full(2, 1.0).dtype == "float32"
    assert xp.asarray([1], dtype=xp.uint8).dtype == "uint8"
    assert xp.asarray(numpy.arange(3, dtype="int16")).dtype == "int16"
    assert xp.arange(1, 7, 2).tolist() == [1, 3, 5]
    assert xp.sum is np.sum
    assert {"asarray", "linalg", "sum"} <= set(dir(xp))
    assert not hasattr(xp, "complex64")
    with pytest.raises(UsageError, match="1999"):
        np.ones(2).__array_namespace__(api_version="1999.01")


def test_a_namespace_tells_what_it_has() -> None:
    told = np.__array_namespace_info__()
    assert told.dtypes(kind="unsigned integer").keys() == {"uint8", "uint16", "uint32", "uint64"}
    assert told.dtypes(kind=("bool", "real floating")).keys() == {"bool", "float32", "float64"}
    assert told.dtypes(kind="complex floating") == {}
    assert told.dtypes().keys() == set(DTYPES)
    with pytest.raises(ValueError, match="real floating"):
        told.dtypes(kind="nonsense")
    assert told.default_dtypes() == {"real floating": "float32", "integral": "int64", "indexing": "int64"}
    x = np.zeros(2, device=told.default_device())
    assert x.device in told.devices()
    assert x.to_device(x.device) is x
    assert told.capabilities()["max dimensions"] >= 32


def test_copies_are_made_when_asked_for() -> None:
    x = np.ones(3)
    assert np.asarray(x, copy=False) is x
    assert not np.shares_memory(np.asarray(x, copy=True), x)
    assert not np.shares_memory(np.reshape(x, (3, 1), copy=True), x)
    for values in ([1.0], numpy.ones(2, ">f4")):
        with pytest.raises(ValueError, match="copy=False"):
            np.asarray(values, copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(x, "float64", copy=False)
    assert np.astype(x, "float32", copy=False) is x


def test_arrays_of_other_libraries() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.arange(3.0)
    shared = np.from_dlpack(theirs)
    theirs[0] = 7
    assert shared.tolist() == [7, 1, 2]
    assert np.from_dlpack(theirs, copy=True).tolist() == [7, 1, 2]
    back = torch.from_dlpack(np.arange(2))
    assert back.tolist() == [0, 1]
    with pytest.raises(BufferError, match="copies"):
        np.ones(2).__dlpack__(copy=False)


def test_dtypes_are_asked_about() -> None:
    x = np.ones(2)
    assert np.isdtype(x.dtype, "real floating")
    assert np.isdtype(np.int8, ("bool", "integral"))
    assert np.can_cast(np.int32, np.float64)
    assert not np.can_cast(x, np.int32)
    assert np.finfo(x).bits == 32
    assert np.real(x) is x
    assert np.imag(x).tolist() == [0, 0]
    assert not np.iscomplex(x).any()
