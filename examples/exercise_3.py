"""Exercise 3 of the chapter: a factory that makes copies of one net and a larger net out of them.

Each call of ``make`` gives a block with parameters of its own; using one block several times would share them.
"""

from blockfuse import nn, np


def stack(make, copies):
    """``copies`` new blocks from ``make``, one after the other."""
    net = nn.Sequential()
    net.add(*(make() for _ in range(copies)))
    return net


def make_hidden():
    net = nn.Sequential()
    net.add(nn.Dense(32, activation="relu"), nn.Dense(16, activation="relu"))
    return net


INPUTS = {"stacked": "2x20"}

stacked = stack(make_hidden, copies=3)
stacked.initialize()


if __name__ == "__main__":
    print(stacked(np.ones((2, 20))).shape, len(stacked.collect_params()))
