"""Names that people who know another library type first, and what to write here in their place.

Asking for one of them raises ``AttributeError`` as for any name that does not exist, so ``hasattr`` and ``getattr`` with a
default do what they always do; the message says what to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy

_DROPS = "layers drop and normalise by batch inside of autograd.record() or autograd.train_mode() only"
_PLACE = "arrays lie in the memory of this machine; net.hybridize(backend='cuda') computes on a device"
_TRAINS = "blockfuse.train_step(net, loss, trainer) makes a step that takes a batch"
_SAVES = "net.save_parameters(file) and net.load_parameters(file)"

PACKAGE: Mapping[str, str] = {
    "Model": "nn.Block: layers in __init__, the computation in forward",
    "Module": "nn.Block: layers in __init__, the computation in forward",
    "Tensor": "np.ndarray",
    "cuda": _PLACE,
    "enable_grad": "with autograd.record():",
    "from_numpy": "np.array(values)",
    "grad": "autograd.record() and y.backward(), or autograd.grad(heads, variables)",
    "jit": "blockfuse.hybridize(function)",
    "layers": "blockfuse.nn",
    "load": _SAVES,
    "losses": "gluon.loss",
    "manual_seed": "np.random.seed(number)",
    "nd": "blockfuse.np and blockfuse.npx",
    "no_grad": "nothing: gradients are followed inside of autograd.record() only",
    "ones": "np.ones(shape)",
    "optim": "gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})",
    "optimizers": "gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})",
    "rand": "np.random.uniform(size=shape)",
    "randn": "np.random.normal(size=shape)",
    "save": _SAVES,
    "script": "blockfuse.hybridize(function)",
    "seed": "np.random.seed(number)",
    "set_default_device": _PLACE,
    "tensor": "np.array(values)",
    "trace": "blockfuse.hybridize(function)",
    "vmap": "operators over the first axis of the batch",
    "zeros": "np.zeros(shape)",
}
_COMPLEX = "two arrays, the real and the imaginary parts: no array has complex numbers"
NUMPY: Mapping[str, str] = {
    "Inf": "np.inf",
    "NaN": "np.nan",
    "angle": _COMPLEX,
    "asfortranarray": "np.asarray(x): where elements lie is no part of an array",
    "asmatrix": "np.array(values), which has two axes where they have",
    "asnumpy": "x.asnumpy()",
    "c_": "np.column_stack(arrays)",
    "cfloat": _COMPLEX,
    "complex128": _COMPLEX,
    "complex64": _COMPLEX,
    "csingle": _COMPLEX,
    "fft": "numpy.fft on x.asnumpy(): no array has complex numbers",
    "float": "float, or np.float64",
    "float_": "np.float64",
    "in1d": "np.isin(element, test_elements)",
    "int": "int, or np.int64",
    "load": "npx.load(file)",
    "ma": "np.where(mask, x, value), or the functions that begin with nan",
    "matrix": "np.array(values), which has two axes where they have",
    "mgrid": "np.indices(shape), or np.meshgrid(*vectors, indexing='ij')",
    "ndenumerate": "np.ndindex(x.shape)",
    "nditer": "np.ndindex(x.shape)",
    "object_": "a list: arrays hold numbers",
    "ogrid": "np.indices(shape, sparse=True)",
    "product": "np.prod(x)",
    "r_": "np.concatenate(arrays)",
    "relu": "npx.relu(x)",
    "save": "npx.save(file, x)",
    "savez": "npx.savez(file, x, y)",
    "sigmoid": "npx.sigmoid(x)",
    "softmax": "npx.softmax(x, axis=-1)",
    "str_": "a list: arrays hold numbers",
    "testing": "numpy.testing, which takes these arrays",
    "trapz": "np.trapezoid(y, x)",
    "vectorize": "operators on whole arrays",
}
LAYERS: Mapping[str, str] = {
    "BCEWithLogitsLoss": "gluon.loss.SigmoidBinaryCrossEntropyLoss()",
    "BatchNorm1d": "nn.BatchNorm()",
    "BatchNorm2d": "nn.BatchNorm()",
    "BatchNormalization": "nn.BatchNorm()",
    "Conv1d": "nn.Conv1D(channels, kernel_size)",
    "Conv2d": "nn.Conv2D(channels, kernel_size)",
    "Conv3d": "nn.Conv3D(channels, kernel_size)",
    "CrossEntropyLoss": "gluon.loss.SoftmaxCrossEntropyLoss()",
    "Dropout2d": "nn.Dropout(rate, axes=(2, 3))",
    "GRU": "gluon.rnn.GRU(hidden_size)",
    "Input": "nothing: shapes are known from the first call",
    "LSTM": "gluon.rnn.LSTM(hidden_size)",
    "Layer": "nn.Block: layers in __init__, the computation in forward",
    "LayerNormalization": "nn.LayerNorm()",
    "Linear": "nn.Dense(units, in_units=features)",
    "MSELoss": "gluon.loss.L2Loss(), which is half of it",
    "MaxPool2d": "nn.MaxPool2D(pool_size)",
    "AvgPool2d": "nn.AvgPool2D(pool_size)",
    "Model": "nn.Block: layers in __init__, the computation in forward",
    "Module": "nn.Block: layers in __init__, the computation in forward",
    "ModuleDict": "attributes, or self.register_child(block, name) for each",
    "ModuleList": "nn.Sequential, which can be indexed and iterated",
    "RNN": "gluon.rnn.RNN(hidden_size)",
    "ReLU": "nn.Activation('relu'), or activation='relu' of nn.Dense",
    "Sigmoid": "nn.Activation('sigmoid')",
    "Softmax": "npx.softmax(x, axis=-1) in forward, or nn.Lambda(npx.softmax)",
    "Softplus": "nn.Activation('softrelu')",
    "Tanh": "nn.Activation('tanh')",
    "functional": "blockfuse.npx and blockfuse.np",
}
ARRAY: Mapping[str, str] = {
    "assign": "x[...] = values",
    "bool": "x.astype(bool)",
    "clone": "x.copy()",
    "contiguous": "nothing: layout does not matter",
    "cpu": "x.asnumpy()",
    "cuda": _PLACE,
    "data": "x.detach(), or x.asnumpy()",
    "dim": "x.ndim",
    "double": "x.astype('float64')",
    "eq": "x == y",
    "float": "x.astype('float32')",
    "grad_fn": "nothing: x.backward() knows",
    "half": "x.astype('float16')",
    "int": "x.astype('int32')",
    "is_cuda": _PLACE,
    "long": "x.astype('int64')",
    "masked_fill": "np.where(mask, value, x)",
    "matmul": "x @ y",
    "numel": "x.size",
    "numpy": "x.asnumpy()",
    "permute": "x.transpose(axes)",
    "pow": "x**y",
    "relu": "npx.relu(x)",
    "requires_grad": "x.attach_grad()",
    "requires_grad_": "x.attach_grad()",
    "sigmoid": "npx.sigmoid(x)",
    "softmax": "npx.softmax(x, axis=-1)",
    "to": "x.astype(dtype)",
    "type": "x.astype(dtype)",
    "unsqueeze": "np.expand_dims(x, axis)",
    "view": "x.reshape(shape)",
}
BLOCK: Mapping[str, str] = {
    "build": "nothing: shapes are known from the first call",
    "children": "net.apply(function), which calls it with each block",
    "compile": "net.hybridize()",
    "count_params": "net.summary(x)",
    "cpu": _PLACE,
    "cuda": _PLACE,
    "double": "net.cast('float64')",
    "eval": f"nothing: {_DROPS}",
    "evaluate": "a loop over batches and a metric of gluon.metric",
    "fit": _TRAINS,
    "get_weights": "[p.data() for p in net.collect_params().values()]",
    "half": "net.cast('float16')",
    "load_state_dict": "net.load_dict({name: array}), or net.load_parameters(file)",
    "load_weights": "net.load_parameters(file)",
    "modules": "net.apply(function), which calls it with each block",
    "named_parameters": "net.collect_params().items()",
    "parameters": "net.collect_params().values()",
    "predict": "net(x)",
    "register_buffer": "Constant(name, values) as an attribute",
    "requires_grad_": "net.collect_params().setattr('grad_req', 'null')",
    "save": "net.save_parameters(file)",
    "save_weights": "net.save_parameters(file)",
    "set_weights": "parameter.set_data(values) for each of net.collect_params().values()",
    "state_dict": "{name: p.data() for name, p in net.collect_params().items()}, or net.save_parameters(file)",
    "to": f"net.cast(dtype); {_PLACE}",
    "train": f"nothing: {_DROPS}",
    "trainable_weights": "net.collect_params().values()",
    "weights": "net.collect_params().values()",
}


def numpy_hints(name: str) -> Mapping[str, str]:
    """What to write for a name that NumPy has, or once had, and ``np`` has not."""
    found = getattr(numpy, name, None)
    if name in NUMPY or name.startswith("_") or isinstance(found, type) or not callable(found):
        return NUMPY
    return {name: f"numpy.{name}, which takes these arrays and leaves compiled code"}


def no_attribute(holder: Any, name: str, hints: Mapping[str, str]) -> AttributeError:
    """The error for a name that ``holder`` lacks, a module or an object."""
    is_module = isinstance(holder, ModuleType)
    what = f"module {holder.__name__!r}" if is_module else f"{type(holder).__name__!r} object"
    hint = hints.get(name)
    said = f"{what} has no attribute {name!r}" + (f"; write {hint}" if hint else "")
    # the interpreter adds a name that is spelled alike where it knows both
    return AttributeError(said, name=name, obj=holder) if hint is None else AttributeError(said)
