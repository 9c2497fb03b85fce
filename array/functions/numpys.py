"""What NumPy computes for us: functions without an operator, and what is no function of arrays.

They leave the array world: no gradient, no compiled code for them. What is around them is compiled in segments.

>>> from blockfuse import np
>>> np.bincount(np.array([0, 2, 2], dtype="int64"))
array([1, 0, 2])
>>> np.histogram(np.array([1, 2, 2, 3]), bins=2)
(array([1, 3]), array([1., 2., 3.]))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import outside, writing_outside
from blockfuse.ir import interpreter


def by_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function on the data of arrays; arrays in its result are ours, float32 where all came from numbers."""

    def run(*arguments: Any, **options: Any) -> Any:
        found = outside(function, arguments, options)
        return found if _of_arrays((arguments, options)) else _as_by_default(found)

    return _named(run, function, "NumPy computes it: no gradient, no compilation.")


def _writing_by_numpy(function: Callable[..., Any]) -> Callable[..., None]:
    """The same for a function that writes into its first argument."""

    def run(*arguments: Any, **options: Any) -> None:
        writing_outside(function, arguments[0], arguments[1:], options)

    return _named(run, function, "It writes into its first argument; NumPy computes it.")


def _named(run: Any, function: Callable[..., Any], what: str) -> Any:
    run.__name__ = run.__qualname__ = function.__name__
    run.__wrapped__ = function  # whose signature it has
    run.__doc__ = f"As ``numpy.{function.__name__}``. {what}"
    return run


def _of_arrays(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(map(_of_arrays, value))
    return isinstance(value, ndarray | numpy.ndarray | numpy.generic)


def _as_by_default(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(map(_as_by_default, value))
    return asarray(value, "float32") if isinstance(value, ndarray) and value.dtype == "float64" else value


# -- counting and places -------------------------------------------------------------------------------------

bincount = by_numpy(numpy.bincount)
digitize = by_numpy(numpy.digitize)
histogram = by_numpy(numpy.histogram)
histogram2d = by_numpy(numpy.histogram2d)
histogram_bin_edges = by_numpy(numpy.histogram_bin_edges)
ix_ = by_numpy(numpy.ix_)
ravel_multi_index = by_numpy(numpy.ravel_multi_index)
unravel_index = by_numpy(numpy.unravel_index)

# -- order ---------------------------------------------------------------------------------------------------

argpartition = by_numpy(numpy.argpartition)
lexsort = by_numpy(numpy.lexsort)
nanargmax = by_numpy(numpy.nanargmax)
nanargmin = by_numpy(numpy.nanargmin)
nanmedian = by_numpy(numpy.nanmedian)
nanpercentile = by_numpy(numpy.nanpercentile)
nanquantile = by_numpy(numpy.nanquantile)
partition = by_numpy(numpy.partition)

# -- of a size that depends on values ------------------------------------------------------------------------

extract = by_numpy(numpy.extract)
trim_zeros = by_numpy(numpy.trim_zeros)

# -- statistics and signals ----------------------------------------------------------------------------------

bartlett = by_numpy(numpy.bartlett)
blackman = by_numpy(numpy.blackman)
convolve = by_numpy(numpy.convolve)
corrcoef = by_numpy(numpy.corrcoef)
correlate = by_numpy(numpy.correlate)
cov = by_numpy(numpy.cov)
gradient = by_numpy(numpy.gradient)
hamming = by_numpy(numpy.hamming)
hanning = by_numpy(numpy.hanning)
kaiser = by_numpy(numpy.kaiser)
polyfit = by_numpy(numpy.polyfit)
unwrap = by_numpy(numpy.unwrap)
vander = by_numpy(numpy.vander)

# -- of each element -----------------------------------------------------------------------------------------

bitwise_count = by_numpy(numpy.bitwise_count)
choose = by_numpy(numpy.choose)
float_power = by_numpy(numpy.float_power)
frexp = by_numpy(numpy.frexp)
gcd = by_numpy(numpy.gcd)
i0 = by_numpy(numpy.i0)
lcm = by_numpy(numpy.lcm)
ldexp = by_numpy(numpy.ldexp)
logaddexp2 = by_numpy(numpy.logaddexp2)
nextafter = by_numpy(numpy.nextafter)
spacing = by_numpy(numpy.spacing)

# -- of functions --------------------------------------------------------------------------------------------

apply_along_axis = by_numpy(numpy.apply_along_axis)
apply_over_axes = by_numpy(numpy.apply_over_axes)
array_equiv = by_numpy(numpy.array_equiv)
geomspace = by_numpy(numpy.geomspace)
piecewise = by_numpy(numpy.piecewise)
resize = by_numpy(numpy.resize)

# -- writing into an array -----------------------------------------------------------------------------------

fill_diagonal = _writing_by_numpy(numpy.fill_diagonal)
place = _writing_by_numpy(numpy.place)
put = _writing_by_numpy(numpy.put)
put_along_axis = _writing_by_numpy(numpy.put_along_axis)
putmask = _writing_by_numpy(numpy.putmask)

# -- from memory and files -----------------------------------------------------------------------------------


def genfromtxt(*arguments: Any, **options: Any) -> ndarray:
    """A text file as an array, as ``numpy.genfromtxt`` reads it: float64 unless ``dtype=`` says otherwise."""
    return _read(numpy.genfromtxt, arguments, options)


def loadtxt(*arguments: Any, **options: Any) -> ndarray:
    """A text file as an array, as ``numpy.loadtxt`` reads it: float64 unless ``dtype=`` says otherwise."""
    return _read(numpy.loadtxt, arguments, options)


def _read(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> ndarray:
    interpreter.current().impure("reads a file")
    return array(function(*arguments, **options))


def savetxt(fname: Any, X: Any, *arguments: Any, **options: Any) -> None:
    """Write an array to a text file, as ``numpy.savetxt`` does."""
    interpreter.current().impure("writes a file")
    numpy.savetxt(fname, asarray(X)._leave("savetxt()"), *arguments, **options)


def frombuffer(*arguments: Any, **options: Any) -> ndarray:
    """A copy of what a buffer holds, as ``numpy.frombuffer`` reads it."""
    return array(numpy.frombuffer(*arguments, **options))


def fromiter(*arguments: Any, **options: Any) -> ndarray:
    """An array of what an iterator gives, as ``numpy.fromiter`` makes it."""
    return array(numpy.fromiter(*arguments, **options))
