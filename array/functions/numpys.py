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

from blockfuse.array.defaults import default_float
from blockfuse.array.docstrings import as_numpys
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import outside, writing_outside
from blockfuse.ir import interpreter


def by_numpy(function: Callable[..., Any], text: str) -> Callable[..., Any]:
    """NumPy's function on the data of arrays; arrays in its result are ours, float32 where all came from numbers."""

    def run(*arguments: Any, **options: Any) -> Any:
        found = outside(function, arguments, options)
        return found if _of_arrays((arguments, options)) else _as_by_default(found)

    return as_numpys(run, function, text)


def _writing_by_numpy(function: Callable[..., Any], text: str) -> Callable[..., None]:
    """The same for a function that writes into its first argument."""

    def run(*arguments: Any, **options: Any) -> None:
        writing_outside(function, arguments[0], arguments[1:], options)

    return as_numpys(run, function, text)


def _of_arrays(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(map(_of_arrays, value))
    return isinstance(value, ndarray | numpy.ndarray | numpy.generic)


def _as_by_default(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(map(_as_by_default, value))
    return (
        asarray(value, default_float()) if isinstance(value, ndarray) and value.dtype == "float64" else value
    )


# -- counting and places -------------------------------------------------------------------------------------

bincount = by_numpy(
    numpy.bincount,
    """How often each of 0, 1, ... is in a vector, or what the weights of each add up to.

    x: (n,), integers from 0 on.
    weights: (n,), numbers.
    minlength: the least size of the result.

    Returns (max(x) + 1,) or more, int64, or float64 with weights. Raises TypeError for floats, ValueError below 0.

    >>> from blockfuse import np
    >>> np.bincount(np.array([0, 2, 2], dtype="int64"))
    array([1, 0, 2])
    >>> np.bincount(np.array([0, 2, 2], dtype="int64"), weights=np.array([0.5, 1, 2]))
    array([0.5, 0. , 3. ])
    """,
)
digitize = by_numpy(
    numpy.digitize,
    """The number of the interval, of those that rising (or falling) ``bins`` bound, that each element lies in.

    x: an array of any shape.
    bins: (n,).
    right: whether an interval has its right end, and not its left one.

    Returns the shape of ``x``, int64 from 0 (before the first bound) to n (behind the last).

    >>> from blockfuse import np
    >>> np.digitize(np.array([0.5, 1, 9]), np.array([0, 1, 5]))
    array([1, 2, 3])
    """,
)
histogram = by_numpy(
    numpy.histogram,
    """How many elements lie in each of a row of intervals.

    a: an array of any shape.
    bins: how many intervals of equal width, or their n + 1 rising bounds.
    range: the first and the last bound.
    weights: what each element counts for.
    density: whether the areas of all intervals make 1.

    Returns two arrays: the counts (n,), int64, or floats with weights or density; and the bounds (n + 1,), floats
    unless they are given.

    >>> from blockfuse import np
    >>> np.histogram(np.array([1, 2, 2, 3]), bins=2)
    (array([1, 3]), array([1., 2., 3.]))
    """,
)
histogram2d = by_numpy(
    numpy.histogram2d,
    """How many points lie in each field of a grid.

    x, y: (n,), the coordinates of the points.
    bins: how many intervals along both axes, or a pair of numbers or of vectors of bounds.

    Returns three arrays of floats: the counts (nx, ny), the bounds along x (nx + 1,), and along y (ny + 1,).

    >>> from blockfuse import np
    >>> np.histogram2d(np.array([0, 1, 1]), np.array([0, 0, 1]), bins=2)[0]
    array([[1., 0.],
           [1., 1.]])
    """,
)
histogram_bin_edges = by_numpy(
    numpy.histogram_bin_edges,
    """The bounds of the intervals that ``histogram`` would count in.

    a: an array of any shape.
    bins: how many intervals, or the name of a rule, such as 'auto' or 'sturges'.

    Returns (bins + 1,), floats.

    >>> from blockfuse import np
    >>> np.histogram_bin_edges(np.array([0, 1, 4]), bins=2)
    array([0., 2., 4.])
    """,
)
ix_ = by_numpy(
    numpy.ix_,
    """Vectors of places, so shaped that together they index the grid of all of them: ``x[np.ix_(rows, columns)]``.

    args: n vectors of integers, or of bools, which say whether a place is meant.

    Returns n int64 arrays of n axes, each with its vector along one of them and size 1 along the others.

    >>> from blockfuse import np
    >>> x = np.arange(6).reshape(2, 3)
    >>> x[np.ix_(np.array([1, 0], dtype="int64"), np.array([0, 2], dtype="int64"))]
    array([[3., 5.],
           [0., 2.]])
    """,
)
ravel_multi_index = by_numpy(
    numpy.ravel_multi_index,
    """The places in a flattened array of elements whose places along each axis are given.

    multi_index: for each axis of ``dims``, an array of integers, all of one shape.
    dims: the shape of the array.

    Returns that shape, int64. Raises ValueError for places beyond ``dims``, unless ``mode`` is 'clip' or 'wrap'.

    >>> from blockfuse import np
    >>> np.ravel_multi_index(np.array([[0, 1], [2, 0]], dtype="int64"), (2, 3))
    array([2, 3])
    """,
)
unravel_index = by_numpy(
    numpy.unravel_index,
    """The places along each axis of elements whose places in the flattened array are given.

    indices: integers of any shape.
    shape: that of the array.

    Returns an int64 array an axis, of the shape of ``indices``. Raises ValueError for places beyond the array.

    >>> from blockfuse import np
    >>> np.unravel_index(np.array([2, 3], dtype="int64"), (2, 3))
    (array([0, 1]), array([2, 0]))
    """,
)

# -- order ---------------------------------------------------------------------------------------------------

argpartition = by_numpy(
    numpy.argpartition,
    """The places of the elements in an order in which the ``kth`` is where sorting puts it, smaller ones before, larger
    ones behind.

    a: an array of any shape.
    axis: along which; None flattens.

    Returns the shape of ``a``, int64.

    >>> from blockfuse import np
    >>> x = np.array([7, 1, 9, 3])
    >>> x[np.argpartition(x, 0)[0]]
    array(1.)
    """,
)
lexsort = by_numpy(
    numpy.lexsort,
    """The places that sort by several keys: by the last one, where that is equal by the one before, and so on.

    keys: (k, n), or k vectors (n,).

    Returns (n,), int64.

    >>> from blockfuse import np
    >>> np.lexsort((np.array([2, 1, 3]), np.array([1, 1, 0])))
    array([2, 1, 0])
    """,
)
nanargmax = by_numpy(
    numpy.nanargmax,
    """The place of the largest element that is not nan.

    a: an array of any shape.
    axis: along which; None: in the flattened array.
    keepdims: whether the axis stays, with size 1.

    Returns the shape of ``a`` without ``axis``, int64. Raises ValueError where all elements are nan.

    >>> from blockfuse import np
    >>> np.nanargmax(np.array([[1, np.nan], [np.nan, 4]]), axis=1)
    array([0, 1])
    """,
)
nanargmin = by_numpy(
    numpy.nanargmin,
    """The place of the smallest element that is not nan.

    a: an array of any shape.
    axis: along which; None: in the flattened array.
    keepdims: whether the axis stays, with size 1.

    Returns the shape of ``a`` without ``axis``, int64. Raises ValueError where all elements are nan.

    >>> from blockfuse import np
    >>> np.nanargmin(np.array([[5, np.nan], [np.nan, 4]]))
    array(3)
    """,
)
nanmedian = by_numpy(
    numpy.nanmedian,
    """The middle of the elements that are not nan, or the mean of the two in the middle.

    a: an array of any shape.
    axis: an int, a tuple, or None for all axes.
    keepdims: whether these stay, with size 1.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64. It is nan where all
    elements are.

    >>> from blockfuse import np
    >>> np.nanmedian(np.array([[1, np.nan, 3], [5, 6, 9]]), axis=1)
    array([2., 6.])
    """,
)
nanpercentile = by_numpy(
    numpy.nanpercentile,
    """As ``percentile``, of the elements that are not nan.

    a: an array of any shape.
    q: shares of 100, of any shape.
    axis: an int, a tuple, or None for all axes.

    Returns the shape of ``q`` before that of ``a`` without the axes, float64; for one number ``q``, floats keep their
    dtype.

    >>> from blockfuse import np
    >>> np.nanpercentile(np.array([1, np.nan, 3, 5]), 50)
    array(3.)
    """,
)
nanquantile = by_numpy(
    numpy.nanquantile,
    """As ``quantile``, of the elements that are not nan.

    a: an array of any shape.
    q: shares from 0 to 1, of any shape.
    axis: an int, a tuple, or None for all axes.

    Returns the shape of ``q`` before that of ``a`` without the axes, float64; for one number ``q``, floats keep their
    dtype.

    >>> from blockfuse import np
    >>> np.nanquantile(np.array([1, np.nan, 3, 5]), [0, 0.5])
    array([1., 3.])
    """,
)
partition = by_numpy(
    numpy.partition,
    """The elements in an order in which the ``kth`` is where sorting puts it, smaller ones before, larger ones behind.

    a: an array of any shape.
    axis: along which; None flattens.

    Returns the shape and dtype of ``a``.

    >>> from blockfuse import np
    >>> np.partition(np.array([7, 1, 9, 3]), 1)[:2]
    array([1., 3.])
    """,
)

# -- of a size that depends on values ------------------------------------------------------------------------

extract = by_numpy(
    numpy.extract,
    """The elements where a condition holds.

    condition, arr: arrays of as many elements.

    Returns a vector of the dtype of ``arr``.

    >>> from blockfuse import np
    >>> np.extract(np.array([True, False, True]), np.array([1, 2, 3]))
    array([1., 3.])
    """,
)
trim_zeros = by_numpy(
    numpy.trim_zeros,
    """A vector without the zeros at its ends.

    filt: (n,).
    trim: 'f' for those at the front, 'b' for those at the back, 'fb' for both.

    Returns (m,) of the dtype of ``filt``, m at most n.

    >>> from blockfuse import np
    >>> np.trim_zeros(np.array([0, 1, 0, 2, 0]))
    array([1., 0., 2.])
    """,
)

# -- statistics and signals ----------------------------------------------------------------------------------

bartlett = by_numpy(
    numpy.bartlett,
    """The triangular window of M points.

    Returns (M,), float32.

    >>> from blockfuse import np
    >>> np.bartlett(5)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """,
)
blackman = by_numpy(
    numpy.blackman,
    """The Blackman window of M points: a sum of three cosines.

    Returns (M,), float32.

    >>> from blockfuse import np
    >>> np.blackman(5)[1:4].round(2)
    array([0.34, 1.  , 0.34])
    """,
)
convolve = by_numpy(
    numpy.convolve,
    """The discrete convolution of two vectors.

    a: (n,).
    v: (m,).
    mode: 'full' gives n + m - 1 sums, 'same' the max(n, m) in their middle, 'valid' those of which no product is
    missing.

    Returns a vector of the dtype that both promote to.

    >>> from blockfuse import np
    >>> np.convolve(np.array([1, 2, 3]), np.array([1, 10]))
    array([ 1., 12., 23., 30.])
    """,
)
corrcoef = by_numpy(
    numpy.corrcoef,
    """The correlation coefficients of variables.

    x: (variables, observations).
    y: more variables.
    rowvar: False where variables are the columns.

    Returns (variables, variables), float64 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.corrcoef(np.array([[1, 2, 3], [3, 2, 1]])).round(4)
    array([[ 1., -1.],
           [-1.,  1.]])
    """,
)
correlate = by_numpy(
    numpy.correlate,
    """The sums of products of two vectors, one shifted along the other.

    a: (n,).
    v: (m,).
    mode: 'valid' (the default), 'same' or 'full', as of ``convolve``.

    Returns a vector of the dtype that both promote to.

    >>> from blockfuse import np
    >>> np.correlate(np.array([1, 2, 3, 4]), np.array([-1, 1]))
    array([1., 1., 1.])
    """,
)
cov = by_numpy(
    numpy.cov,
    """The covariances of variables, divided by the observations less one (``ddof`` less than all).

    m: (variables, observations).
    y: more variables.
    rowvar: False where variables are the columns.
    fweights, aweights: of the observations.

    Returns (variables, variables), or a number of one variable; float64 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.cov(np.array([[1, 2, 3], [6, 4, 2]]))
    array([[ 1., -2.],
           [-2.,  4.]])
    """,
)
gradient = by_numpy(
    numpy.gradient,
    """Differences of neighbours, divided by their distances: half the difference of both within, of one at the ends.

    f: an array of any shape.
    varargs: a distance, or one for each axis, or coordinates along each.
    axis: along which; None: an array for each axis.

    Returns the shape of ``f``, or a tuple of such arrays where there are several axes; floats keep their dtype, others
    give float64. Raises TypeError for bools.

    >>> from blockfuse import np
    >>> np.gradient(np.array([1, 4, 9, 16]))
    array([3., 4., 6., 7.])
    """,
)
hamming = by_numpy(
    numpy.hamming,
    """The Hamming window of M points: a raised cosine whose ends are 0.08.

    Returns (M,), float32.

    >>> from blockfuse import np
    >>> np.hamming(5).round(2)
    array([0.08, 0.54, 1.  , 0.54, 0.08])
    """,
)
hanning = by_numpy(
    numpy.hanning,
    """The Hann window of M points: a raised cosine whose ends are 0.

    Returns (M,), float32.

    >>> from blockfuse import np
    >>> np.hanning(5).round(2)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """,
)
kaiser = by_numpy(
    numpy.kaiser,
    """The Kaiser window of M points, the narrower the larger ``beta`` is.

    Returns (M,), float32.

    >>> from blockfuse import np
    >>> np.kaiser(5, 4).round(2)
    array([0.09, 0.63, 1.  , 0.63, 0.09])
    """,
)
polyfit = by_numpy(
    numpy.polyfit,
    """The coefficients, highest power first, of the polynomial whose values at ``x`` are nearest to ``y`` by the sum of
    squares.

    x: (n,).
    y: (n,), or (n, k) for k polynomials.
    deg: the highest power.
    w: the weight of each point.

    Returns (deg + 1,) or (deg + 1, k), float64.

    >>> from blockfuse import np
    >>> np.polyfit(np.array([0, 1, 2]), np.array([1, 3, 5]), 1).round(4)
    array([2., 1.])
    """,
)
unwrap = by_numpy(
    numpy.unwrap,
    """Angles without jumps: each changed by full turns so that it is near the one before.

    p: an array of any shape.
    axis: along which.
    period: a full turn.
    discont: the least jump that counts as one.

    Returns the shape of ``p``; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.unwrap(np.array([0, 3, -3])).round(4)
    array([0.    , 3.    , 3.2832])
    """,
)
vander = by_numpy(
    numpy.vander,
    """The matrix of powers of a vector, the highest in the first column, with ``increasing`` in the last.

    x: (n,).
    N: how many columns, n by default.

    Returns (n, N), in the dtype that that of ``x`` and int64 promote to.

    >>> from blockfuse import np
    >>> np.vander(np.array([1, 2, 3]), 3)
    array([[1., 1., 1.],
           [4., 2., 1.],
           [9., 3., 1.]])
    """,
)

# -- of each element -----------------------------------------------------------------------------------------

bitwise_count = by_numpy(
    numpy.bitwise_count,
    """How many bits of the absolute value of each integer are 1.

    x: integers of any shape.

    Returns the shape of ``x``, uint8. Raises TypeError for floats.

    >>> from blockfuse import np
    >>> np.bitwise_count(np.array([3, 8, -1], dtype="int32"))
    array([2, 1, 1], dtype=uint8)
    """,
)
choose = by_numpy(
    numpy.choose,
    """Each element from the array of a list that an integer names.

    a: integers, from 0 up to the number of choices.
    choices: arrays that broadcast against ``a``.
    mode: 'raise', 'wrap' or 'clip', for other integers.

    Returns the common shape, in the dtype that the choices promote to. Raises ValueError for integers that name no
    choice.

    >>> from blockfuse import np
    >>> np.choose(np.array([0, 1, 0], dtype="int64"), [np.array([1, 2, 3]), np.array([10, 20, 30])])
    array([ 1., 20.,  3.])
    """,
)
float_power = by_numpy(
    numpy.float_power,
    """``x1 ** x2`` in double precision.

    x1, x2: arrays of shapes that broadcast.

    Returns their common shape, float64.

    >>> from blockfuse import np
    >>> np.float_power(np.array([2, 3], dtype="int64"), -1).round(4)
    array([0.5   , 0.3333])
    """,
)
frexp = by_numpy(
    numpy.frexp,
    """A part from 0.5 up to 1, with the sign of the element, and the power of 2 that it is to be multiplied by.

    x: numbers of any shape.

    Returns two arrays of the shape of ``x``: parts, whose dtype is that of ``x`` where that is a float, else float16
    for bool and 8 bits, float32 for 16 bits, float64 for more; and powers, int32.

    >>> from blockfuse import np
    >>> np.frexp(np.array([8, -0.75]))
    (array([ 0.5 , -0.75]), array([4, 0], dtype=int32))
    """,
)
gcd = by_numpy(
    numpy.gcd,
    """The greatest integer that divides two.

    x1, x2: integers of shapes that broadcast.

    Returns their common shape, in the dtype that both promote to. Raises TypeError for floats and bools.

    >>> from blockfuse import np
    >>> np.gcd(np.array([12, 20], dtype="int64"), 8)
    array([4, 4])
    """,
)
i0 = by_numpy(
    numpy.i0,
    """The modified Bessel function of the first kind and order 0.

    x: numbers of any shape.

    Returns the shape of ``x``; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.i0(np.array([0, 1])).round(4)
    array([1.    , 1.2661])
    """,
)
lcm = by_numpy(
    numpy.lcm,
    """The smallest positive integer that two divide.

    x1, x2: integers of shapes that broadcast.

    Returns their common shape, in the dtype that both promote to. Raises TypeError for floats and bools.

    >>> from blockfuse import np
    >>> np.lcm(np.array([4, 6], dtype="int64"), 10)
    array([20, 30])
    """,
)
ldexp = by_numpy(
    numpy.ldexp,
    """``x1 * 2 ** x2``, which undoes ``frexp``.

    x1: numbers.
    x2: integers of a shape that broadcasts against it.

    Returns their common shape; the dtype is that of the parts that ``frexp`` finds in ``x1``. Raises TypeError where
    ``x2`` is of floats.

    >>> from blockfuse import np
    >>> np.ldexp(np.array([0.5, 3]), np.array([4, 0], dtype="int64"))
    array([8., 3.])
    """,
)
logaddexp2 = by_numpy(
    numpy.logaddexp2,
    """``log2(2 ** x1 + 2 ** x2)`` without overflow.

    x1, x2: arrays of shapes that broadcast.

    Returns their common shape, in the float dtype that both promote to.

    >>> from blockfuse import np
    >>> np.logaddexp2(np.array([3, 0]), np.array([3, 0])).round(4)
    array([4., 1.])
    """,
)
nextafter = by_numpy(
    numpy.nextafter,
    """The next number of the dtype after ``x1`` on the way to ``x2``.

    x1, x2: arrays of shapes that broadcast.

    Returns their common shape, in the float dtype that both promote to.

    >>> from blockfuse import np
    >>> np.nextafter(np.array([1.0]), 2) - 1
    array([1.1920929e-07])
    """,
)
spacing = by_numpy(
    numpy.spacing,
    """How far the next number of the dtype is, away from 0.

    x: numbers of any shape.

    Returns the shape of ``x``, and its dtype where that is a float.

    >>> from blockfuse import np
    >>> np.spacing(np.array([1.0]))
    array([1.1920929e-07])
    """,
)

# -- of functions --------------------------------------------------------------------------------------------

apply_along_axis = by_numpy(
    numpy.apply_along_axis,
    """A function of vectors, of each vector that lies along an axis.

    func1d: takes (n,), and gives an array or a number.
    axis: along which.
    arr: an array with n elements along it.

    Returns the shape of ``arr`` with that of what ``func1d`` gives in the place of the axis, in the dtype of its first
    result.

    >>> from blockfuse import np
    >>> np.apply_along_axis(lambda row: row.max() - row.min(), 1, np.array([[1, 5], [2, 2]]))
    array([4., 0.])
    """,
)
apply_over_axes = by_numpy(
    numpy.apply_over_axes,
    """A function ``func(a, axis)``, such as ``np.sum``, over one axis after the other.

    a: an array of any shape.
    axes: an int, or several.

    Returns the shape of ``a`` with size 1 along the axes, in the dtype that ``func`` gives.

    >>> from blockfuse import np
    >>> np.apply_over_axes(np.sum, np.ones((2, 3, 4)), [0, 2])
    array([[[8.],
            [8.],
            [8.]]])
    """,
)
array_equiv = by_numpy(
    numpy.array_equiv,
    """Whether all elements are equal where shapes broadcast.

    a1, a2: arrays.

    Returns a bool of Python: False also where the shapes do not broadcast.

    >>> from blockfuse import np
    >>> np.array_equiv(np.array([1, 2]), np.array([[1, 2], [1, 2]]))
    True
    """,
)
geomspace = by_numpy(
    numpy.geomspace,
    """``num`` numbers from ``start`` to ``stop``, each the same multiple of the one before.

    endpoint: False leaves ``stop`` out.

    Returns (num,), float32 of numbers, unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.geomspace(1, 1000, 4).round(4)
    array([   1.,   10.,  100., 1000.])
    """,
)
piecewise = by_numpy(
    numpy.piecewise,
    """For each element the function, or number, of the first condition that holds there.

    x: an array of any shape.
    condlist: n arrays of bools of that shape.
    funclist: n functions of arrays or numbers, or one more for where none holds.

    Returns the shape and dtype of ``x``; 0 where nothing else is said.

    >>> from blockfuse import np
    >>> x = np.array([-2, 0, 3])
    >>> np.piecewise(x, [x < 0, x >= 0], [lambda v: -v, 10])
    array([ 2., 10., 10.])
    """,
)
resize = by_numpy(
    numpy.resize,
    """The elements, from the first again as often as needed, in another shape.

    a: an array of any shape.
    new_shape: an int, or a tuple.

    Returns ``new_shape`` in the dtype of ``a``.

    >>> from blockfuse import np
    >>> np.resize(np.array([1, 2, 3]), (2, 2))
    array([[1., 2.],
           [3., 1.]])
    """,
)

# -- writing into an array -----------------------------------------------------------------------------------

fill_diagonal = _writing_by_numpy(
    numpy.fill_diagonal,
    """Write ``val`` to the diagonal of a matrix, or of an array whose axes have one size.

    a: the array that is written to, of any dtype.
    val: a number, or values that are repeated.
    wrap: whether a tall matrix has more diagonals.

    Returns None: the shape and dtype of ``a`` stay. Raises ValueError for a vector.

    >>> from blockfuse import np
    >>> x = np.zeros((2, 2))
    >>> np.fill_diagonal(x, 7)
    >>> x
    array([[7., 0.],
           [0., 7.]])
    """,
)
place = _writing_by_numpy(
    numpy.place,
    """Write ``vals``, from the first again as often as needed, to where a condition holds.

    arr: the array that is written to, of any dtype.
    mask: bools of its size.
    vals: (n,).

    Returns None: the shape and dtype of ``arr`` stay.

    >>> from blockfuse import np
    >>> x = np.array([1, 2, 3])
    >>> np.place(x, np.array([True, False, True]), np.array([10, 30]))
    >>> x
    array([10.,  2., 30.])
    """,
)
put = _writing_by_numpy(
    numpy.put,
    """Write values to places of the flattened array.

    a: the array that is written to, of any dtype.
    ind: integers.
    v: as many values, or fewer, which are repeated.
    mode: 'raise', 'wrap' or 'clip'.

    Returns None: the shape and dtype of ``a`` stay. Raises IndexError for places beyond it.

    >>> from blockfuse import np
    >>> x = np.zeros((2, 2))
    >>> np.put(x, np.array([0, 3], dtype="int64"), np.array([5, 7]))
    >>> x
    array([[5., 0.],
           [0., 7.]])
    """,
)
put_along_axis = _writing_by_numpy(
    numpy.put_along_axis,
    """Write each value to the place along an axis that an integer names: what ``take_along_axis`` reads.

    arr: the array that is written to, of any dtype.
    indices: integers, of as many axes.
    values: of a shape that broadcasts against them.
    axis: along which; None flattens.

    Returns None: the shape and dtype of ``arr`` stay. Raises IndexError for places beyond the axis.

    >>> from blockfuse import np
    >>> x = np.zeros((2, 3))
    >>> np.put_along_axis(x, np.array([[2], [0]], dtype="int64"), 1.0, axis=1)
    >>> x
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """,
)
putmask = _writing_by_numpy(
    numpy.putmask,
    """Write to where a condition holds what ``values`` has there.

    a: the array that is written to, of any dtype.
    mask: bools of its shape.
    values: an array; of another size, it is repeated.

    Returns None: the shape and dtype of ``a`` stay.

    >>> from blockfuse import np
    >>> x = np.array([1, -2, 3])
    >>> np.putmask(x, x < 0, np.array([0, 0, 0]))
    >>> x
    array([1., 0., 3.])
    """,
)

# -- from memory and files -----------------------------------------------------------------------------------


def genfromtxt(*arguments: Any, **options: Any) -> ndarray:
    """A text file as an array, with something in the place of what is missing.

    fname: a path, a file, or lines. delimiter, skip_header, usecols, filling_values and other arguments: as of
    ``numpy.genfromtxt``.

    Returns (lines, columns), or one axis where one of these is 1; float64 unless ``dtype=`` says otherwise. Raises
    DTypeError for text.

    Source: ``numpy.genfromtxt``. A compiled call runs in Python: files may change.

    >>> from blockfuse import np
    >>> np.genfromtxt(["1,2", "3,"], delimiter=",", filling_values=0)
    array([[1., 2.],
           [3., 0.]])
    """
    return _read(numpy.genfromtxt, arguments, options)


def loadtxt(*arguments: Any, **options: Any) -> ndarray:
    """A text file of as many numbers a line as an array.

    fname: a path, a file, or lines. delimiter, skiprows, usecols, unpack and other arguments: as of ``numpy.loadtxt``.

    Returns (lines, columns), or one axis where one of these is 1; float64 unless ``dtype=`` says otherwise. Raises
    DTypeError for text.

    Source: ``numpy.loadtxt``. A compiled call runs in Python: files may change.

    >>> from blockfuse import np
    >>> np.loadtxt(["1 2", "3 4"])
    array([[1., 2.],
           [3., 4.]])
    """
    return _read(numpy.loadtxt, arguments, options)


def _read(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> ndarray:
    interpreter.current().impure("reads a file")
    return array(function(*arguments, **options))


def savetxt(fname: Any, X: Any, *arguments: Any, **options: Any) -> None:
    """Write an array to a text file, a row a line.

    fname: a path, or a file.
    X: a vector or a matrix of any dtype. fmt, delimiter, header and other arguments: as of ``numpy.savetxt``.

    Returns None; ``loadtxt`` gives the shape back, and float64. Source: ``numpy.savetxt``.

    >>> import sys
    >>> from blockfuse import np
    >>> np.savetxt(sys.stdout, np.array([[1, 2], [3, 4]]), fmt="%g")
    1 2
    3 4
    """
    interpreter.current().impure("writes a file")
    numpy.savetxt(fname, asarray(X)._leave("savetxt()"), *arguments, **options)


def frombuffer(*arguments: Any, **options: Any) -> ndarray:
    """A copy of what a buffer holds.

    buffer: bytes, or what gives them. dtype, count, offset: as of ``numpy.frombuffer``.

    Returns (count,), float64 unless ``dtype=`` says otherwise. Raises DTypeError for dtypes that arrays do not have.
    Source: ``numpy.frombuffer``.

    >>> from blockfuse import np
    >>> np.frombuffer(b"ab", dtype="uint8")
    array([97, 98], dtype=uint8)
    """
    return array(numpy.frombuffer(*arguments, **options))


def fromiter(*arguments: Any, **options: Any) -> ndarray:
    """An array of what an iterator gives.

    iter, dtype, count: as of ``numpy.fromiter``.

    Returns a vector of ``dtype``. Raises DTypeError for dtypes that arrays do not have. Source: ``numpy.fromiter``.

    >>> from blockfuse import np
    >>> np.fromiter((n * n for n in range(4)), dtype="int64")
    array([0, 1, 4, 9])
    """
    return array(numpy.fromiter(*arguments, **options))
