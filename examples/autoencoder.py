"""Digits through the eye of a needle: 64 pixels become 8 numbers, and pixels again. Run me: ``python autoencoder.py``.

What I learn without labels, and how well, is in build/train/ then: curves, and digits above what came out for them. Needs
scikit-learn's pictures: ``pip install 'blockfuse[train]'``.
"""

from pathlib import Path

from digits import load_digits
from training import FOLDER, train

import blockfuse
from blockfuse import autograd, gluon, nn, np, npx

EPOCHS = 40
BATCH = 32


class Autoencoder(nn.Block):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential()
        self.encoder.add(nn.Dense(32, activation="tanh", in_units=64), nn.Dense(8, in_units=32))
        self.decoder = nn.Sequential()
        self.decoder.add(nn.Dense(32, activation="tanh", in_units=8), nn.Dense(64, in_units=32))

    def forward(self, X):
        return npx.sigmoid(self.decoder(self.encoder(X)))


def main(epochs=EPOCHS, folder=FOLDER):
    np.random.seed(0)
    net = Autoencoder()
    net.initialize(init="xavier")
    pictures, _, unseen, _ = load_digits()
    batches = gluon.data.DataLoader(
        gluon.data.ArrayDataset(pictures), BATCH, shuffle=True, last_batch="discard"
    )
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.003})
    distance = gluon.loss.L2Loss()

    @blockfuse.hybridize
    def step(X):
        with autograd.record():
            loss = distance(net(X), X)
        loss.backward()
        trainer.step(len(X))
        return loss

    def epoch():
        losses = [float(step(X).mean()) for X in batches]
        error = np.sqrt(((net(unseen) - unseen) ** 2).mean())
        return {"loss": sum(losses) / len(losses), "error of a pixel": float(error)}

    curves = train("autoencoder", net, trainer, step, epoch, epochs, folder)
    draw(net, unseen[:10], Path(folder, "autoencoder-digits.png"))
    return net, curves


def draw(net, digits, file):
    """Digits in a row, and below them what the net makes of them."""
    try:
        from matplotlib import image
    except ImportError:
        return
    rows = [np.concatenate(list(a.reshape(-1, 8, 8)), axis=1) for a in (digits, net(digits))]
    picture = np.concatenate(rows).repeat(8, axis=0).repeat(8, axis=1)
    image.imsave(file, picture.asnumpy(), cmap="gray_r")
    print(f"digits, and what came out for them: {file}")


INPUTS = {"Autoencoder": "32x64"}

if __name__ == "__main__":
    main()
