"""Sixteen narrow layers: a call is mostly Python and NumPy's own overhead, until it is one program."""

from blockfuse import nn

deep = nn.Sequential()
for _ in range(16):
    deep.add(nn.Dense(64, activation="relu", in_units=64))

INPUTS = {"deep": "1x64"}
