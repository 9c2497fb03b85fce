"""A deep-equilibrium layer runs until its values settle, and trains through all rounds. Run me: ``python equilibrium.py``.

S. Bai, J. Z. Kolter, V. Koltun, *Deep Equilibrium Models*, 2019. There the gradient comes from the equation that the settled
values solve; here it is simply that of the rounds that were run, through a Python loop that stops when nothing changes any
more, and the whole step is one program.
"""

from training import FOLDER, train

import blockfuse
from blockfuse import gluon, nn, np

EPOCHS = 20
STEPS = 10  # of an epoch, on all points
POINTS = 128  # of each spiral


class Equilibrium(nn.Block):
    """The ``z`` with ``z = tanh(W z + U x + b)``: the sums of a row of ``|W|`` stay below 1, so there is one."""

    def __init__(self, units, in_units, tolerance=0.01, contraction=0.8):
        super().__init__()
        self.tolerance, self.contraction = tolerance, contraction
        self.injection = nn.Dense(units, in_units=in_units)
        self.weight = nn.Parameter("weight", shape=(units, units))

    def forward(self, X):
        injected, W = self.injection(X), self.weight.data()
        W = W / np.maximum(np.abs(W).sum(axis=1).max() / self.contraction, 1)
        z, change = np.tanh(injected), np.array(1.0)
        while change > self.tolerance:
            before, z = z, np.tanh(injected + np.dot(z, W.T))
            change = np.abs(z - before).max()
        return z


def make_net():
    net = nn.Sequential()
    net.add(Equilibrium(24, in_units=2), nn.Dense(2, in_units=24))
    return net


def make_spirals():
    """Points of two spirals, and which one each lies on."""
    turn = np.linspace(0.5, 2 * np.pi, POINTS)
    arm = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / np.pi
    noise = np.random.normal(scale=0.03, size=(2 * POINTS, 2))
    return np.concatenate([arm, -arm]) + noise, np.repeat(np.array([0, 1]), POINTS)


def main(epochs=EPOCHS, folder=FOLDER):
    np.random.seed(1)
    net = make_net()
    net.initialize(init="xavier")
    points, labels = make_spirals()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.02})
    step = blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)

    def epoch():
        losses = [float(step(points, labels).mean()) for _ in range(STEPS)]
        right = net(points).argmax(axis=1) == labels
        return {"loss": sum(losses) / len(losses), "accuracy": float(right.mean())}

    curves = train("equilibrium", net, trainer, step, epoch, epochs, folder)
    print(f"points on their spiral: {curves['accuracy'][-1]:.1%}")
    return net, curves


INPUTS = {"make_net": "256x2"}

if __name__ == "__main__":
    main()
