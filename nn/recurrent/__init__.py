"""Recurrent layers and cells: ``from blockfuse.gluon import rnn``."""

from blockfuse.nn.recurrent.cell import RecurrentCell
from blockfuse.nn.recurrent.cells import GRUCell, LSTMCell, LSTMPCell, RNNCell
from blockfuse.nn.recurrent.compound import BidirectionalCell, HybridSequentialRNNCell, SequentialRNNCell
from blockfuse.nn.recurrent.convolutional import (
    Conv1DGRUCell,
    Conv1DLSTMCell,
    Conv1DRNNCell,
    Conv2DGRUCell,
    Conv2DLSTMCell,
    Conv2DRNNCell,
    Conv3DGRUCell,
    Conv3DLSTMCell,
    Conv3DRNNCell,
)
from blockfuse.nn.recurrent.layers import GRU, LSTM, RNN
from blockfuse.nn.recurrent.modifiers import (
    DropoutCell,
    ModifierCell,
    ResidualCell,
    VariationalDropoutCell,
    ZoneoutCell,
)

HybridRecurrentCell = RecurrentCell  # every block can be hybridized

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BidirectionalCell",
    "Conv1DGRUCell",
    "Conv1DLSTMCell",
    "Conv1DRNNCell",
    "Conv2DGRUCell",
    "Conv2DLSTMCell",
    "Conv2DRNNCell",
    "Conv3DGRUCell",
    "Conv3DLSTMCell",
    "Conv3DRNNCell",
    "DropoutCell",
    "GRUCell",
    "HybridRecurrentCell",
    "HybridSequentialRNNCell",
    "LSTMCell",
    "LSTMPCell",
    "ModifierCell",
    "RNNCell",
    "RecurrentCell",
    "ResidualCell",
    "SequentialRNNCell",
    "VariationalDropoutCell",
    "ZoneoutCell",
]
