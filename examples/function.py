"""``hybridize`` also compiles plain functions of arrays, as a decorator."""

import blockfuse
from blockfuse import np


@blockfuse.hybridize
def distances(points, centres):
    """Of every point to every centre."""
    apart = points[:, None, :] - centres[None, :, :]
    return np.sqrt((apart * apart).sum(axis=-1))


INPUTS = {"distances": ["100x3", "8x3"]}


if __name__ == "__main__":
    print(distances(np.zeros((2, 3)), np.ones((1, 3))))
