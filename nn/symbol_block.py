"""``SymbolBlock``: a net that was exported, without its classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

from blockfuse.array import autograd
from blockfuse.array.saved_calls import Registers, SavedCalls
from blockfuse.ir.errors import UsageError
from blockfuse.nn import graph_files
from blockfuse.nn.block import Block
from blockfuse.nn.graph_files import GraphFile
from blockfuse.nn.parameter import Parameter, check_devices


class SymbolBlock(Block):
    """A net as ``export`` wrote it: its recorded calls, in predict mode, over parameters of its own. Made by ``imports``.

    It is hybridized, explained, saved and differentiated like every block. It takes the calls that the net was given before
    it was exported (of every size of the batch, where the net does the same for all), and raises UsageError for others, in
    train mode, and where data lead to a way that no call had taken.

    content, source: what the file holds, and its name.

    >>> import tempfile
    >>> from blockfuse import nn, np
    >>> net = nn.Dense(2, in_units=3)
    >>> net.initialize()
    >>> net.hybridize()
    >>> y = net(np.ones((1, 3)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = net.export(f"{folder}/net")
    ...     again = nn.SymbolBlock.imports(files[0], ["data"], files[1])
    >>> np.allclose(again(np.ones((1, 3))), y)
    True
    """

    def __init__(self, content: GraphFile, source: str) -> None:
        """source: the file, for people."""
        super().__init__()
        self._source = source
        self._calls = SavedCalls(content.calls, (p.name for p in content.parameters))
        for saved in content.parameters:
            self._reg_params[saved.name] = Parameter(
                saved.name,
                grad_req="write" if saved.learns else "null",
                shape=saved.type.shape,
                dtype=saved.type.dtype,
            )

    @classmethod
    def imports(
        cls,
        symbol_file: str | os.PathLike[str],
        input_names: str | Sequence[str] | None = None,
        param_file: str | os.PathLike[str] | None = None,
        device: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        ctx: Any = None,
    ) -> Self:
        """The net of the file ``symbol_file`` that ``export`` wrote, with the parameters of ``param_file`` if that is given.

        input_names: names for the arrays that it takes, ``data`` if it is one; only their number matters.
        allow_missing, ignore_extra: as of ``ParameterDict.load_dict``. device, ctx: taken for Gluon's sake.

        Raises GraphFileError for a file of graphs, and ParameterFileError for one of parameters, that is not what
        ``export`` wrote for this net. Files may come from anybody: nothing in them is run but operators of the table.
        """
        check_devices(device, ctx)
        content = graph_files.read(symbol_file)
        names = [input_names] if isinstance(input_names, str) else input_names
        counts = sorted({len(call.types) for call in content.calls})
        if names is not None and len(names) not in counts:
            raise UsageError(f"{os.fspath(symbol_file)} takes {counts} arrays, not {len(names)} ({names})")
        net = cls(content, os.fspath(symbol_file))
        if param_file is not None:
            net.load_parameters(param_file, allow_missing=allow_missing, ignore_extra=ignore_extra)
        return net

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if autograd.is_training():
            raise UsageError(
                f"{self._source} holds what the net computes in predict mode: use record(train_mode=False)"
            )
        calls = self._calls
        parameters = tuple(self._reg_params[name].data() for name in calls.parameters)
        call, arrays = calls.find(args, kwargs)
        block: int | None = 0
        registers: Registers = ()
        while block is not None:
            outputs, registers = calls.run(call, block, arrays, parameters, registers)
            following = calls.successors(call, block, arrays)
            if following is None:
                return calls.result(call, outputs)
            # Nothing else waits on the stack here, so that loops close: NOTE [when two points are one].
            block = following[0] if outputs[0] else following[1]
        raise UsageError(
            f"{self._source} was written before any call had gone the way of this one: call the net with such data, and "
            "export it again"
        )
