"""A small classifier of 28 x 28 pictures: 784-256-128-10, one picture and a batch of 32."""

from blockfuse import nn


def make_mlp():
    net = nn.Sequential()
    net.add(nn.Dense(256, activation="relu", in_units=784))
    net.add(nn.Dense(128, activation="relu", in_units=256))
    net.add(nn.Dense(10, in_units=128))
    return net


one_picture = make_mlp()
batch_of_32 = make_mlp()

INPUTS = {"one_picture": "1x784", "batch_of_32": "32x784"}
