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
    ├── FrozenFileError               a frozen net that is damaged, or made for another machine  (also a ValueError)
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
    """The root of the tree above."""


class TraceError(BlockfuseError):
    """A recording cannot be turned into a graph; the call itself goes on eagerly."""


class FaultError(BlockfuseError):
    """An operator of a program met values for which it raises; the call raises in Python, if it does not catch it."""


class VerificationError(BlockfuseError):
    """A graph is not well formed."""


class NotInitializedError(BlockfuseError, RuntimeError):
    """A parameter has no value yet."""


class DeferredInitializationError(NotInitializedError):
    """A parameter has no value yet because its shape is not known before the first call."""


class StaleGradientError(BlockfuseError, UserWarning):
    """Parameters whose gradients are those of the last step, or of none. Nothing was changed."""


class ShapeError(BlockfuseError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(BlockfuseError, TypeError):
    """A dtype outside of float16/32/64, int8/16/32/64, uint8 and bool."""


class GradientError(BlockfuseError, RuntimeError):
    """A gradient was asked for that nothing recorded leads to, or that is not known any more."""


class ParameterFileError(BlockfuseError, ValueError):
    """A parameter file that does not fit the net. Nothing was loaded."""


class MissingParameterError(ParameterFileError, AssertionError):
    """A parameter file without some of the net's parameters. Nothing was loaded."""


class ModelFileError(BlockfuseError, ValueError):
    """A file of another library is cut off, contradicts itself, or claims what it does not hold."""


class UnsupportedOperatorsError(BlockfuseError, NotImplementedError):
    """A model uses operators that have no rule; the message names all of them."""


class GraphFileError(BlockfuseError, ValueError):
    """A file of recorded graphs that is damaged, of another version, or no such file. Nothing was loaded."""


class FrozenFileError(BlockfuseError, ValueError):
    """A file of a frozen net that is damaged, for another machine or version, or no such file. Nothing was mapped."""


class CheckError(BlockfuseError):
    """A program that does not give what the eager call gives: a bug of ours. Calls run in Python instead."""


class CompilerWarning(RuntimeWarning):
    """Something keeps calls from being compiled, a fault of ours or a profiler: they run in Python, with right results."""


class MixedDtypesWarning(UserWarning):
    """A large product of matrices of several dtypes is computed in the widest of them, which takes longer."""


class AuditError(BlockfuseError):
    """A compiled call gave something else than its eager repetition: a bug of ours, or state that nobody saw change."""


class NoDeviceKernelError(BlockfuseError):
    """A kernel that no device can run; the message is the reason."""


class CudaError(BlockfuseError, RuntimeError):
    """A CUDA device that cannot be used. Nothing has changed."""


class DeviceMemoryError(CudaError, MemoryError):
    """A device without enough free memory. The net can be used, with smaller batches or on the processor."""


class DeviceLostError(CudaError):
    """A device that this process cannot use any more. The net can be used on the processor."""


class WorkerError(BlockfuseError, RuntimeError):
    """A worker of a DataLoader died, or raised what cannot be sent. The iteration has ended."""


class WorkerTimeoutError(WorkerError, TimeoutError):
    """A batch of a DataLoader takes longer than its timeout. The iteration has ended."""


class UsageError(BlockfuseError, ValueError):
    """A command or call that cannot be carried out as written."""
