"""A net that writes like the text it read, letter by letter. Run me to train: ``python characters.py``.

What I read is the license that comes with blockfuse; then I go on with a beginning that you give me:
``python characters.py "Subject to"``. Stop me with Ctrl-C and run me again: I go on after the last epoch.
"""

import sys
from importlib import metadata
from pathlib import Path

from training import FOLDER, train

import blockfuse
from blockfuse import gluon, nn, np
from blockfuse.gluon import rnn

EPOCHS = 30
LETTERS = 96  # of ASCII, from the space on, and one for everything else
BATCH, TIMES = 16, 32


class Characters(nn.Block):
    """What may come next, (times, batch, letters), for each letter of (times, batch), and the states behind them."""

    def __init__(self, kind=rnn.GRU, hidden=96):
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 32)
        self.recurrent = kind(hidden, input_size=32)
        self.out = nn.Dense(LETTERS, flatten=False, in_units=hidden)

    def forward(self, letters, states=None):
        embedded = self.embedding(letters)
        if states is None:
            return self.out(self.recurrent(embedded))
        outputs, states = self.recurrent(embedded, states)
        return self.out(outputs), states


def read_license():
    """The text, beside this file's folder in a checkout and among the files of an installed package."""
    beside = Path(__file__).resolve().parents[1] / "LICENSE"
    return beside.read_text() if beside.exists() else metadata.distribution("blockfuse").read_text("LICENSE")


def numbers_of(text):
    return [ord(letter) - 32 if 32 <= ord(letter) < 127 else LETTERS - 1 for letter in " ".join(text.split())]


def written(net, beginning, count=80):
    """``beginning``, and the letters that the net takes for the likeliest behind it."""
    numbers = numbers_of(beginning)
    states = net.recurrent.begin_state(1)
    given = np.array(numbers).reshape(-1, 1)
    for _ in range(count):
        likely, states = net(given, states)
        given = likely[-1:].argmax(axis=-1)
        numbers.append(int(given))
    return "".join(chr(number + 32) if number < LETTERS - 1 else "?" for number in numbers)


def main(epochs=EPOCHS, folder=FOLDER, beginning="Subject to"):
    np.random.seed(0)
    net = Characters()
    net.initialize(init="xavier")
    net.hybridize()
    numbers = np.array(numbers_of(read_license()))
    count = (len(numbers) - 1) // TIMES
    before, behind = (numbers[n : n + count * TIMES].reshape(count, TIMES) for n in (0, 1))
    batches = gluon.data.DataLoader(
        gluon.data.ArrayDataset(before, behind), BATCH, shuffle=True, last_batch="discard"
    )
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.005})
    step = blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(batch_axis=1), trainer)

    def epoch():
        losses = [float(step(X.T, y.T).mean()) for X, y in batches]
        return {"loss of a letter": sum(losses) / len(losses)}

    curves = train("characters", net, trainer, step, epoch, epochs, folder)
    print(written(net, beginning))
    return net, curves


INPUTS = {"Characters": "8x2:int32"}

if __name__ == "__main__":
    main(beginning=" ".join(sys.argv[1:]) or "Subject to")
