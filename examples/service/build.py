"""What runs when the image is built: the net is made, compiled for the sizes that will come, and frozen.

``python examples/service/build.py net.frozen``
"""

import sys

import blockfuse
from blockfuse import np
from blockfuse.gluon import nn

FEATURES, CLASSES, MAX_BATCH = 64, 10, 64


def build(path: str) -> str:
    """A classifier, in the place of one that was trained, as a file; gives its path."""
    np.random.seed(0)
    net = nn.Sequential()
    net.add(nn.Dense(128, activation="relu", in_units=FEATURES), nn.BatchNorm(), nn.Dense(CLASSES))
    net.initialize()
    net.hybridize()
    for size in (1, 2, 3):  # three sizes show that the net does the same for all
        reasons = net.warm_up((size, FEATURES))
        assert not reasons, reasons[0]
    return blockfuse.freeze(net, path, max_batch=MAX_BATCH)


if __name__ == "__main__":
    print(build(*sys.argv[1:]))
