"""Each error that the reference names is raised by a call, which stands here beside the name."""

import re
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT

import blockfuse
from blockfuse import autograd, gluon, image, init, kvstore, lr_scheduler, nn, np, optimizer
from blockfuse.gluon import data, loss, metric, rnn
from blockfuse.gluon.data import batchify
from blockfuse.gluon.data.vision import transforms

Calls = dict[str, Callable[[], Any]]  # name of an error -> a call that raises it
UNKNOWN, FOLDER = "no such thing", Path(tempfile.gettempdir(), "no", "such", "folder")


def ones(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype=dtype)


def begun(block: Any) -> Any:
    block.initialize()
    return block


def of(block: Any, *shape: int, **options: str) -> Any:
    """What a layer gives for ones."""
    return begun(block)(ones(*shape, **options))


def recorded(function: Callable[..., Any], *arrays: Any) -> Any:
    for array in arrays:
        array.attach_grad()
    with autograd.record():
        return function(*arrays)


def trained(**options: Any) -> gluon.Trainer:
    return gluon.Trainer(begun(nn.Dense(1, in_units=2)).collect_params(), "sgd", **options)


def broken(read: Callable[[str], Any]) -> Any:
    """What reads a file is given one of zeros."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(bytes(64))
        file.flush()
        return read(file.name)


def loaded(transform: Callable[[Any], Any], **options: Any) -> list[Any]:
    """The batches of one sample, by a worker that is a thread."""
    dataset = data.SimpleDataset([0.2]).transform(transform)
    return list(data.DataLoader(dataset, batch_size=1, num_workers=1, thread_pool=True, **options))


def without(package: str, call: Callable[[], Any]) -> Any:
    """As where a package is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package, None)
        return call()


def named(block: Any, **values: Any) -> None:
    block.collect_params().load_dict(values)


class Wrong(autograd.Function):
    """``backward`` gives what it is made with."""

    def __init__(self, *gradients: Any) -> None:
        self.gradients = gradients

    def forward(self, *inputs: Any) -> Any:
        return inputs[0] * 1

    def backward(self, *output_grads: Any) -> Any:  # noqa: ARG002 - the base's
        return self.gradients


class Nothing(nn.Block):
    def forward(self, x: Any) -> Any:
        """Forgets to return."""


RANDOM = np.random
PAIR = ones(2, 3), ones(2, 4)
DENSE = {"weight": ones(1, 2), "bias": ones(1)}

PROMISED: dict[str, Calls] = {
    "image.imread": {
        "FileNotFoundError": lambda: image.imread(FOLDER),
        "UsageError": lambda: broken(image.imread),
    },
    "image.imresize": {
        "ShapeError": lambda: image.imresize(ones(4, 4), 2, 2),
        "UsageError": lambda: image.imresize(ones(4, 4, 3), 2, 2, interp=9),
    },
    "gluon.utils.split_data": {"ShapeError": lambda: gluon.utils.split_data(ones(5, 2), 2)},
    "gluon.utils.check_sha1": {"FileNotFoundError": lambda: gluon.utils.check_sha1(FOLDER, "00")},
    "gluon.utils.download": {"UsageError": lambda: gluon.utils.download(UNKNOWN)},
    "gluon.utils.clip_global_norm": {"UsageError": lambda: gluon.utils.clip_global_norm([], 1.0)},
    # blocks and parameters
    "nn.Block": {
        "NotInitializedError": lambda: nn.Dense(2)(ones(1, 3)),
        "TypeError": lambda: nn.Flatten()(ones(1), ones(1)),
        "UsageError": lambda: Nothing()(ones(1)),
    },
    "nn.Block.hybridize": {"TypeError": lambda: nn.Dense(2).hybridize(thread=1)},
    "nn.Block.warm_up": {"UsageError": lambda: nn.Flatten().warm_up((1, 2))},
    "nn.Block.register_child": {"TypeError": lambda: nn.Block().register_child(3)},  # type: ignore[arg-type]
    "nn.Block.initialize": {
        "ShapeError": lambda: nn.Dense(2, in_units=3).initialize(init.Constant([1, 2])),
        "UsageError": lambda: nn.Dense(2).initialize(UNKNOWN),
    },
    "nn.Block.cast": {"DTypeError": lambda: nn.Dense(2).cast("complex64")},
    "nn.Block.setattr": {"UsageError": lambda: nn.Dense(2).setattr("colour", 1)},
    "nn.Block.reset_device": {"UsageError": lambda: nn.Dense(2).reset_device(UNKNOWN)},
    "nn.Block.share_parameters": {
        "ShapeError": lambda: nn.Dense(2, in_units=3).share_parameters(
            nn.Dense(2, in_units=4).collect_params()
        )
    },
    "nn.Block.save_parameters": {"NotInitializedError": lambda: nn.Dense(2).save_parameters(FOLDER)},
    "nn.Block.load_parameters": {
        "FileNotFoundError": lambda: nn.Dense(2).load_parameters(FOLDER),
        "ParameterFileError": lambda: broken(nn.Dense(2).load_parameters),
        "MissingParameterError": lambda: nn.Dense(1, in_units=2).load_dict({"weight": ones(1, 2)}),
    },
    "nn.Block.export": {"UsageError": lambda: begun(nn.Dense(2, in_units=3)).export(FOLDER)},
    "nn.Parameter": {
        "DTypeError": lambda: nn.Parameter(dtype="complex64"),
        "ShapeError": lambda: nn.Parameter(shape=(-2,)),
        "UsageError": lambda: nn.Parameter(grad_req=UNKNOWN),
    },
    "nn.Parameter.shape": {"ShapeError": lambda: setattr(nn.Parameter(shape=(2, 3)), "shape", (3, 3))},
    "nn.Parameter.grad_req": {"UsageError": lambda: setattr(nn.Parameter(), "grad_req", UNKNOWN)},
    "nn.Parameter.data": {
        "DeferredInitializationError": lambda: begun(nn.Dense(2)).weight.data(),
        "NotInitializedError": lambda: nn.Parameter(shape=2).data(),
    },
    "nn.Parameter.initialize": {"ShapeError": lambda: nn.Parameter().initialize()},
    "nn.Parameter.set_data": {
        "NotInitializedError": lambda: nn.Parameter(shape=2).set_data(ones(2)),
        "ShapeError": lambda: begun(nn.Dense(2, in_units=3)).bias.set_data(ones(3)),
    },
    "nn.Parameter.cast": {"DTypeError": lambda: nn.Parameter().cast("complex64")},
    "nn.Parameter.grad": {
        "GradientError": lambda: nn.Constant([1]).grad(),
        "NotInitializedError": lambda: nn.Parameter(shape=2).grad(),
    },
    "nn.Parameter.reset_device": {"UsageError": lambda: nn.Parameter().reset_device(UNKNOWN)},
    "nn.Constant": {"GradientError": lambda: nn.Constant([1]).grad()},
    "nn.ParameterDict.get": {
        "ShapeError": lambda: nn.Dense(2, in_units=3).params.get("weight", shape=(3, 3))
    },
    "nn.ParameterDict.get_constant": {"KeyError": lambda: nn.Block().params.get_constant("c")},
    "nn.ParameterDict.setattr": {"UsageError": lambda: nn.Dense(2).collect_params().setattr("colour", 1)},
    "nn.ParameterDict.reset_device": {"UsageError": lambda: nn.Dense(2).params.reset_device(UNKNOWN)},
    "nn.ParameterDict.save": {
        "NotInitializedError": lambda: nn.Dense(2).collect_params().save(FOLDER),
        "UsageError": lambda: (
            begun(nn.Dense(2, in_units=3)).collect_params().save(FOLDER, names=lambda _: "x")
        ),
    },
    "nn.ParameterDict.load": {"ParameterFileError": lambda: broken(nn.Dense(2).collect_params().load)},
    "nn.ParameterDict.load_dict": {
        "MissingParameterError": lambda: named(nn.Dense(1, in_units=2), weight=ones(1, 2)),
        "ParameterFileError": lambda: named(nn.Dense(1, in_units=2), **{**DENSE, "bias": ones(2)}),
        "UsageError": lambda: nn.Dense(1).collect_params().load_dict(DENSE, dtype_source=UNKNOWN),
    },
    # layers
    "nn.GELU": {"UsageError": lambda: nn.GELU(UNKNOWN)},
    "nn.Activation": {"UsageError": lambda: nn.Activation(UNKNOWN)},
    "nn.LeakyReLU": {"UsageError": lambda: nn.LeakyReLU(-1)},
    "nn.PReLU": {"ShapeError": lambda: of(nn.PReLU(in_channels=3), 2, 4)},
    "nn.Dense": {
        "ShapeError": lambda: of(nn.Dense(2, in_units=4), 2, 3),
        "UsageError": lambda: nn.Dense(0),
    },
    "nn.Dropout": {"UsageError": lambda: nn.Dropout(1)},
    "nn.Embedding": {"IndexError": lambda: of(nn.Embedding(1, 2), 3)},
    "nn.Flatten": {"ShapeError": lambda: nn.Flatten()(ones())},
    "nn.Lambda": {"UsageError": lambda: nn.Lambda(UNKNOWN)},
    "nn.Concatenate": {
        "TypeError": lambda: nn.Concatenate(axis=UNKNOWN),  # type: ignore[arg-type]
        "UsageError": lambda: nn.Concatenate()(ones(1)),
    },
    "nn.Sequential": {"TypeError": lambda: nn.Sequential(3)},  # type: ignore[arg-type]
    "nn.Sequential.add": {"TypeError": lambda: nn.Sequential().add(3)},  # type: ignore[arg-type]
    "nn.Conv2D": {
        "ShapeError": lambda: of(nn.Conv2D(4, 9), 1, 3, 8, 8),
        "UsageError": lambda: nn.Conv2D(4, 3, groups=3),
    },
    "nn.BatchNorm": {"ShapeError": lambda: of(nn.BatchNorm(in_channels=4), 2, 3)},
    "nn.GroupNorm": {
        "ShapeError": lambda: of(nn.GroupNorm(2), 2, 3),
        "UsageError": lambda: nn.GroupNorm(2, in_channels=3),
    },
    "nn.InstanceNorm": {
        "ShapeError": lambda: of(nn.InstanceNorm(), 2, 3),
        "UsageError": lambda: nn.InstanceNorm(axis=0),
    },
    "nn.LayerNorm": {"ShapeError": lambda: of(nn.LayerNorm(in_channels=2), 2, 3)},
    "nn.MaxPool2D": {
        "ShapeError": lambda: nn.MaxPool2D(7)(ones(1, 1, 5, 5)),
        "UsageError": lambda: nn.MaxPool2D(2, padding=2),
    },
    "nn.PixelShuffle1D": {
        "ShapeError": lambda: nn.PixelShuffle1D(2)(ones(1, 3, 2)),
        "UsageError": lambda: nn.PixelShuffle1D(0),
    },
    "nn.ReflectionPad2D": {
        "ShapeError": lambda: nn.ReflectionPad2D(1)(ones(3, 4, 4)),
        "UsageError": lambda: nn.ReflectionPad2D((1, 2)),
    },
    "nn.UpSampling": {
        "ShapeError": lambda: nn.UpSampling(2)(ones(3, 4, 4)),
        "UsageError": lambda: nn.UpSampling(2, UNKNOWN),
    },
    # draws and gradients
    "np.random.seed": {"TypeError": lambda: RANDOM.seed(UNKNOWN), "ValueError": lambda: RANDOM.seed(-1)},  # type: ignore[arg-type]
    "np.random.set_state": {"UsageError": lambda: RANDOM.set_state([1, 2])},
    "np.random.normal_n": {"UsageError": lambda: RANDOM.normal_n(ctx=UNKNOWN)},
    "np.random.uniform_n": {"UsageError": lambda: RANDOM.uniform_n(ctx=UNKNOWN)},
    "np.random.uniform": {
        "OverflowError": lambda: RANDOM.uniform(0, float("inf")),
        "UsageError": lambda: RANDOM.uniform(ctx=UNKNOWN),
        "ValueError": lambda: RANDOM.uniform(1, 0),
    },
    "np.random.normal": {"ValueError": lambda: RANDOM.normal(0, -1)},
    "np.random.exponential": {"ValueError": lambda: RANDOM.exponential(-1)},
    "np.random.gamma": {"ValueError": lambda: RANDOM.gamma(-1)},
    "np.random.beta": {"ValueError": lambda: RANDOM.beta(0, 1)},
    "np.random.chisquare": {"ValueError": lambda: RANDOM.chisquare(0)},
    "np.random.laplace": {"ValueError": lambda: RANDOM.laplace(0, -1)},
    "np.random.gumbel": {"ValueError": lambda: RANDOM.gumbel(0, -1)},
    "np.random.logistic": {"ValueError": lambda: RANDOM.logistic(0, -1)},
    "np.random.lognormal": {"ValueError": lambda: RANDOM.lognormal(0, -1)},
    "np.random.randint": {"ValueError": lambda: RANDOM.randint(0, 300, dtype="uint8")},
    "np.random.bernoulli": {"ValueError": lambda: RANDOM.bernoulli(2)},
    "np.random.binomial": {"ValueError": lambda: RANDOM.binomial(10, 2)},
    "np.random.poisson": {"ValueError": lambda: RANDOM.poisson(-1)},
    "np.random.choice": {"ValueError": lambda: RANDOM.choice(5, 6, replace=False)},
    "autograd.Function": {
        "GradientError": lambda: recorded(Wrong(), ones(2)).backward(),
        "ShapeError": lambda: recorded(Wrong(ones(3)), ones(2)).backward(),
        "UsageError": lambda: [once(ones(2)) for once in [Wrong()] * 2],
    },
    "autograd.mark_variables": {
        "GradientError": lambda: autograd.mark_variables([ones(2)], [ones(3)]),
        "UsageError": lambda: autograd.mark_variables([ones(2)], []),
    },
    "autograd.backward": {
        "GradientError": lambda: autograd.backward(ones(2)),
        "ShapeError": lambda: autograd.backward([recorded(np.exp, ones(2))], [ones(3)]),
    },
    "autograd.grad": {"GradientError": lambda: autograd.grad(recorded(np.exp, ones(2)), [ones(2)])},
    # losses, optimizers, schedules, metrics, initializers
    "gluon.loss.Loss": {"ShapeError": lambda: loss.L2Loss()(*PAIR)},
    "gluon.loss.LogisticLoss": {"UsageError": lambda: loss.LogisticLoss(label_format=UNKNOWN)},
    "gluon.loss.SigmoidBinaryCrossEntropyLoss": {
        "ShapeError": lambda: loss.SigmoidBCELoss()(ones(2, 3), ones(2, 3), None, ones(2, 2, 3))
    },
    "gluon.loss.HuberLoss": {"UsageError": lambda: loss.HuberLoss(rho=0)},
    "gluon.loss.CTCLoss": {
        "ShapeError": lambda: loss.CTCLoss()(ones(2, 5), ones(2, 2)),
        "UsageError": lambda: loss.CTCLoss(layout=UNKNOWN),
    },
    "optimizer.Optimizer": {
        "TypeError": lambda: optimizer.Adam(lr=1),  # type: ignore[call-arg]
        "UsageError": lambda: optimizer.SGD(clip_gradient=0),
    },
    "optimizer.Optimizer.set_learning_rate": {
        "UsageError": lambda: optimizer.SGD(lr_scheduler=lambda _: 0.1).set_learning_rate(1)
    },
    "optimizer.Optimizer.update": {"ShapeError": lambda: optimizer.SGD().update(0, ones(2), ones(3), ())},
    "optimizer.create": {
        "TypeError": lambda: optimizer.create("sgd", lr=1),
        "UsageError": lambda: optimizer.create(UNKNOWN),
    },
    "optimizer.Updater": {"ShapeError": lambda: optimizer.get_updater(optimizer.SGD())(0, ones(3), ones(2))},
    "optimizer.Updater.prepare": {
        "UsageError": lambda: optimizer.get_updater(optimizer.SGD()).prepare([0, 0], [ones(3), ones(2)])
    },
    "lr_scheduler.LRScheduler": {"UsageError": lambda: lr_scheduler.LRScheduler(warmup_mode=UNKNOWN)},
    "lr_scheduler.FactorScheduler": {"UsageError": lambda: lr_scheduler.FactorScheduler(0)},
    "lr_scheduler.MultiFactorScheduler": {"UsageError": lambda: lr_scheduler.MultiFactorScheduler([5, 4])},
    "lr_scheduler.PolyScheduler": {"UsageError": lambda: lr_scheduler.PolyScheduler(5, warmup_steps=5)},
    "lr_scheduler.CosineScheduler": {"UsageError": lambda: lr_scheduler.CosineScheduler(5, warmup_steps=5)},
    "kvstore.create": {"UsageError": lambda: kvstore.create("dist_async")},
    "gluon.metric.Fbeta": {"UsageError": lambda: metric.Fbeta(average=UNKNOWN)},
    "gluon.metric.TopKAccuracy": {"UsageError": lambda: metric.TopKAccuracy(0)},
    "gluon.metric.create": {"UsageError": lambda: metric.create(UNKNOWN)},
    "gluon.metric.EvalMetric.update": {
        "ShapeError": lambda: metric.MAE().update([1, 2, 3], [1, 2]),
        "UsageError": lambda: metric.Accuracy().update([0.5], [0]),
    },
    "gluon.metric.CrossEntropy": {"UsageError": lambda: metric.CrossEntropy().update([0], [[-1, 1]])},
    "gluon.metric.MeanPairwiseDistance": {"UsageError": lambda: metric.MeanPairwiseDistance(p=0)},
    "init.Constant": {"ShapeError": lambda: init.Constant([1, 2])("weight", ones(3))},
    "init.Orthogonal": {
        "ShapeError": lambda: init.Orthogonal()("weight", ones(3)),
        "UsageError": lambda: init.Orthogonal(rand_type=UNKNOWN)("weight", ones(3, 3)),
    },
    "init.Xavier": {
        "ShapeError": lambda: init.Xavier()("weight", ones(3)),
        "UsageError": lambda: init.Xavier(factor_type=UNKNOWN)("weight", ones(3, 3)),
    },
    "init.LSTMBias": {"ShapeError": lambda: init.LSTMBias()("bias", ones(3))},
    "init.Load": {
        "ShapeError": lambda: init.Load({"weight": ones(3)})("weight", ones(2)),
        "UsageError": lambda: init.Load({})("weight", ones(2)),
    },
    "init.Mixed": {"UsageError": lambda: init.Mixed(["bias"], [])},
    "init.Bilinear": {"ShapeError": lambda: init.Bilinear()("weight", ones(3))},
    "init.create": {"UsageError": lambda: init.create(UNKNOWN)},
    # recurrence
    "gluon.rnn.RecurrentCell.unroll": {
        "ShapeError": lambda: begun(rnn.GRUCell(4)).unroll(5, ones(2, 4, 3)),
        "UsageError": lambda: begun(rnn.GRUCell(4)).unroll(4, ones(2, 4, 3), layout=UNKNOWN),
    },
    "gluon.rnn.RNNCell": {
        "ShapeError": lambda: begun(rnn.RNNCell(4))(ones(2, 3), [ones(3, 4)]),
        "UsageError": lambda: rnn.RNNCell(0),
    },
    "gluon.rnn.BidirectionalCell": {
        "NotImplementedError": lambda: rnn.BidirectionalCell(rnn.RNNCell(2), rnn.RNNCell(2))(ones(2, 3), []),
        "TypeError": lambda: rnn.BidirectionalCell(rnn.RNNCell(2), 3),  # type: ignore[arg-type]
    },
    "gluon.rnn.SequentialRNNCell.add": {"TypeError": lambda: rnn.SequentialRNNCell().add(3)},  # type: ignore[arg-type]
    "gluon.rnn.Conv2DRNNCell": {
        "ShapeError": lambda: begun(rnn.Conv2DRNNCell((3, 8, 8), 4, 3, 3))(ones(2, 3, 7, 8), []),
        "UsageError": lambda: rnn.Conv2DRNNCell((3, 8, 8), 4, 3, 2),
    },
    "gluon.rnn.RNN": {
        "ShapeError": lambda: of(rnn.RNN(4), 5, 3),
        "UsageError": lambda: rnn.RNN(4, projection_size=2),
    },
    "gluon.rnn.DropoutCell": {"UsageError": lambda: rnn.DropoutCell(1)},
    "gluon.rnn.ModifierCell": {"TypeError": lambda: rnn.ZoneoutCell(3)},  # type: ignore[arg-type]
    "gluon.rnn.VariationalDropoutCell": {"UsageError": lambda: rnn.VariationalDropoutCell(rnn.RNNCell(2), 2)},
    "gluon.rnn.ZoneoutCell": {"UsageError": lambda: rnn.ZoneoutCell(rnn.RNNCell(2), 1)},
    # data
    "gluon.data.default_batchify_fn": {
        "DTypeError": lambda: data.default_batchify_fn(["text"]),
        "ShapeError": lambda: data.default_batchify_fn([ones(2), ones(3)]),
        "UsageError": lambda: data.default_batchify_fn([]),
    },
    "gluon.data.ArrayDataset": {
        "ShapeError": lambda: data.ArrayDataset([1], [1, 2]),
        "UsageError": lambda: data.ArrayDataset(),
    },
    "gluon.data.Dataset.shard": {"UsageError": lambda: data.SimpleDataset([1]).shard(2, 2)},
    "gluon.data.Dataset.take": {"UsageError": lambda: data.SimpleDataset([1]).take(-1)},
    "gluon.data.DataLoader": {
        "UsageError": lambda: data.DataLoader([1, 2]),
        "WorkerError": lambda: loaded(lambda _: next(iter(()))),
        "WorkerTimeoutError": lambda: loaded(time.sleep, timeout=0.02),
    },
    "gluon.data.BatchSampler": {"UsageError": lambda: data.BatchSampler([0], 0)},
    "gluon.data.IntervalSampler": {"UsageError": lambda: data.IntervalSampler(5, 0)},
    "gluon.data.RandomSampler": {"UsageError": lambda: data.RandomSampler(-1)},
    "gluon.data.SequentialSampler": {"UsageError": lambda: data.SequentialSampler(-1)},
    "gluon.data.batchify.Stack": {
        "DTypeError": lambda: batchify.Stack()([ones(2), ones(2, dtype="int8")]),
        "ShapeError": lambda: batchify.Stack()([ones(2), ones(3)]),
    },
    "gluon.data.batchify.Pad": {
        "DTypeError": lambda: batchify.Pad(val=0.5)([[1, 2], [3]]),
        "ShapeError": lambda: batchify.Pad()([ones(2), ones(2, 2)]),
        "UsageError": lambda: batchify.Pad(round_to=-1),
    },
    "gluon.data.batchify.Group": {"ShapeError": lambda: batchify.Group(batchify.Stack())([(1, 2)])},
    "gluon.data.vision.CIFAR10": {"UsageError": lambda: data.vision.CIFAR10(FOLDER)},
    "gluon.data.vision.MNIST": {"UsageError": lambda: data.vision.MNIST(FOLDER)},
    "gluon.data.vision.ImageFolderDataset": {"UsageError": lambda: data.vision.ImageFolderDataset(FOLDER)},
    "gluon.data.vision.transforms.Compose": {"UsageError": lambda: transforms.Compose([3])},  # type: ignore[list-item]
    "gluon.data.vision.transforms.Cast": {"DTypeError": lambda: transforms.Cast("complex64")},
    "gluon.data.vision.transforms.ToTensor": {"ShapeError": lambda: transforms.ToTensor()(ones(4, 4))},
    "gluon.data.vision.transforms.Normalize": {
        "ShapeError": lambda: transforms.Normalize([1, 2, 3])(ones(1, 4, 4)),
        "UsageError": lambda: transforms.Normalize(std=0),
    },
    "gluon.data.vision.transforms.Resize": {
        "ShapeError": lambda: transforms.Resize(2)(ones(4, 4)),
        "UsageError": lambda: transforms.Resize(2, interpolation=9),
    },
    "gluon.data.vision.transforms.CropResize": {
        "ShapeError": lambda: transforms.CropResize(3, 0, 2, 2)(ones(4, 4, 3)),
        "UsageError": lambda: transforms.CropResize(-1, 0, 2, 2),
    },
    "gluon.data.vision.transforms.RandomCrop": {
        "OverflowError": lambda: transforms.RandomCrop(2, 1, 300)(ones(4, 4, 3, dtype="uint8")),
        "ShapeError": lambda: transforms.RandomCrop(5)(ones(4, 4, 3)),
        "UsageError": lambda: transforms.RandomCrop(2, pad=-1),
    },
    "gluon.data.vision.transforms.RandomApply": {"UsageError": lambda: transforms.RandomApply([], p=2)},
    "gluon.data.vision.transforms.RandomBrightness": {
        "DTypeError": lambda: transforms.RandomBrightness(1)(ones(4, 4, 3, dtype="int64")),
        "ShapeError": lambda: transforms.RandomBrightness(1)(ones(3, 4, 4)),
        "UsageError": lambda: transforms.RandomBrightness(-1),
    },
    "gluon.data.vision.transforms.RandomGray": {"UsageError": lambda: transforms.RandomGray(2)},
    "gluon.data.vision.transforms.RandomLighting": {
        "ShapeError": lambda: transforms.RandomLighting(1)(ones(4, 4, 1))
    },
    "gluon.data.vision.transforms.Rotate": {
        "DTypeError": lambda: transforms.Rotate(5)(ones(4, 4, 3, dtype="uint8")),
        "ShapeError": lambda: transforms.Rotate(5)(ones(4, 4)),
        "UsageError": lambda: transforms.Rotate(float("nan")),
    },
    "gluon.data.vision.transforms.RandomRotation": {"UsageError": lambda: transforms.RandomRotation((5, -5))},
    "gluon.data.vision.transforms.RandomResizedCrop": {
        "UsageError": lambda: transforms.RandomResizedCrop(2, scale=(2, 1))
    },
    "gluon.data.vision.transforms.RandomFlipLeftRight": {
        "UsageError": lambda: transforms.RandomFlipLeftRight(2)
    },
    "gluon.data.vision.transforms.RandomFlipTopBottom": {
        "UsageError": lambda: transforms.RandomFlipTopBottom(2)
    },
    "gluon.model_zoo.get_model": {
        "TypeError": lambda: gluon.model_zoo.get_model("lenet", colour=1),
        "UsageError": lambda: gluon.model_zoo.get_model(UNKNOWN),
    },
    # training, and what stands at the top
    "Trainer": {
        "TypeError": lambda: trained(optimizer_params={"lr": 1}),
        "UsageError": lambda: trained(kvstore=UNKNOWN),
    },
    "Trainer.set_learning_rate": {
        "UsageError": lambda: trained(optimizer_params={"lr_scheduler": lambda _: 0.1}).set_learning_rate(1)
    },
    "Trainer.step": {"StaleGradientError": lambda: trained().step(1)},
    "Trainer.load_states": {"ParameterFileError": lambda: broken(trained().load_states)},
    "load_checkpoint": {
        "FileNotFoundError": lambda: blockfuse.load_checkpoint(FOLDER, nn.Dense(1), trained()),
        "ParameterFileError": lambda: broken(
            lambda name: blockfuse.load_checkpoint(name, nn.Dense(1), trained())
        ),
    },
    "save_checkpoint": {
        "NotInitializedError": lambda: blockfuse.save_checkpoint(FOLDER, nn.Dense(1), trained()),
        "UsageError": lambda: blockfuse.save_checkpoint(FOLDER, nn.Flatten(), trained(), note=object()),
    },
    "compare": {"TypeError": lambda: blockfuse.compare(3)},
    "show": {
        "TypeError": lambda: blockfuse.show(3, ones(2)),
        "UsageError": lambda: blockfuse.show(nn.Flatten()),
    },
    "compile": {
        "TypeError": lambda: blockfuse.compile(3),
        "UsageError": lambda: without("onnx", lambda: blockfuse.compile("net.onnx")),
    },
    "freeze": {"UsageError": lambda: blockfuse.freeze(nn.Flatten(), FOLDER)},
    "frozen.load": {
        "FrozenFileError": lambda: broken(blockfuse.frozen.load),
        "UsageError": lambda: blockfuse.frozen.load(FOLDER, threads=0),
    },
    "nn.SymbolBlock.imports": {"GraphFileError": lambda: broken(nn.SymbolBlock.imports)},
}

# What needs another package, several processes, a device or a compiled call, and the test that raises it.
ELSEWHERE = {
    ("Trainer.allreduce_grads", "UsageError"): "tests/nn/test_kvstore.py",
    ("kvstore.KVStore.pushpull", "UsageError"): "tests/nn/test_kvstore.py",
    ("kvstore.KVStore.require_same", "UsageError"): "tests/nn/test_kvstore.py",
    ("kvstore.KVStore.summed", "UsageError"): "tests/nn/test_kvstore.py",
    ("compile", "ModelFileError"): "tests/frontends/test_onnx.py",
    ("compile", "UnsupportedOperatorsError"): "tests/frontends/test_onnx.py",
    ("to_onnx", "UnsupportedOperatorsError"): "tests/frontends/test_onnx_writing.py",
    ("to_onnx", "UsageError"): "tests/frontends/test_onnx_writing.py",
    ("torch.backend", "UsageError"): "tests/frontends/test_torch_dynamo.py",
    ("torch.install", "UsageError"): "tests/frontends/test_torch.py",
    ("dask.map_blocks", "ShapeError"): "tests/frontends/test_dask.py",
    ("dask.map_blocks", "UsageError"): "tests/frontends/test_dask.py",
    ("dask.map_partitions", "ShapeError"): "tests/frontends/test_dask.py",
    ("dask.map_partitions", "UsageError"): "tests/frontends/test_dask.py",
    ("frozen.FrozenNet", "UsageError"): "tests/frozen/test_freezing.py",
    ("frozen.load", "OtherMachineError"): "tests/frozen/test_portable.py",
    ("nn.Block.hybridize", "AuditError"): "tests/runtime/test_audit.py",
    ("nn.Block.hybridize", "CudaError"): "tests/codegen/test_cuda_runtime.py",
    ("nn.SymbolBlock", "UsageError"): "tests/nn/test_export.py",
    ("nn.SymbolBlock.imports", "ParameterFileError"): "tests/nn/test_export.py",
}
REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
TOLD_APART = (
    "np",
    "np.linalg",
    "npx",
    "ir.errors",
    "gluon.model_zoo.vision",
)  # or raised by examples, or all alike
EXAMPLE = re.compile(r"^ *>>> .*?(?:\n *\n|\Z)", re.MULTILINE | re.DOTALL)


def promises() -> set[tuple[str, str]]:
    """The names of the reference, and of what classes have, with the errors that their docstrings name."""
    names = [name for name in REFERENCE["homes"]().values() if name.space not in TOLD_APART]
    texts = [(name.path, name.value) for name in names]
    texts += [
        (f"{name.path}.{member}", value)
        for name in names
        if name.kind == "class"
        for member, value in vars(name.value).items()
        if member[0] != "_" and getattr(value, "__name__", member) == member  # no second name of it
    ]
    said = [(path, EXAMPLE.sub("", getattr(value, "__doc__", None) or "")) for path, value in texts]
    return {(path, error) for path, text in said for error in re.findall(r"\b[A-Z]\w*Error\b", text)}


def test_every_error_that_the_reference_names_has_a_call_that_raises_it() -> None:
    here = {(path, error) for path, calls in PROMISED.items() for error in calls}
    absent = tuple(f"{space}." for space in REFERENCE["NEEDS"] if not REFERENCE["public"](space))
    elsewhere = {(path, error) for path, error in ELSEWHERE if not path.startswith(absent)}
    assert here & elsewhere == set()
    assert promises() ^ (here | elsewhere) == set()


def test_what_is_raised_elsewhere_is_named_there() -> None:
    for (_, error), file in ELSEWHERE.items():
        assert error in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PROMISED)
def test_calls_raise_what_is_promised(path: str) -> None:
    for error, call in PROMISED[path].items():
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its name is compared
            call()
        assert type(caught.value).__name__ == error
