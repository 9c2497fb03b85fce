"""LeNet tells handwritten digits apart, 97% and more of unseen ones. Run me to train: ``python lenet.py``.

Stop me with Ctrl-C and run me again: I go on after the last epoch. The pictures are scikit-learn's, 8 x 8, each pixel three
times as wide and high: ``pip install 'blockfuse[train]'``.
"""

from digits import BATCH, load_digits
from training import FOLDER, train

import blockfuse
from blockfuse import gluon, np

EPOCHS = 8


def make_net():
    return gluon.model_zoo.vision.lenet()


def as_pictures(rows):
    """Rows of 64 numbers as pictures of 28 x 28."""
    wide = rows.reshape(-1, 1, 8, 8).repeat(3, axis=2).repeat(3, axis=3)
    return np.pad(wide, ((0, 0), (0, 0), (2, 2), (2, 2)))


def main(epochs=EPOCHS, folder=FOLDER):
    np.random.seed(0)
    net = make_net()
    net.initialize(init="xavier")
    pictures, labels, unseen, unseen_labels = load_digits()
    pictures, unseen = as_pictures(pictures), as_pictures(unseen)
    net(pictures[:1])
    batches = gluon.data.DataLoader(
        gluon.data.ArrayDataset(pictures, labels), BATCH, shuffle=True, last_batch="discard"
    )
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.003})
    step = blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)

    def epoch():
        losses = [float(step(X, y).mean()) for X, y in batches]
        right = net(unseen).argmax(axis=1) == unseen_labels
        return {"loss": sum(losses) / len(losses), "accuracy": float(right.mean())}

    curves = train("lenet", net, trainer, step, epoch, epochs, folder)
    print(f"held-out digits told apart: {curves['accuracy'][-1]:.1%}")
    return net, curves


INPUTS = {"make_net": "4x1x28x28"}

if __name__ == "__main__":
    main()
