"""``hybridize`` also compiles plain functions of arrays, as a decorator."""

import blockfuse
from blockfuse import np


@blockfuse.hybridize
def normalized(x, gain, epsilon=1e-6):
    """The rows of ``x``, each divided by its root mean square."""
    size = np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon)
    return x / size * gain


INPUTS = {"normalized": ["32x64", "64"]}


if __name__ == "__main__":
    print(normalized(np.array([[3.0, 4.0]]), np.ones(2)))
