"""Every mistake that has a name.

    BlockfuseError
    ├── TraceError                    a recording cannot go on (internal: dispatch answers by running eagerly)
    ├── FaultError                    an operator of a program raised (internal: Python runs the call from the start)
    ├── VerificationError             a pass made a graph that is not well formed (a bug of ours)
    ├── NotInitializedError           a parameter is read before ``initialize()``        (also a RuntimeError)
    │   └── DeferredInitializationError   ... before its shape is known
    ├── StaleGradientError            a training step without new gradients                (also a UserWarning)
    ├── ShapeError                    shapes do not fit                                    (also a ValueError)
    ├── DTypeError                    a dtype that the language does not have              (also a TypeError)
    ├── GradientError                 a gradient that there is none of                     (also a RuntimeError)
    ├── ParameterFileError            a parameter file does not fit the net                (also a ValueError)
    │   └── MissingParameterError     ... it lacks entries                              (also an
    │                                     AssertionError)
    ├── GraphFileError                a file of recorded graphs that cannot be what ``export`` wrote (also a ValueError)
    ├── FrozenFileError               a frozen net that is damaged                         (also a ValueError)
    │   └── OtherMachineError             ... or made for another machine or version
    ├── CheckError                    a program gave something else than the call it was made from (internal: dispatch
    │                                     runs such calls in Python and warns)
    ├── AuditError                    a compiled call that was repeated eagerly gave something else
    ├── NoDeviceKernelError           a kernel that no device can run (internal: it runs on the processor)
    ├── CudaError                     CUDA is missing or too old, or failed                (also a RuntimeError)
    │   ├── DeviceMemoryError         ... the device has too little memory left             (also a MemoryError)
    │   └── DeviceLostError           ... this process cannot use the device any more
    ├── WorkerError                   a worker of a DataLoader died, or its error cannot be shown (also a RuntimeError)
    │   └── WorkerTimeoutError        ... a batch takes too long                            (also a TimeoutError)
    ├── ModelFileError                a file of another library is not what it claims      (also a ValueError)
    ├── UnsupportedOperatorsError     ... or uses operators that have no rule               (also a NotImplementedError)
    └── UsageError                    a command or call that asks for something impossible  (also a ValueError)

A message says what was found, where, and what to do. What goes wrong in the compiler is no error of the call: that runs in
Python, and a CompilerWarning (a RuntimeWarning) says so once. A MixedDtypesWarning says what is slow, and what to write
instead.

>>> from blockfuse import nn, np
>>> nn.Dense(2, in_units=3)(np.ones((1, 4)))
Traceback (most recent call last):
    ...
blockfuse.ir.errors.NotInitializedError: parameter weight has no value yet: call initialize() on the block that holds it
>>> net = nn.Dense(2, in_units=3)
>>> net.initialize()
>>> try:
...     net(np.ones((1, 4)))
... except ValueError as error:  # each is an error of Python, too
...     print(type(error).__name__)
ShapeError
"""

from __future__ import annotations


class BlockfuseError(Exception):
    """The root of all errors of ours, for who wants to catch any of them. Errors of Python and NumPy stay what they are.

    >>> from blockfuse import nn
    >>> from blockfuse.ir.errors import BlockfuseError
    >>> try:
    ...     nn.Dense(2).weight.data()
    ... except BlockfuseError as error:
    ...     print(type(error).__name__)
    NotInitializedError
    """


class TraceError(BlockfuseError):
    """A recording cannot be turned into a graph, or not into one for all sizes. No call raises it.

    The call runs in Python, or has a program for each size, and ``explain()`` gives the reason and the cure.

    >>> import blockfuse
    >>> total = blockfuse.hybridize(lambda x: x.sum(axis=0))  # of all items of the batch
    >>> total.warm_up((2, 3)), total.warm_up((5, 3))
    ((), ())
    >>> "does not compute each item of the batch by itself" in total.explain()
    True
    """


class FaultError(BlockfuseError):
    """An operator of a program met values for which it raises. No call raises it.

    The call runs again in Python from the start, which raises what an eager call raises, or goes on where ``forward``
    catches that.

    >>> import blockfuse
    >>> from blockfuse import np
    >>> row = blockfuse.hybridize(lambda x, i: x[i])
    >>> row.warm_up((2, 3), np.array([0], dtype="int64"))
    ()
    >>> row(np.ones((2, 3)), np.array([5], dtype="int64"))
    Traceback (most recent call last):
    IndexError: index 5 is out of bounds for axis 0 with size 2
    """


class VerificationError(BlockfuseError):
    """A graph is not well formed: ``ir.verify.verify`` names the node and the user's line, and prints the graph.

    Passes are checked by it in tests. Where it comes from a call, it is a bug of ours: the call runs in Python, and a
    ``CompilerWarning`` says so.

    >>> from blockfuse.ir.graph import argument, graph_of, leaf
    >>> from blockfuse.ir.types import tensor
    >>> from blockfuse.ir.verify import verify
    >>> x = leaf(argument, "x", tensor((2,), "float32"))
    >>> verify(graph_of(inputs=(), outputs=(x,)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.VerificationError: ...
    """


class NotInitializedError(BlockfuseError, RuntimeError):
    """The value of a parameter is read before there is one: by a call, ``data()``, ``grad()`` or ``save_parameters``.

    Call ``initialize()`` or ``load_parameters()`` on the block that holds it.

    >>> from blockfuse import nn
    >>> nn.Dense(2, in_units=3).weight.data()
    Traceback (most recent call last):
    blockfuse.ir.errors.NotInitializedError: parameter weight has no value yet: call initialize() on the block that holds it
    """


class DeferredInitializationError(NotInitializedError):
    """A parameter has an initializer and no value yet, as its shape is not known before the first call.

    Call the block once, or give the whole shape when it is made, as by ``in_units`` and ``in_channels``.

    >>> from blockfuse import nn
    >>> net = nn.Dense(2)
    >>> net.initialize()
    >>> net.weight.data()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.DeferredInitializationError: parameter weight has no value yet, as its shape (2, -1) is not known ...
    """


class StaleGradientError(BlockfuseError, UserWarning):
    """``Trainer.step`` or ``update`` finds parameters whose gradients are those of the last step, or of none.

    Nothing was changed. ``ignore_stale_grad=True`` leaves such parameters as they are.

    >>> from blockfuse import gluon, nn
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize()
    >>> gluon.Trainer(net.collect_params(), "sgd").step(batch_size=1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.StaleGradientError: no new gradient since the last step: bias, weight. Either backward() was not ...
    """


class ShapeError(BlockfuseError, ValueError):
    """Shapes that do not fit together, in a layer, a loss, a product of matrices or a parameter; the message has both.

    What only NumPy computes raises NumPy's ValueError, as sums of shapes that do not broadcast do.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.L2Loss()(np.ones((2, 3)), np.ones((2, 4)))
    Traceback (most recent call last):
    blockfuse.ir.errors.ShapeError: L2Loss: the label of shape (2, 4) does not fit the prediction of shape (2, 3)
    """


class DTypeError(BlockfuseError, TypeError):
    """A dtype that arrays cannot have, or that an operator cannot take.

    Arrays have float16, float32, float64, int8 to int64, uint8 to uint64 or bool: no complex numbers, texts or objects.

    >>> from blockfuse import np
    >>> np.zeros(2, dtype="complex64")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.DTypeError: dtype complex64 is not supported; use one of float32, float64, ...
    """


class GradientError(BlockfuseError, RuntimeError):
    """A gradient was asked for that nothing recorded leads to, or that is not known any more.

    ``backward`` raises it for what was computed outside of ``autograd.record()``, and the second time without
    ``retain_graph=True``; ``grad()`` where ``grad_req`` is ``"null"``; a write in place where it would lose a gradient.

    >>> from blockfuse import np
    >>> np.ones(2).backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.GradientError: the array was not computed inside of autograd.record() ...
    """


class ParameterFileError(BlockfuseError, ValueError):
    """A file or dict of parameters or of states that cannot be read, or has other names, shapes or dtypes than the net.

    Nothing was loaded. The message lists all that does not fit.

    >>> from blockfuse import nn, np
    >>> nn.Dense(1, in_units=2).load_dict({"weight": np.ones((1, 3)), "bias": np.ones(1)})
    Traceback (most recent call last):
    blockfuse.ir.errors.ParameterFileError: the dict does not fit the net, and nothing was loaded:
      weight has shape (1, 3); the net needs (1, 2)
    """


class MissingParameterError(ParameterFileError, AssertionError):
    """A file or dict without some of the net's parameters, and nothing else is wrong. Nothing was loaded.

    ``allow_missing=True`` leaves these parameters as they are.

    >>> from blockfuse import nn, np
    >>> nn.Dense(1, in_units=2).load_dict({"weight": np.ones((1, 2))})
    Traceback (most recent call last):
    blockfuse.ir.errors.MissingParameterError: the dict does not fit the net, and nothing was loaded:
      bias is missing
    allow_missing=True leaves missing parameters as they are
    """


class ModelFileError(BlockfuseError, ValueError):
    """``blockfuse.compile`` is given a file of ONNX that is cut off, contradicts itself, or claims what it does not hold.

    >>> import tempfile
    >>> import onnx  # without it, UsageError
    >>> import blockfuse
    >>> with tempfile.NamedTemporaryFile(suffix=".onnx") as empty:
    ...     blockfuse.compile(empty.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.ModelFileError: ... holds no graph: it is no ONNX file, or is cut off
    """


class UnsupportedOperatorsError(BlockfuseError, NotImplementedError):
    """A file of ONNX uses operators that have no rule, or ``to_onnx`` is given a net that ONNX has no form of.

    The message names all of them; ``blockfuse.missing(model)`` gives those of a file without raising.

    >>> import onnx  # without it, UsageError
    >>> import blockfuse
    >>> absolute = blockfuse.hybridize(lambda x: x if x.sum() > 0 else -x)
    >>> blockfuse.to_onnx(absolute, (3,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.UnsupportedOperatorsError: ... cannot be written as ONNX: it takes one of several ways, ...
    """


class GraphFileError(BlockfuseError, ValueError):
    """``SymbolBlock.imports`` is given a file that ``export`` cannot have written: damaged, or of a newer version.

    Nothing was loaded. Where there is no such file, it is Python's FileNotFoundError.

    >>> import tempfile
    >>> from blockfuse import nn
    >>> with tempfile.NamedTemporaryFile() as empty:
    ...     nn.SymbolBlock.imports(empty.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.GraphFileError: ...
    """


class FrozenFileError(BlockfuseError, ValueError):
    """``frozen.load`` is given a file that is damaged, or that another version wrote. Nothing was mapped.

    Freeze the net anew. Where there is no such file, it is Python's FileNotFoundError.

    >>> import tempfile
    >>> from blockfuse import frozen
    >>> with tempfile.NamedTemporaryFile() as empty:
    ...     frozen.load(empty.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.FrozenFileError: ...: it is no file that blockfuse.freeze wrote, or is cut
    """


class OtherMachineError(FrozenFileError):
    """``frozen.load`` is given a net whose native code does not run here: another processor, interpreter or library.

    Nothing was mapped. Freeze the net on such a machine, or with ``portable=True``, and load it with ``allow_compile=True``.

    >>> from blockfuse.ir.errors import FrozenFileError, OtherMachineError
    >>> issubclass(OtherMachineError, FrozenFileError)
    True
    """


class CheckError(BlockfuseError):
    """A program does not give what the eager call gives: a bug of ours, or state that changed. No call raises it.

    The calls run in Python, with right results, and a ``CompilerWarning`` names the first operator that is wrong and a
    script that shows it: please send us that. Without checks there is no such error, and nobody notices.

    >>> import blockfuse
    >>> from blockfuse import np
    >>> unchecked = blockfuse.hybridize(lambda x: x + 1, check=False)
    >>> unchecked(np.ones(2))
    array([2., 2.])
    """


class CompilerWarning(RuntimeWarning):
    """Something keeps calls from being compiled, a fault of ours or a profiler: they run in Python, with right results.

    The message and ``explain()`` have the reason. Once for each reason of a net.

    >>> import sys, warnings
    >>> import blockfuse
    >>> from blockfuse import np
    >>> doubled = blockfuse.hybridize(lambda x: x * 2)
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     sys.setprofile(lambda *_: None)
    ...     y = doubled(np.ones(2))
    ...     sys.setprofile(None)
    >>> [warning.category.__name__ for warning in seen]
    ['CompilerWarning']
    """


class MixedDtypesWarning(UserWarning):
    """A large product of matrices of several dtypes is computed in the widest of them, which takes longer.

    The message names the product and what to write: most often the input is float64, as NumPy makes arrays. Large: what is
    promoted has 16384 elements or more. Once for each net and pair of dtypes.

    >>> import warnings
    >>> from blockfuse import nn, np
    >>> net = nn.Dense(128, in_units=128)
    >>> net.initialize()
    >>> net.hybridize()
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     net.warm_up((1, 128), dtype="float64")
    ()
    >>> [warning.category.__name__ for warning in seen]
    ['MixedDtypesWarning']
    """


class AuditError(BlockfuseError):
    """A compiled call gave something else than its eager repetition, which ``hybridize(audit=...)`` asks for.

    It is a bug of ours, or state that nobody saw change. The message names the first operator that differs, its line, and
    a script that shows it, in ``faults/`` of the cache folder.

    >>> from blockfuse import nn, np
    >>> class Times(nn.Block):
    ...     factor = 2.0
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> net = Times()
    >>> net.hybridize(audit=1)
    >>> net.warm_up((2,))
    ()
    >>> vars(net)["factor"] = 3.0  # not the way to assign an attribute
    >>> net(np.ones(2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.AuditError: Times(float32[2]): the compiled call differs from the eager call: ...
    """


class NoDeviceKernelError(BlockfuseError):
    """A kernel that no device can run; the message is the reason. No call raises it.

    The step runs on the processor, or the whole call does, and ``explain()`` says so.

    >>> from blockfuse.codegen.cuda.source.addresses import max_rows
    >>> max_rows(accesses=(), extents=(2**33,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.NoDeviceKernelError: ...
    """


class CudaError(BlockfuseError, RuntimeError):
    """CUDA is missing, too old, or has failed: by ``hybridize(backend="cuda")``, which then changes nothing, or by a call.

    ``backend="cpu"`` works everywhere, and ``backend="auto"`` takes a device only where there is one.

    >>> from blockfuse import nn
    >>> from blockfuse.ir.errors import CudaError
    >>> net = nn.Dense(2)
    >>> try:
    ...     net.hybridize(backend="cuda")
    ... except CudaError:  # no NVIDIA driver, no device, or a package is missing
    ...     net.hybridize(backend="cpu")
    """


class DeviceMemoryError(CudaError, MemoryError):
    """A device has not enough free memory for a call. The net can be used, with smaller batches or ``backend="cpu"``.

    >>> from blockfuse.codegen.cuda.device.simulated_device import SimulatedDevice
    >>> SimulatedDevice(capacity=16).new_memory(17)
    Traceback (most recent call last):
    blockfuse.ir.errors.DeviceMemoryError: the simulator has no 17 bytes left of 16
    """


class DeviceLostError(CudaError):
    """A device that this process cannot use any more: a kernel failed on it, or the process was forked with CUDA in use.

    Go on with ``net.hybridize(backend="cpu")``, or start the process anew (children by the start method ``"spawn"``).

    >>> from blockfuse.ir.errors import CudaError, DeviceLostError
    >>> issubclass(DeviceLostError, CudaError)  # ``except CudaError`` catches it
    True
    """


class WorkerError(BlockfuseError, RuntimeError):
    """A worker of a DataLoader died, raised what cannot be sent, or raised StopIteration. The iteration has ended.

    Other errors of a worker are raised as they are, with its traceback as a note.

    >>> from blockfuse import gluon
    >>> data = gluon.data.SimpleDataset([[]]).transform(lambda sample: next(iter(sample)))
    >>> list(gluon.data.DataLoader(data, batch_size=1, num_workers=1, thread_pool=True))
    Traceback (most recent call last):
    blockfuse.ir.errors.WorkerError: batch 0 of a DataLoader raised StopIteration
    """


class WorkerTimeoutError(WorkerError, TimeoutError):
    """A batch of a DataLoader takes longer than its ``timeout``, in seconds. The iteration has ended.

    >>> import time
    >>> from blockfuse import gluon
    >>> data = gluon.data.SimpleDataset([0.5]).transform(time.sleep)
    >>> list(gluon.data.DataLoader(data, batch_size=1, num_workers=1, thread_pool=True, timeout=0.02))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.WorkerTimeoutError: batch 0 of a DataLoader did not come within 0.02 seconds; ...
    """


class UsageError(BlockfuseError, ValueError):
    """A command or call that cannot be carried out as written; the message says what can be written instead.

    >>> from blockfuse import nn
    >>> nn.Activation("rleu")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    blockfuse.ir.errors.UsageError: there is no activation 'rleu'; use one of relu, sigmoid, tanh, ...
    """
