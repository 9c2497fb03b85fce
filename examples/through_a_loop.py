"""A regression by ``FixedHiddenMLP``, which loops until its values are small. Run me to train: ``python through_a_loop.py``.

How often it runs depends on the data and on what was learned so far, and the gradient is that of the rounds that were run.
torch.compile would split such a step, and JAX has no gradient of its ``while_loop``; here it is one program.
"""

from seeds import FixedHiddenMLP
from training import FOLDER, train

import blockfuse
from blockfuse import autograd, gluon, np

EPOCHS = 20
SAMPLES = 100


def make_data():
    """Two rows of 20 each, darker or lighter, and a number that says how light: the loop's results are from 1/2 to 1."""
    lightness = np.random.uniform(size=(SAMPLES, 1, 1))
    X = np.random.uniform(size=(SAMPLES, 2, 20)) * lightness
    return X, 0.6 + 0.5 * X.mean(axis=(1, 2))


def main(epochs=EPOCHS, folder=FOLDER):
    np.random.seed(3)
    X, numbers = make_data()
    net = FixedHiddenMLP()
    net.initialize()
    net(X[0])  # parameters learn their shapes
    samples = gluon.data.DataLoader(gluon.data.ArrayDataset(X, numbers), batch_size=1, shuffle=True)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.003})

    @blockfuse.hybridize
    def step(X, wanted):
        with autograd.record():
            loss = (net(X) - wanted) ** 2
        loss.backward()
        trainer.step(1)
        return loss

    def epoch():
        losses = [float(step(X[0], y[0])) for X, y in samples]
        return {"error": (sum(losses) / len(losses)) ** 0.5}

    curves = train("through_a_loop", net, trainer, step, epoch, epochs, folder)
    print(f"the numbers spread by {float(numbers.std()):.3f}, and are met to {curves['error'][-1]:.3f}")
    return net, curves


INPUTS = {"FixedHiddenMLP": "2x20"}

if __name__ == "__main__":
    main()
