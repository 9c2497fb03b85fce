"""The functions of scalar expressions, written once over values: of LLVM (one number in a loop, the vectors of a tile, a
thread of a device) or of NumPy (the simulator of a device).

Accuracy, in units in the last place, stands in ``ULP``: above the largest error seen over all float32 numbers
from 2**-15 to 2**8, and over samples of all others and of float64 (``tests/codegen/test_functions.py``). Other functions
are those of the backend's library, number by number.
"""

from __future__ import annotations

from collections.abc import Callable

from blockfuse.codegen.values.activations import erf, sigmoid, softplus, tanh
from blockfuse.codegen.values.basic import (
    abs_,
    ceil,
    floor,
    fold_add,
    fold_maximum,
    fold_minimum,
    fold_multiply,
    high_product,
    infinity,
    literal,
    maximum,
    minimum,
    mixed,
    multiply_add,
    negated,
    one,
    own,
    relu,
    rint,
    select,
    sign,
    sqrt,
    trunc,
    truth,
)
from blockfuse.codegen.values.division import (
    floor_divide,
    fmod,
    left_shift,
    remainder,
    right_shift,
    signbit,
)
from blockfuse.codegen.values.exponential import exp, expm1, log
from blockfuse.codegen.values.value import Value

ULP = {"exp": 1.3, "log": 0.95, "tanh": 2.6, "sigmoid": 2.6, "erf": 1.5, "softplus": 2.3, "expm1": 1.9}
# The same where a multiply-add rounds twice: processors that can at most AVX, the simulator of a device.
ROUNDED_TWICE = {**ULP, "log": 1.1, "erf": 1.8}

LIBRARY = (
    *("pow", "hypot", "exp2", "cbrt", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "lgamma", "tgamma"),
)

FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: own(name) for name in LIBRARY},
    **{f.__name__: f for f in (select, truth, negated, maximum, minimum, relu, sign, literal, one, infinity)},
    **{f.__name__: f for f in (fold_add, fold_multiply, fold_maximum, fold_minimum)},
    **{f.__name__: f for f in (high_product, mixed)},
    **{f.__name__: f for f in (floor_divide, remainder, fmod, left_shift, right_shift, signbit)},
    **{f.__name__: f for f in (exp, expm1, log, tanh, sigmoid, softplus, erf, multiply_add)},
    "sqrt": sqrt,
    "floor": floor,
    "ceil": ceil,
    "trunc": trunc,
    "rint": rint,
    "abs": abs_,
}
# name -> number of operands
ARITY = dict.fromkeys(FUNCTIONS, 1) | {
    **dict.fromkeys(("pow", "hypot", "atan2", "maximum", "minimum", "literal"), 2),
    **dict.fromkeys(("high_product", "mixed"), 2),
    **dict.fromkeys(("floor_divide", "remainder", "fmod", "left_shift", "right_shift"), 2),
    **dict.fromkeys(("fold_add", "fold_multiply", "fold_maximum", "fold_minimum"), 2),
    **dict.fromkeys(("select", "multiply_add"), 3),
}
BOOLEAN = frozenset(
    {"truth", "negated", "signbit"}
)  # functions with a bool as result, whatever their operand
