"""Solvers of equations and paths in graphs as users write them, each before its meaning in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse import np


def newton_roots(a: Any) -> Any:
    x = a * 0.5 + 0.5
    error = np.abs(x * x - a).max()
    while error > 1e-3:
        x = 0.5 * (x + a / x)
        error = np.abs(x * x - a).max()
    return x


def numpy_newton_roots(a: Any) -> Any:
    return numpy.sqrt(a)


def newton_system(A: Any, b: Any, x: Any) -> Any:
    for _ in range(3):
        value = A @ x + x**3 - b
        slope = A + np.diag(3 * x * x)
        x = x - np.linalg.solve(slope, value)
    return x, A @ x + x**3 - b


def numpy_newton_system(A: Any, b: Any, x: Any) -> Any:
    for _ in range(3):
        slope = numpy.array(A)
        slope[numpy.diag_indices(len(x))] += 3 * x**2
        x = x - numpy.linalg.inv(slope).dot(A.dot(x) + x**3 - b)
    return x, A.dot(x) + x**3 - b


def jacobi(A: Any, b: Any, x: Any) -> Any:
    d = np.diagonal(A)
    error = np.abs(b - A @ x).max()
    while error > 1e-4:
        x = x + (b - A @ x) / d
        error = np.abs(b - A @ x).max()
    return x


def numpy_solution(A: Any, b: Any, _x: Any) -> Any:
    return numpy.linalg.solve(A, b)


def jacobi_steps(A: Any, b: Any, x: Any) -> Any:
    d = np.diag(A)
    R = A - np.diag(d)
    for _ in range(4):
        x = (b - R @ x) / d
    return x


def numpy_jacobi_steps(A: Any, b: Any, x: Any) -> Any:
    for _ in range(4):
        x = numpy.array(
            [(b[i] - sum(A[i, j] * x[j] for j in range(len(x)) if j != i)) / A[i, i] for i in range(len(x))]
        )
    return x


def gauss_seidel(A: Any, b: Any, x: Any) -> Any:
    x = x.copy()
    for i in range(len(x)):
        x[i] = x[i] + (b[i] - A[i] @ x) / A[i, i]
    return x


def numpy_gauss_seidel(A: Any, b: Any, x: Any) -> Any:
    lower = numpy.tril(A)
    return numpy.linalg.solve(lower, b - (A - lower).dot(x))


def relaxation(A: Any, b: Any, x: Any) -> Any:
    lower, upper = np.tril(A), np.triu(A, 1)
    while np.abs(A @ x - b).sum() > 1e-3:
        x = np.linalg.solve(lower, b - upper @ x)
    return x


def conjugate_gradients(A: Any, b: Any) -> Any:
    x = np.zeros_like(b)
    r = b - A @ x
    p = r
    rs = (r * r).sum()
    while rs > 1e-7:
        Ap = A @ p
        alpha = rs / (p * Ap).sum()
        x = x + alpha * p
        r = r - alpha * Ap
        new = (r * r).sum()
        p = r + (new / rs) * p
        rs = new
    return x


def numpy_conjugate_gradients(A: Any, b: Any) -> Any:
    return numpy.linalg.solve(A, b)


def page_rank(P: Any, r: Any) -> Any:
    n = len(r)
    P = P / P.sum(axis=0)
    r = r / r.sum()
    change = np.abs(r).sum()
    while change > 1e-5:
        following = 0.5 * (P @ r) + 0.5 / n
        change = np.abs(following - r).sum()
        r = following
    return r


def numpy_page_rank(P: Any, r: Any) -> Any:
    P = P / numpy.sum(P, 0, keepdims=True)
    return numpy.linalg.solve(numpy.eye(len(r)) - 0.5 * P, numpy.full(len(r), 0.5 / len(r)))


def power_iteration(A: Any, v: Any) -> Any:
    for _ in range(3):
        w = A @ v + v
        v = w / np.sqrt((w * w).sum())
    return v, v @ (A @ v)


def numpy_power_iteration(A: Any, v: Any) -> Any:
    for _ in range(3):
        v = (A + numpy.eye(len(v))).dot(v)
        v = v / numpy.linalg.norm(v)
    return v, v.dot(A).dot(v)


def sinkhorn(K: Any, a: Any, b: Any) -> Any:
    u, v = np.ones_like(a), np.ones_like(b)
    for _ in range(3):
        u = a / (K @ v)
        v = b / (K.T @ u)
    return u[:, None] * K * v[None, :]


def numpy_sinkhorn(K: Any, a: Any, b: Any) -> Any:
    P = K.copy()
    for _ in range(3):
        P = P * (a / P.sum(1))[:, numpy.newaxis]
        P = P * (b / P.sum(0))
    return P


def floyd_warshall(D: Any) -> Any:
    for k in range(len(D)):
        D = np.minimum(D, D[:, k, None] + D[k])
    return D


def numpy_floyd_warshall(D: Any) -> Any:
    D = D.copy()
    n = len(D)
    for k in range(n):
        for i in range(n):
            D[i] = numpy.fmin(D[i], D[i, k] + D[k])
    return D


def shortest_paths(D: Any) -> Any:
    change = D.max()
    while change > 0:
        shorter = np.minimum(D, (D[:, :, None] + D[None, :, :]).min(axis=1))
        change = (D - shorter).max()
        D = shorter
    return D
