"""Handwritten digits, 97% and more of unseen ones told apart. Run me to train: ``make train``, or ``python digits.py``.

Stop me with Ctrl-C and run me again: I go on after the last epoch, to the same bits. The pictures are scikit-learn's, 1797
of 8 x 8: ``pip install 'blockfuse[train]'``.
"""

from training import FOLDER, train

import blockfuse
from blockfuse import gluon, nn, np

EPOCHS = 25
BATCH = 32


def make_net():
    net = nn.Sequential()
    net.add(nn.Dense(128, activation="relu", in_units=64), nn.Dropout(0.2))
    net.add(nn.Dense(64, activation="relu", in_units=128))
    net.add(nn.Dense(10, in_units=64))
    return net


def load_digits():
    """Pictures and labels to learn from, then those of the third that is held out."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    pictures = (digits.data / 16).astype("float32")
    split = model_selection.train_test_split(
        pictures, digits.target, test_size=1 / 3, random_state=0, stratify=digits.target
    )
    return [np.array(part) for part in (split[0], split[2], split[1], split[3])]


def main(epochs=EPOCHS, folder=FOLDER):
    np.random.seed(0)
    net = make_net()
    net.initialize(init="xavier")
    pictures, labels, unseen, unseen_labels = load_digits()
    batches = gluon.data.DataLoader(
        gluon.data.ArrayDataset(pictures, labels), BATCH, shuffle=True, last_batch="discard"
    )
    rate = blockfuse.lr_scheduler.CosineScheduler(EPOCHS * len(batches), base_lr=0.003)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"lr_scheduler": rate})
    step = blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)

    def epoch():
        losses = [float(step(X, y).mean()) for X, y in batches]
        right = net(unseen).argmax(axis=1) == unseen_labels
        return {"loss": sum(losses) / len(losses), "accuracy": float(right.mean())}

    curves = train("digits", net, trainer, step, epoch, epochs, folder)
    print(f"held-out digits told apart: {curves['accuracy'][-1]:.1%}")
    return net, curves


INPUTS = {"make_net": "32x64"}

if __name__ == "__main__":
    main()
