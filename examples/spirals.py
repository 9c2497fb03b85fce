"""Two spirals told apart: a step of training is one program. Run me to train: ``python spirals.py``."""

import blockfuse
from blockfuse import gluon, nn, np

POINTS = 256  # of each spiral


def make_net():
    net = nn.Sequential()
    net.add(nn.Dense(64, activation="relu", in_units=2))
    net.add(nn.Dense(64, activation="relu", in_units=64))
    net.add(nn.Dense(2, in_units=64))
    return net


def two_spirals():
    """Points of both spirals, and which one each lies on."""
    turn = np.linspace(0.5, 3 * np.pi, POINTS)
    arm = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / np.pi
    noise = np.random.normal(scale=0.03, size=(2 * POINTS, 2))
    return np.concatenate([arm, -arm]) + noise, np.repeat(np.array([0, 1]), POINTS)


def train(net, points, labels, steps=200):
    """Train on all points at once; the mean loss of each step."""
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    step = blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    return [float(step(points, labels).mean()) for _ in range(steps)]


spirals = make_net()

INPUTS = {"spirals": "256x2"}

if __name__ == "__main__":
    np.random.seed(1)
    spirals.initialize(init="xavier")
    points, labels = two_spirals()
    losses = train(spirals, points, labels)
    for step in range(0, len(losses), 40):
        print(f"step {step}: loss {losses[step]:.4f}")
    right = float((spirals(points).argmax(axis=1) == labels).mean())
    print(f"after {len(losses)} steps: loss {losses[-1]:.4f}, {right:.1%} of the points on their spiral")
