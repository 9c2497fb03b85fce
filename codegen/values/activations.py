"""Functions that nets apply to every element: tanh, sigmoid, softplus, erf."""

from __future__ import annotations

from blockfuse.codegen.values.basic import fabs, multiply_add, polynomial, select
from blockfuse.codegen.values.exponential import decaying, log_of_one_plus, one_minus_decaying
from blockfuse.codegen.values.value import Value

_TANH_IS_ONE = 20.0  # from there on, to rounding


def tanh(x: Value) -> Value:
    """e / (2 - e) with e = 1 - exp(-2 |x|), which near zero is as good as far from it."""
    size = fabs(x)
    bounded = select(size > _TANH_IS_ONE, x.constant(_TANH_IS_ONE), size)
    e = one_minus_decaying(bounded * 2.0)
    return _with_sign(e / (2.0 - e), x, size)


def _with_sign(result: Value, x: Value, size: Value) -> Value:
    """``result``, which is not negative, with the sign of x; size: the absolute value of x."""
    sign = x.bitcast(x.integer) ^ size.bitcast(x.integer)
    return (result.bitcast(x.integer) ^ sign).bitcast(x.element)


def sigmoid(x: Value) -> Value:
    """With exp(-|x|), which does not overflow: the subnormal results come out, too."""
    small = decaying(-fabs(x))
    return select(x < 0, small, x.constant(1.0)) / (small + 1.0)


def softplus(x: Value) -> Value:
    return select(x > 0, x, x.constant(0)) + log_of_one_plus(decaying(-fabs(x)))


# erf in float32 up to 1.125: (erf(x) - x) / x in x**2. Beyond, up to 4: (1 - erf(x))**(1/4). Minimax of the error that they
# make in erf, relative 2**-27.2 and absolute 2**-26.7, fitted by linear programming over coefficients that are float32.
_ERF_NEAR = (
    7.0639252953697e-05,
    -0.0007765908376313746,
    0.005160267930477858,
    -0.026839224621653557,
    0.11283256113529205,
    -0.3761260211467743,
    0.12837916612625122,
)
_ERF_FAR = (
    -0.00017949641915038228,
    0.0032341971527785063,
    -0.022213397547602654,
    0.06612184643745422,
    -0.05047934874892235,
    -0.0634259358048439,
    -0.3087857961654663,
    1.0054985284805298,
)


def erf(x: Value) -> Value:
    """Without an exponential: 1 - q**4, where the error of q counts the less the larger x is."""
    if x.bits != 32:
        return x.call("erf")
    size = fabs(x)
    bounded = select(size > 4.0, x.constant(4.0), size)
    root = multiply_add(polynomial(bounded, _ERF_FAR[:-1]), bounded, _ERF_FAR[-1])
    square = root * root
    far = multiply_add(-square, square, 1.0)
    z = x * x
    near = multiply_add(multiply_add(polynomial(z, _ERF_NEAR[:-1]), z, _ERF_NEAR[-1]), size, size)
    return _with_sign(select(size > 1.125, far, near), x, size)
