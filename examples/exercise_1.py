"""Exercise 1 of the chapter: what goes wrong if ``MySequential`` stores its blocks in a Python list.

A block finds the blocks that are its attributes, not those in a list. So nobody initialises, saves or trains them: there is
a warning where it is done, and an error where a parameter is then read. ``register_child`` keeps the list and repairs both.
"""

import warnings

from blockfuse import nn, np


class ListSequential(nn.Block):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = list(blocks)

    def forward(self, X):
        for block in self.blocks:
            X = block(X)
        return X


class RegisteredSequential(ListSequential):
    def __init__(self, *blocks):
        super().__init__(*blocks)
        for block in blocks:
            self.register_child(block)


INPUTS = {"registered": "2x20"}

registered = RegisteredSequential(nn.Dense(256, activation="relu"), nn.Dense(10))
registered.initialize()


if __name__ == "__main__":
    X = np.ones((2, 20))
    net = ListSequential(nn.Dense(256, activation="relu"), nn.Dense(10))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.initialize()
    print("warning:", caught[0].message)
    try:
        net(X)
    except RuntimeError as error:
        print("error:", error)
    print("registered:", registered(X).shape)
