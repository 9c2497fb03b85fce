"""Checkpoints: a net, its trainer, the random stream and what a program notes itself, in one file.

NOTE [checkpoints]
One .npz file, written at once or not at all, so that its parts are always of one moment: ``net/`` and the name of a
parameter; ``trainer/`` and what NOTE [files of states] says; ``random``, the state of ``np.random``; ``notes/`` and the name
of what the program noted. Gradients are not in it: it is written between steps, when nobody waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import numpy

from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import ParameterFileError, UsageError
from blockfuse.nn import parameter_files
from blockfuse.nn.block import Block
from blockfuse.nn.trainer import Trainer

_RANDOM = "random"


def save_checkpoint(fname: str | PathLike[str], net: Block, trainer: Trainer, **notes: Any) -> None:
    """Write all that a training needs to go on from here, bit for bit: to one file, at once or not at all.

    fname: the file, an ``.npz`` under whatever name. net, trainer: whose parameters and states, with the place of
    ``np.random``.
    notes: what else the program wants back, such as its epoch: numbers, texts, arrays or lists of them; otherwise
    UsageError.

    Raises NotInitializedError, having written nothing, for a parameter without a value.

    >>> import os, tempfile
    >>> import blockfuse
    >>> from blockfuse import gluon, nn
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize()
    >>> trainer = gluon.Trainer(net.collect_params(), "adam")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "training.npz")
    ...     blockfuse.save_checkpoint(file, net, trainer, epoch=3, losses=[0.5, 0.25])
    ...     blockfuse.load_checkpoint(file, net, trainer)
    {'epoch': 3, 'losses': [0.5, 0.25]}
    """
    interpreter.current().impure("writes a file")
    parameters = {name: p.data()._leave("save_checkpoint()") for name, p in net.collect_params().items()}
    arrays = {
        **_under("net", parameters),
        **_under("trainer", trainer._state_arrays()),
        _RANDOM: random.get_state()._leave("save_checkpoint()"),
        **_under("notes", {name: _noted(name, value) for name, value in notes.items()}),
    }
    parameter_files.write(fname, arrays)


def load_checkpoint(fname: str | PathLike[str], net: Block, trainer: Trainer) -> dict[str, Any]:
    """Go on from what ``save_checkpoint`` wrote; gives what the program noted, as Python's numbers, texts and lists.

    fname: the file. net, trainer: made as those that were saved.

    Raises ParameterFileError, having changed nothing, if the file is none of this net and this trainer; FileNotFoundError
    where there is no file.

    >>> import os, tempfile
    >>> import blockfuse
    >>> from blockfuse import gluon, nn
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize()
    >>> trainer = gluon.Trainer(net.collect_params(), "adam")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "training.npz")
    ...     blockfuse.save_checkpoint(file, net, trainer, epoch=3)
    ...     notes = blockfuse.load_checkpoint(file, net, trainer)
    >>> notes["epoch"]
    3
    """
    interpreter.current().impure("reads a file")
    arrays = parameter_files.read(fname)
    states = trainer._states_in(fname, _below("trainer", arrays))
    words = _stream_in(fname, arrays)
    net.collect_params().load_dict(_below("net", arrays), source=fspath(fname))
    trainer._restore(states)
    random.set_state(words)
    return {name: value.tolist() for name, value in _below("notes", arrays).items()}


def _stream_in(fname: str | PathLike[str], arrays: Mapping[str, numpy.ndarray]) -> list[int]:
    try:
        return random.checked_state(arrays.get(_RANDOM, ()))
    except UsageError:
        raise ParameterFileError(
            f"{fspath(fname)} is no checkpoint: it has no state of np.random; nothing was loaded"
        ) from None


def _noted(name: str, value: Any) -> numpy.ndarray:
    array: numpy.ndarray = numpy.asarray(
        value._leave("save_checkpoint()") if isinstance(value, ndarray) else value
    )
    if array.dtype.kind not in "biufU":
        raise UsageError(
            f"save_checkpoint: {name} is a {type(value).__name__}; it can note numbers, texts, and arrays or lists of them"
        )
    return array


def _under(part: str, arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    return {f"{part}/{name}": array for name, array in arrays.items()}


def _below(part: str, arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    start = f"{part}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
