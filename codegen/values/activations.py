"""Functions that nets apply to every element: tanh, sigmoid, softplus, erf."""

from __future__ import annotations

from blockfuse.codegen.values.basic import fabs, multiply_add, polynomial, select
from blockfuse.codegen.values.exponential import decaying, log_of_one_plus, normal_exponential_plus_one
from blockfuse.codegen.values.value import Value

# tanh(x) = x + x**3 P(x**2) for |x| < 0.625, coefficients of Cephes (Moshier 1989): tanhf.c and tanh.c.
_TANH = {  # bits -> numerator and denominator of P
    32: (
        (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1),
        (),
    ),
    64: (
        (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3),
        (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3),
    ),
}


_TANH_IS_ONE = 20.0  # from there on, to rounding


def tanh(x: Value) -> Value:
    size = fabs(x)
    z = x * x
    above, below = _TANH[x.bits]
    series = polynomial(z, above) / polynomial(z, below) if below else polynomial(z, above)
    near_zero = multiply_add(size * z, series, size)
    bounded = select(size > _TANH_IS_ONE, x.constant(_TANH_IS_ONE), size)
    far = 1.0 - 2.0 / normal_exponential_plus_one(bounded * 2.0)
    return _with_sign(select(size < 0.625, near_zero, far), x, size)


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


# erf in float32 up to 1.25: (erf(x) - x) / x in x**2. Beyond, up to 4: (1 - erf(x))**(1/4). Minimax of the error that they
# make in erf, relative 2**-29.5 and absolute 2**-28.4, fitted by linear programming over coefficients that are float32.
_ERF_NEAR = (
    -7.427713671637151e-06,
    0.00010318275599274784,
    -0.000832426710985601,
    0.005207503214478493,
    -0.026859499514102936,
    0.11283658444881439,
    -0.3761262893676758,
    0.12837916612625122,
)
_ERF_FAR = (
    -0.00019509467529132962,
    0.0034564812667667866,
    -0.02354488894343376,
    0.07046936452388763,
    -0.058840133249759674,
    -0.053950656205415726,
    -0.31464874744415283,
    1.007027506828308,
)


def erf(x: Value) -> Value:
    """Without an exponential: 1 - q**4, where the error of q counts the less the larger x is."""
    if x.bits != 32:
        return x.call("erf")
    size = fabs(x)
    bounded = select(size > 4.0, x.constant(4.0), size)
    root = polynomial(bounded, _ERF_FAR)
    square = root * root
    far = multiply_add(-square, square, 1.0)
    near = multiply_add(polynomial(x * x, _ERF_NEAR), size, size)
    return _with_sign(select(size > 1.25, far, near), x, size)
