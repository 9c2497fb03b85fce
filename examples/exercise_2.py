"""Exercise 2 of the chapter: a parallel block, which takes two nets and returns both outputs side by side."""

from blockfuse import nn, np


class Parallel(nn.Block):
    def __init__(self, net1, net2):
        super().__init__()
        self.net1, self.net2 = net1, net2

    def forward(self, X):
        return np.concatenate([self.net1(X), self.net2(X)], axis=-1)


INPUTS = {"parallel": "2x20"}

parallel = Parallel(nn.Dense(16, activation="relu"), nn.Dense(8, activation="tanh"))
parallel.initialize()


if __name__ == "__main__":
    print(parallel(np.ones((2, 20))).shape)
