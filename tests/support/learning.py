"""Steps of machine learning as users write them, each before its meaning in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse import np, npx


def leaky_cells(W: Any, U: Any, h: Any, xs: Any) -> Any:
    for t in range(xs.shape[0]):
        h = 0.7 * h + 0.3 * np.tanh(W @ h + U @ xs[t] + h)
    return h


def numpy_leaky_cells(W: Any, U: Any, h: Any, xs: Any) -> Any:
    for x in xs:
        h = h + 0.3 * (numpy.tanh((W + numpy.eye(len(h))).dot(h) + U.dot(x)) - h)
    return h


def leaky_batch(W: Any, U: Any, h: Any, x: Any) -> Any:
    a = np.exp(-np.abs(h).mean(axis=0))
    for _ in range(2):
        h = (1 - a) * h + a * np.tanh(h @ W.T + x @ U.T)
    return h


def numpy_leaky_batch(W: Any, U: Any, h: Any, x: Any) -> Any:
    a = numpy.exp(-numpy.abs(h).sum(0) / len(h))
    for _ in range(2):
        h = h + a * (numpy.tanh(W.dot(h.T) + U.dot(x.T)).T - h)
    return h


def radial_basis(X: Any, C: Any, w: Any) -> Any:
    squares = ((X[:, None] - C) ** 2).sum(-1)
    return np.exp(-0.5 * squares) @ w


def numpy_radial_basis(X: Any, C: Any, w: Any) -> Any:
    return numpy.array(
        [sum(v * numpy.exp(-((x - c) ** 2).sum() / 2) for c, v in zip(C, w, strict=True)) for x in X]
    )


def radial_basis_line(x: Any, c: Any, w: Any) -> Any:
    phi = np.exp(-((x[:, None] - c[None, :]) ** 2))
    return (phi * w).sum(axis=1) / phi.sum(axis=1) + x


def numpy_radial_basis_line(x: Any, c: Any, w: Any) -> Any:
    phi = numpy.exp(-(numpy.subtract.outer(x, c) ** 2))
    return phi.dot(w) / phi.sum(1) + x


def self_attention(x: Any, q: Any, k: Any) -> Any:
    scores = (q * x)[:, None] * (k * x)[None, :]
    return npx.softmax(scores, axis=-1) @ x + x


def numpy_self_attention(x: Any, q: Any, k: Any) -> Any:
    e = numpy.exp(numpy.outer(q * x, k * x))
    return e.dot(x) / e.sum(1) + x


def attention_by_hand(Q: Any, K: Any, V: Any) -> Any:
    scores = Q @ K.T / Q.shape[-1] ** 0.5
    scores = scores - scores.max(axis=1, keepdims=True)
    weights = np.exp(scores)
    return (weights / weights.sum(axis=1, keepdims=True)) @ V


def numpy_attention_by_hand(Q: Any, K: Any, V: Any) -> Any:
    e = numpy.exp(numpy.einsum("id,jd->ij", Q, K) / numpy.sqrt(Q.shape[1]))
    return numpy.einsum("ij,jd->id", e, V) / e.sum(1)[:, None]


def covariance(X: Any) -> Any:
    mean = X.mean(axis=0)
    D = X - mean
    C = D.T @ D / X.shape[0]
    s = np.sqrt(np.diag(C) + 1)
    return C / s / s[:, None], mean


def numpy_covariance(X: Any) -> Any:
    C = numpy.atleast_2d(numpy.cov(X, rowvar=False, bias=True))
    s = numpy.sqrt(C.diagonal() + 1)
    return C / numpy.outer(s, s), numpy.average(X, 0)


def whitening(X: Any) -> Any:
    D = X - X.mean(axis=0, keepdims=True)
    w, V = np.linalg.eigh(D.T @ D / len(X) + np.eye(X.shape[1]))
    return D @ (V / np.sqrt(w)) @ V.T


def numpy_whitening(X: Any) -> Any:
    D = X - numpy.average(X, 0)
    U, s, V = numpy.linalg.svd(D, full_matrices=False)
    return (U * (s / numpy.sqrt(s**2 / len(X) + 1))).dot(V)


def neighbours(X: Any) -> Any:
    D = ((X[:, None, :] - X[None, :, :]) ** 2).sum(axis=-1)
    P = npx.softmax(-D - 50 * np.eye(len(X)), axis=1)
    return P @ X, P


def numpy_neighbours(X: Any) -> Any:
    P = numpy.exp(-numpy.array([[(x - y).dot(x - y) for y in X] for x in X]) - 50 * numpy.eye(len(X)))
    P /= P.sum(1)[:, None]
    return P.dot(X), P


def neighbours_by_products(X: Any) -> Any:
    squares = (X**2).sum(axis=1)
    D = np.maximum(squares[:, None] + squares - 2 * X @ X.T, 0)
    E = np.exp(-D)
    return E / E.sum(axis=0) - E / E.sum(axis=1, keepdims=True)


def numpy_neighbours_by_products(X: Any) -> Any:
    E = numpy.exp(-numpy.array([[(x - y).dot(x - y) for y in X] for x in X]))
    return E / E.sum(0)[None] - E / E.sum(1)[:, None]


def k_means(X: Any, C: Any) -> Any:
    for _ in range(2):
        D = ((X[:, None, :] - C[None, :, :]) ** 2).sum(axis=2)
        nearest = npx.one_hot(np.argmin(D, axis=1), C.shape[0]).astype(X.dtype)
        C = (nearest.T @ X + C) / (nearest.sum(axis=0)[:, None] + 1)
    return C


def numpy_k_means(X: Any, C: Any) -> Any:
    for _ in range(2):
        nearest = [min(range(len(C)), key=lambda j: ((x - C[j]) ** 2).sum()) for x in X]
        sums, counts = C.copy(), numpy.ones(len(C))
        for x, j in zip(X, nearest, strict=True):
            sums[j] += x
            counts[j] += 1
        C = sums / counts[:, None]
    return C


def mixture(X: Any, mu: Any, p: Any) -> Any:
    log = np.log(p / p.sum()) - 0.5 * ((X[:, None] - mu) ** 2).sum(-1)
    top = log.max(axis=-1, keepdims=True)
    total = top + np.log(np.exp(log - top).sum(axis=-1, keepdims=True))
    R = np.exp(log - total)
    return (R.T @ X) / R.sum(0)[:, None], R.mean(axis=0), total.sum()


def numpy_mixture(X: Any, mu: Any, p: Any) -> Any:
    R = p / sum(p) * numpy.exp(-0.5 * numpy.array([[(x - m).dot(x - m) for m in mu] for x in X]))
    total = R.sum(1)
    R /= total[:, None]
    return numpy.einsum("ik,id->kd", R, X) / R.sum(0)[:, None], R.sum(0) / len(X), numpy.log(total).sum()


def logistic_descent(X: Any, y: Any, w: Any) -> Any:
    for _ in range(3):
        w = w - 0.5 * X.T @ (npx.sigmoid(X @ w) - y) / len(X)
    return w


def numpy_logistic_descent(X: Any, y: Any, w: Any) -> Any:
    for _ in range(3):
        error = 1 / (1 + numpy.exp(-X.dot(w))) - y
        w = w - 0.5 * numpy.mean(error[:, None] * X, axis=0)
    return w


def kalman(F: Any, P: Any, x: Any, z: Any) -> Any:
    x, P = F @ x, F @ P @ F.T + np.eye(len(x))
    gain = P @ np.linalg.inv(P + np.eye(len(x)))
    return x + gain @ (z - x), P - gain @ P


def numpy_kalman(F: Any, P: Any, x: Any, z: Any) -> Any:
    one = numpy.eye(len(x))
    P = one + F.dot(P).dot(F.T)
    after = numpy.linalg.inv(one + numpy.linalg.inv(P))
    return F.dot(x) + after.dot(z - F.dot(x)), after


def standardised(X: Any, g: Any, b: Any) -> Any:
    mean = X.mean(axis=1, keepdims=True)
    var = ((X - mean) ** 2).mean(axis=1, keepdims=True)
    Y = (X - mean) / np.sqrt(var + 0.1) * g + b
    return Y * X.sum(axis=0) + g


def numpy_standardised(X: Any, g: Any, b: Any) -> Any:
    rows = [(x - numpy.average(x)) / numpy.sqrt(numpy.var(x) + 0.1) for x in X]
    return (numpy.array(rows) * g + b) * X.sum(0) + g
