"""Algorithms of scientific computing and machine learning, each with its meaning in plain NumPy.

A row of ``ALGORITHMS`` holds both, and the arguments: shapes in letters, where ``n`` is varied by the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dynamics
import equations
import learning
import numpy

# kind -> an argument of standard normal numbers made into one of that kind
KINDS: dict[str, Callable[[Any], Any]] = {
    "normal": lambda z: z,
    "small": lambda z: z / z.shape[-1] ** 0.5,
    "positive": lambda z: numpy.abs(z) + 0.5,
    "zero to one": lambda z: 1 / (1 + numpy.exp(-z)),
    "dominant": lambda z: z + numpy.diag(2 * numpy.abs(z).sum(1) + 2),
    "definite": lambda z: z @ z.T / len(z) + 2 * numpy.eye(len(z)),
}


@dataclass(frozen=True)
class Algorithm:
    """``function`` over blockfuse, ``meaning`` over NumPy in float64.

    arguments: kind and the letters of the shape. held: which of them a block holds. stops_at: the error at which a
    loop ends. slack: tolerances of the dtype that rounding may take. largest: n. compiled: not so if it needs Python.
    """

    function: Callable[..., Any]
    meaning: Callable[..., Any]
    arguments: tuple[tuple[str, str], ...]
    held: tuple[int, ...] = ()
    stops_at: float = 0.0
    slack: float = 1.0
    largest: int = 64
    compiled: bool = True

    @property
    def name(self) -> str:
        return self.function.__name__


_SYSTEM = (("dominant", "nn"), ("normal", "n"), ("normal", "n"))

ALGORITHMS = (
    Algorithm(equations.newton_roots, equations.numpy_newton_roots, (("positive", "n"),), stops_at=1e-3),
    Algorithm(equations.newton_system, equations.numpy_newton_system, _SYSTEM, held=(0,), slack=50),
    Algorithm(equations.jacobi, equations.numpy_solution, _SYSTEM, held=(0, 1), stops_at=1e-4),
    Algorithm(equations.jacobi_steps, equations.numpy_jacobi_steps, _SYSTEM, held=(0,)),
    Algorithm(equations.gauss_seidel, equations.numpy_gauss_seidel, _SYSTEM, held=(1,), largest=17),
    Algorithm(equations.relaxation, equations.numpy_solution, _SYSTEM, held=(0, 1), stops_at=1e-3),
    Algorithm(
        equations.conjugate_gradients,
        equations.numpy_conjugate_gradients,
        (("definite", "nn"), ("normal", "n")),
        held=(0,),
        stops_at=1e-3,
    ),
    Algorithm(
        equations.page_rank,
        equations.numpy_page_rank,
        (("positive", "nn"), ("positive", "n")),
        held=(0,),
        stops_at=1e-4,
    ),
    Algorithm(
        equations.power_iteration,
        equations.numpy_power_iteration,
        (("definite", "nn"), ("positive", "n")),
        held=(1,),
    ),
    Algorithm(
        equations.sinkhorn,
        equations.numpy_sinkhorn,
        (("positive", "nm"), ("positive", "n"), ("positive", "m")),
        held=(0, 2),
    ),
    Algorithm(dynamics.kuramoto, dynamics.numpy_kuramoto, (("normal", "n"), ("normal", "n")), held=(1,)),
    Algorithm(
        dynamics.kuramoto_network,
        dynamics.numpy_kuramoto_network,
        (("positive", "n"), ("normal", "n"), ("small", "nn")),
        held=(2,),
    ),
    Algorithm(dynamics.euler, dynamics.numpy_euler, (("small", "nn"), ("normal", "n")), held=(0,)),
    Algorithm(
        dynamics.euler_matrix, dynamics.numpy_euler_matrix, (("small", "nn"), ("normal", "mn")), held=(0,)
    ),
    Algorithm(
        dynamics.runge_kutta, dynamics.numpy_runge_kutta, (("small", "nn"), ("normal", "n")), held=(0,)
    ),
    Algorithm(dynamics.heat_on_a_ring, dynamics.numpy_heat_on_a_ring, (("normal", "n"),)),
    Algorithm(dynamics.heat_in_a_rod, dynamics.numpy_heat_in_a_rod, (("normal", "n"),), compiled=False),
    Algorithm(
        dynamics.gravity, dynamics.numpy_gravity, (("normal", "nd"), ("positive", "n")), held=(1,), slack=5
    ),
    Algorithm(equations.floyd_warshall, equations.numpy_floyd_warshall, (("positive", "nn"),), largest=17),
    Algorithm(equations.shortest_paths, equations.numpy_floyd_warshall, (("positive", "nn"),)),
    Algorithm(
        learning.leaky_cells,
        learning.numpy_leaky_cells,
        (("small", "nn"), ("small", "nd"), ("normal", "n"), ("normal", "td")),
        held=(0, 1),
    ),
    Algorithm(
        learning.leaky_batch,
        learning.numpy_leaky_batch,
        (("small", "nn"), ("small", "nd"), ("normal", "mn"), ("normal", "md")),
        held=(0, 1),
    ),
    Algorithm(
        learning.radial_basis,
        learning.numpy_radial_basis,
        (("normal", "nd"), ("normal", "md"), ("normal", "m")),
        held=(1, 2),
    ),
    Algorithm(
        learning.radial_basis_line,
        learning.numpy_radial_basis_line,
        (("normal", "n"), ("normal", "m"), ("normal", "m")),
        held=(1,),
    ),
    Algorithm(learning.self_attention, learning.numpy_self_attention, (("normal", "n"),) * 3, held=(1, 2)),
    Algorithm(
        learning.attention_by_hand,
        learning.numpy_attention_by_hand,
        (("normal", "nd"), ("normal", "md"), ("normal", "md")),
        held=(1,),
    ),
    Algorithm(learning.covariance, learning.numpy_covariance, (("normal", "mn"),)),
    Algorithm(learning.whitening, learning.numpy_whitening, (("normal", "mn"),), slack=20, compiled=False),
    Algorithm(learning.neighbours, learning.numpy_neighbours, (("normal", "nd"),), slack=10),
    Algorithm(
        learning.neighbours_by_products, learning.numpy_neighbours_by_products, (("small", "nd"),), slack=10
    ),
    Algorithm(
        learning.k_means, learning.numpy_k_means, (("normal", "nd"), ("normal", "md")), held=(0,), slack=5
    ),
    Algorithm(
        learning.mixture,
        learning.numpy_mixture,
        (("normal", "nd"), ("normal", "md"), ("positive", "m")),
        held=(1,),
        slack=10,
    ),
    Algorithm(
        learning.logistic_descent,
        learning.numpy_logistic_descent,
        (("normal", "mn"), ("zero to one", "m"), ("normal", "n")),
        held=(0, 1),
    ),
    Algorithm(
        learning.kalman,
        learning.numpy_kalman,
        (("small", "nn"), ("definite", "nn"), ("normal", "n"), ("normal", "n")),
        held=(0,),
        slack=5,
    ),
    Algorithm(
        learning.standardised,
        learning.numpy_standardised,
        (("normal", "mn"), ("normal", "n"), ("normal", "n")),
        held=(1, 2),
    ),
)
