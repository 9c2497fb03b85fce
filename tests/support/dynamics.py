"""Steps of differential equations as users write them, each before its meaning in plain NumPy."""

from __future__ import annotations

from math import tau
from typing import Any

import numpy

from blockfuse import np


def kuramoto(theta: Any, omega: Any) -> Any:
    n = theta.shape[0]
    for _ in range(3):
        pull = np.sin(theta[None, :] - theta[:, None]).sum(axis=1)
        theta = theta + 0.05 * (omega + 1.5 / n * pull)
    return theta


def numpy_kuramoto(theta: Any, omega: Any) -> Any:
    for _ in range(3):
        z = numpy.exp(1j * theta).sum()
        theta = theta + 0.05 * (omega + 1.5 / len(theta) * (z * numpy.exp(-1j * theta)).imag)
    return theta


def kuramoto_network(theta: Any, omega: Any, K: Any) -> Any:
    for _ in range(2):
        theta = theta + 0.05 * (omega + (K * np.sin(theta - theta[:, None])).sum(axis=-1) * theta)
    return theta % tau, np.cos(theta).mean()


def numpy_kuramoto_network(theta: Any, omega: Any, K: Any) -> Any:
    for _ in range(2):
        s, c = numpy.sin(theta), numpy.cos(theta)
        theta = theta + 0.05 * (omega + (c * K.dot(s) - s * K.dot(c)) * theta)
    return numpy.mod(theta, 2 * numpy.pi), numpy.average(numpy.cos(theta))


def euler(A: Any, x: Any) -> Any:
    for _ in range(4):
        x = x + 0.05 * (A @ x - x)
    return x


def numpy_euler(A: Any, x: Any) -> Any:
    step = 0.95 * numpy.eye(len(x)) + 0.05 * A
    return numpy.linalg.matrix_power(step, 4).dot(x)


def euler_matrix(A: Any, X: Any) -> Any:
    for _ in range(2):
        X = X + 0.1 * (np.tanh(X) @ A + X * X.mean(axis=-1, keepdims=True))
    return X


def numpy_euler_matrix(A: Any, X: Any) -> Any:
    for _ in range(2):
        X = X + 0.1 * (numpy.tanh(X).dot(A) + X * X.mean(1)[:, None])
    return X


def runge_kutta(A: Any, x: Any) -> Any:
    def slope(x: Any) -> Any:
        return np.tanh(A @ x) - x

    h = 0.2
    for _ in range(2):
        k1 = slope(x)
        k2 = slope(x + h / 2 * k1)
        k3 = slope(x + h / 2 * k2)
        k4 = slope(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def numpy_runge_kutta(A: Any, x: Any) -> Any:
    for _ in range(2):
        k, total = numpy.zeros_like(x), numpy.zeros_like(x)
        for before, weight in ((0.0, 1.0), (0.1, 2.0), (0.1, 2.0), (0.2, 1.0)):
            y = x + before * k
            k = numpy.tanh(A.dot(y)) - y
            total += weight * k
        x = x + 0.2 * total / 6
    return x


def heat_on_a_ring(u: Any) -> Any:
    for _ in range(3):
        u = u + 0.2 * (np.roll(u, 1) - 2 * u + np.roll(u, -1)) - 0.01 * u.mean()
    return u


def numpy_heat_on_a_ring(u: Any) -> Any:
    n = len(u)
    one = numpy.eye(n)
    step = 0.6 * one + 0.2 * (one[range(-1, n - 1)] + one[[*range(1, n), 0]]) - 0.01 / n
    return numpy.linalg.matrix_power(step, 3).dot(u)


def heat_in_a_rod(u: Any) -> Any:
    u = u.copy()
    for _ in range(3):
        u[1:-1] += 0.2 * (u[2:] - 2 * u[1:-1] + u[:-2])
    return u


def numpy_heat_in_a_rod(u: Any) -> Any:
    n = len(u)
    step = numpy.eye(n)
    for i in range(1, n - 1):
        step[i, i - 1 : i + 2] += 0.2, -0.4, 0.2
    return numpy.linalg.matrix_power(step, 3).dot(u)


def gravity(X: Any, m: Any) -> Any:
    d = X[None, :, :] - X[:, None, :]
    r2 = (d**2).sum(axis=-1) + 0.1
    return (d * (m / r2**1.5)[:, :, None]).sum(axis=1)


def numpy_gravity(X: Any, m: Any) -> Any:
    force = numpy.zeros_like(X)
    for i in range(len(X)):
        for j in range(len(X)):
            d = X[j] - X[i]
            force[i] += m[j] * d / (d.dot(d) + 0.1) ** 1.5
    return force
