"""What all optimizers share: from a gradient as it comes to a new weight in the same memory."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict, TypeVar

import numpy

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter, placement
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.optimizers.counts import UpdateCounts
from blockfuse.nn.signatures import SignatureOfInit

# NOTE [what changes from step to step]
# A training step is recorded and compiled with its optimizer. So all that changes from one step to the next is the content
# of an array: the count of updates, the learning rate, the factor of the gradients. Numbers of Python are what stays:
# decay, momentum and the like are constants of the program, and whoever changes one has the step recorded again. Arrays
# without axes are float64: 1 - 0.999**count has lost a third of its digits in float32.

States = tuple[ndarray, ...]
Scheduler = Callable[[Any], Any]  # count of updates -> learning rate
_HALF, _SINGLE = numpy.dtype("float16"), numpy.dtype("float32")

# Options of Gluon that have nothing to choose here.
_GLUON_OPTIONS = ("aggregate_num", "lazy_update", "param_idx2name", "sym", "use_fused_step")


@dataclass(frozen=True)
class Hyper:
    """What a step is told besides the weight, its gradient and its states.

    lr: the learning rate with the parameter's multiplier, an array of float64 without axes.
    wd: the weight decay with the parameter's multiplier, a number of Python.
    count: how many updates the parameter has had, this one included, an array of float64 without axes.

    >>> from blockfuse import np, optimizer
    >>> class Signed(optimizer.Optimizer):
    ...     def states(self, weight):
    ...         return ()
    ...     def step(self, weight, grad, states, hyper):
    ...         return weight - hyper.lr * np.sign(grad), ()
    >>> w = np.ones(2)
    >>> by = Signed(learning_rate=0.25)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w
    array([0.75, 1.25])
    """

    lr: ndarray  # the learning rate with the parameter's multiplier, float64 without axes
    wd: float  # the weight decay with the parameter's multiplier
    count: ndarray  # how many updates the parameter has had, this one included: float64 without axes


class Options(TypedDict, total=False):
    """What every optimizer takes besides its own options; see ``Optimizer``."""

    rescale_grad: float
    wd: float
    clip_gradient: float | None
    lr_scheduler: Scheduler | None
    begin_num_update: int
    multi_precision: bool
    param_dict: Mapping[Any, Any] | None


class Optimizer:
    """The base of all optimizers. A subclass defines ``step``, and ``states`` where it remembers something.

    rescale_grad: gradients are multiplied by it; ``Trainer.step`` sets it to 1 / batch size.
    wd: the weight decay, a share of the weight that is added to its gradient.
    clip_gradient: the largest absolute value of an element of a gradient, above 0; None does not clip.
    learning_rate: a number; by default the ``default_learning_rate`` of the class, 0.01 of this one.
    lr_scheduler: a function from the count of updates to a learning rate; where both are given, the number becomes the
    ``base_lr`` of the schedule.
    begin_num_update: the count of updates to start with.
    multi_precision: weights of float16 have a copy in float32 that is what training changes. (Steps are computed in float32
    in any case.)
    param_dict: parameters by index, whose ``lr_mult`` and ``wd_mult`` count.
    unknown: ``aggregate_num``, ``lazy_update``, ``param_idx2name``, ``sym`` and ``use_fused_step`` are taken for Gluon's
    sake.

    A gradient is multiplied, then clipped, then ``wd`` times the weight is added, unless the step takes care of decay; then
    comes the step. New values are written into the weight's memory, and into that of the states, when all are computed.
    Weights have any float dtype and shape; states in their shape are float32 for float16, else of the weight's dtype.

    Raises TypeError for options that the class does not have, UsageError for a ``clip_gradient`` that is not above 0. Warns
    where the ``learning_rate`` takes the place of another ``base_lr``.

    >>> from blockfuse import np, optimizer
    >>> class Half(optimizer.Optimizer):
    ...     def step(self, weight, grad, states, hyper):
    ...         return weight - grad * 0.5, states
    >>> weight = np.array([1, 2])
    >>> Half().update(0, weight, np.array([2, 2]), ())
    >>> weight
    array([0., 1.])
    """

    __signature__ = SignatureOfInit()
    default_learning_rate: ClassVar[float] = 0.01
    decouples_decay: ClassVar[bool] = False  # whether ``step`` itself decays the weight, by ``hyper.wd``

    def __init__(
        self,
        rescale_grad: float = 1.0,
        wd: float = 0.0,
        clip_gradient: float | None = None,
        learning_rate: float | None = None,
        lr_scheduler: Scheduler | None = None,
        begin_num_update: int = 0,
        multi_precision: bool = False,
        param_dict: Mapping[Any, Any] | None = None,
        **unknown: Any,
    ) -> None:
        self._check_names(unknown)
        if clip_gradient is not None and not clip_gradient > 0:
            raise UsageError(f"clip_gradient={clip_gradient} would let no gradient pass; None does not clip")
        self.wd, self.clip_gradient = wd, clip_gradient
        self.multi_precision = multi_precision
        self.param_dict = {} if param_dict is None else param_dict
        self.lr_scheduler = lr_scheduler
        self.counts = UpdateCounts(begin_num_update)
        self._rescale = np.array(rescale_grad, dtype="float64")
        if lr_scheduler is not None and learning_rate is not None:
            _set_base(lr_scheduler, learning_rate)
        rate = self.default_learning_rate if learning_rate is None else learning_rate
        self._lr = np.array(rate, dtype="float64")

    def _check_names(self, unknown: dict[str, Any]) -> None:
        for name in unknown:
            if name not in _GLUON_OPTIONS:
                options = ", ".join(sorted(_option_names(type(self))))
                raise TypeError(f"{type(self).__name__} has no option {name!r}; it has {options}")

    # -- for subclasses --------------------------------------------------------------------------------------

    def states(self, weight: ndarray) -> States:  # noqa: ARG002 - most optimizers ask for it
        """What is remembered of a weight from step to step, as it is at first: a tuple of arrays. Nothing by default."""
        return ()

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        """The new weight and the new states: a formula of arrays that writes nothing.

        weight, grad: of one shape and dtype, the gradient scaled, clipped and decayed. states: what ``states`` gave, or the
        last step. hyper: a ``Hyper``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not define step(self, weight, grad, states, hyper)"
        )

    # -- settings --------------------------------------------------------------------------------------------

    @property
    def rescale_grad(self) -> float:
        """What gradients are multiplied by."""
        return float(self._rescale)

    @rescale_grad.setter
    def rescale_grad(self, factor: float) -> None:
        self._rescale[...] = factor

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update; before the first one, what a schedule gives for 0."""
        return float(self._rate(self.counts.most()))

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate to the number ``lr``. Raises UsageError where a schedule sets it."""
        if self.lr_scheduler is not None:
            raise UsageError(
                "the learning rate follows lr_scheduler and cannot be set; change the schedule's base_lr instead"
            )
        self._lr[...] = lr

    @property
    def num_update(self) -> int:
        """How many updates the parameter that had most of them has had."""
        return int(self.counts.most())

    def _rate(self, count: ndarray) -> ndarray:
        return self._lr if self.lr_scheduler is None else np.asarray(self.lr_scheduler(count), "float64")

    # -- updates ---------------------------------------------------------------------------------------------

    def create_state(self, index: Any, weight: ndarray) -> States:  # noqa: ARG002 - Gluon's signature
        """The first states of the weight of an index; with ``multi_precision`` a half's copy in float32 comes first."""
        wide = _wide(weight)
        return (*((wide,) if self._keeps_copy(weight) else ()), *self.states(wide))

    create_state_multi_precision = create_state

    def _keeps_copy(self, weight: ndarray) -> bool:
        return self.multi_precision and weight.dtype == _HALF

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """One step of a weight, or of several where all four arguments are lists.

        index: what the weight is known by in ``param_dict`` and in the counts of updates. weight: is written to. grad: in
        the shape of the weight. state: of ``create_state``, and written to.

        Raises ShapeError, having changed nothing, where a gradient has not its weight's shape.
        """
        if not isinstance(index, list | tuple):
            index, weight, grad, state = [index], [weight], [grad], [state]
        for one, slope in zip(weight, grad, strict=True):
            if one.shape != slope.shape:
                raise ShapeError(f"a gradient of shape {slope.shape} cannot change a weight of {one.shape}")
        counts = self.counts.following(index)
        rate = self._rate(self.counts.most(counts))
        hypers = [self._hyper(one, rate, counts[one]) for one in index]
        new = [self._stepped(*each) for each in zip(weight, grad, state, hypers, strict=True)]
        for target, memory, (value, states) in zip(weight, state, new, strict=True):
            target[...] = np.asarray(value, target.dtype)
            for old, result in zip(memory, states, strict=True):
                old[...] = result
        self.counts.advance(counts)

    update_multi_precision = update

    def _hyper(self, index: Any, rate: ndarray, count: ndarray) -> Hyper:
        parameter = self.param_dict.get(index)
        lr_mult, wd_mult = (1, 1) if parameter is None else (parameter.lr_mult, parameter.wd_mult)
        lr = rate if lr_mult == 1 else rate * lr_mult
        return Hyper(lr, self.wd * wd_mult, count.astype("float64"))

    def _stepped(self, weight: ndarray, grad: ndarray, state: States, hyper: Hyper) -> tuple[ndarray, States]:
        """The new weight, and all that is remembered of it."""
        copies = 1 if self._keeps_copy(weight) else 0
        value = state[0] if copies else _wide(weight)
        slope = self._prepared(np.asarray(grad, value.dtype), value, hyper.wd)
        new, states = self.step(value, slope, state[copies:], hyper)
        return new, (*((new,) if copies else ()), *states)

    def _prepared(self, grad: ndarray, weight: ndarray, wd: float) -> ndarray:
        scaled = grad * like(self._rescale, grad)
        if self.clip_gradient is not None:
            scaled = np.clip(scaled, -self.clip_gradient, self.clip_gradient)
        return scaled + weight * wd if wd and not self.decouples_decay else scaled

    def __repr__(self) -> str:
        return f"{type(self).__name__}(learning_rate={self.learning_rate})"


def like(number: ndarray, x: ndarray) -> ndarray:
    """A number of float64 in the dtype of ``x``, so that it does not widen what it is multiplied with."""
    return np.asarray(number, x.dtype)


def _wide(weight: ndarray) -> ndarray:
    """The weight itself, or a half's values in float32."""
    return np.asarray(weight, _SINGLE) if weight.dtype == _HALF else weight


def _set_base(schedule: Any, learning_rate: float) -> None:
    """Gluon's rule for both a learning rate and a schedule."""
    if getattr(schedule, "base_lr", learning_rate) != learning_rate:
        warnings.warn(
            f"learning_rate={learning_rate} takes the place of base_lr={schedule.base_lr} in the schedule",
            UserWarning,
            stacklevel=4,
        )
    schedule.base_lr = learning_rate


def _option_names(kind: type) -> set[str]:
    """The names of all options of an optimizer and its bases."""
    parameters = [p for base in kind.__mro__[:-1] for p in inspect.signature(base).parameters.values()]
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}


# -- by name -------------------------------------------------------------------------------------------------

# name in lower case -> optimizer
REGISTRY: dict[str, type[Optimizer]] = {}
Kind = TypeVar("Kind", bound=type[Optimizer])


def register(kind: Kind) -> Kind:
    """Let an optimizer be asked for by the name of its class in lower case; gives the class, as a decorator does.

    kind: a subclass of ``Optimizer``. One that has the name already is replaced.

    >>> from blockfuse import optimizer
    >>> @optimizer.register
    ... class Tenth(optimizer.SGD):
    ...     pass
    >>> type(optimizer.create("tenth")).__name__
    'Tenth'
    """
    REGISTRY[kind.__name__.lower()] = kind
    return kind


def create(name: str | Optimizer, **options: Any) -> Optimizer:
    """The optimizer of that name, in upper or lower case, with ``options``; one that is made already is returned.

    Raises UsageError for a name that there is none of, and for options of an optimizer that is made already; TypeError for
    options that the optimizer does not have.

    >>> from blockfuse import optimizer
    >>> optimizer.create("sgd", learning_rate=0.5)
    SGD(learning_rate=0.5)
    """
    if isinstance(name, str):
        kind = REGISTRY.get(name.lower())
        if kind is None:
            raise UsageError(f"there is no optimizer {name!r}; use one of {', '.join(sorted(REGISTRY))}")
        return kind(**options)
    if options:
        raise UsageError(f"{name!r} is made already; set {', '.join(options)} where it is made")
    return name


def zeros_like(weight: ndarray, count: int) -> States:
    """So many states of zeros."""
    if interpreter.current().recording:
        return tuple(np.zeros_like(weight) for _ in range(count))
    return tuple(ndarray(placement.zeros(weight.shape, weight.dtype)) for _ in range(count))
