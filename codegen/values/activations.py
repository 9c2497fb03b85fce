"""Functions that nets apply to every element: tanh, sigmoid, softplus, erf."""

from __future__ import annotations

from blockfuse.codegen.values.basic import copysign, fabs, maximum, multiply_add, polynomial, select
from blockfuse.codegen.values.exponential import exp, log_of_one_plus, normal_exponential
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
    near_zero = multiply_add(x * z, series, x)
    bounded = select(size > _TANH_IS_ONE, x.constant(_TANH_IS_ONE), size)
    far = 1.0 - 2.0 / (normal_exponential(bounded * 2.0) + 1.0)
    return copysign(select(size < 0.625, near_zero, far), x)


def sigmoid(x: Value) -> Value:
    """With exp(-|x|), which does not overflow: the subnormal results come out, too."""
    small = exp(-fabs(x))
    return select(x < 0, small, x.constant(1.0)) / (small + 1.0)


def softplus(x: Value) -> Value:
    return maximum(x, x.constant(0)) + log_of_one_plus(exp(-fabs(x)))


# erf in float32: a minimax polynomial near zero, 1 - exp(polynomial) beyond (N. Juffa's published fits).
_ERF_NEAR = (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
_ERF_FAR = (
    -1.72853470e-5,
    3.83197126e-4,
    -3.88396438e-3,
    2.42546219e-2,
    -1.06777877e-1,
    -6.34846687e-1,
    -1.28717512e-1,
)


def erf(x: Value) -> Value:
    if x.bits != 32:
        return x.call("erf")
    size = fabs(x)
    bounded = select(size > 4.0, x.constant(4.0), size)
    far = copysign(
        1.0 - normal_exponential(multiply_add(polynomial(bounded, _ERF_FAR), bounded, -bounded)), x
    )
    near = multiply_add(polynomial(x * x, _ERF_NEAR), x, x)
    return select(x != x, x, select(size > 0.927734375, far, near))
