"""The values that a block holds: parameters, which it learns, and constants."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy

from blockfuse.array import autograd, history, stamps
from blockfuse.array.arguments import checked_dtype
from blockfuse.array.devices import Device, check_device, current_device
from blockfuse.array.eager import EAGER
from blockfuse.array.functions import creation
from blockfuse.array.ndarray import ndarray
from blockfuse.array.stamps import Watchers
from blockfuse.ir import interpreter, placement
from blockfuse.ir.errors import (
    DeferredInitializationError,
    GradientError,
    NotInitializedError,
    ShapeError,
    UsageError,
)
from blockfuse.ir.interpreter import interpreting
from blockfuse.nn.initializers import Init, Uniform, create
from blockfuse.nn.structure import Held

GRAD_REQS = ("write", "add", "null")
UNKNOWN = -1  # a size that the first call will tell; Gluon writes 0 as well


@dataclass
class Waiting:
    """What will draw a value once the shape is known. drawn: what threads have drawn; the first value counts."""

    init: Init
    drawn: list[ndarray] = field(default_factory=list)


class Parameter(Held):
    """An array that a block learns, known before its shape need be. A block holds it as an attribute.

    name: what messages call it while no block holds it.
    grad_req: whether gradients overwrite (``"write"``), add up (``"add"``) or are not computed (``"null"``).
    shape: a size or several; those that are not known yet are -1 (or 0, or None).
    dtype: that of the array, float32 by default.
    lr_mult, wd_mult: what an optimizer's learning rate and weight decay are multiplied by.
    init: what draws the first value; it beats the initializer that ``Block.initialize`` is given.
    allow_deferred_init: wait for the shape instead of failing when ``initialize`` is called too early.
    differentiable: False makes ``grad_req`` ``"null"`` for good.
    stype, grad_stype: only ``"default"``: there is no sparse storage.

    Raises UsageError for another ``grad_req`` or storage, ShapeError for sizes below -1, DTypeError for a dtype that arrays
    cannot have.

    >>> from blockfuse import nn
    >>> weight = nn.Parameter("weight", shape=(2, 3), init="ones")
    >>> weight.initialize()
    >>> weight.data().shape
    (2, 3)
    """

    # The first call may set the value and its shape, and a program looks at its arrays itself.
    __untracked__ = Held.__untracked__ | {"_data", "_shape", "_waiting"}

    def __init__(
        self,
        name: str = "weight",
        grad_req: str = "write",
        shape: int | Iterable[int | None] | None = None,
        dtype: Any = "float32",
        lr_mult: float = 1.0,
        wd_mult: float = 1.0,
        init: Init | None = None,
        allow_deferred_init: bool = False,
        differentiable: bool = True,
        stype: str = "default",
        grad_stype: str = "default",
    ) -> None:
        if stype != "default" or grad_stype != "default":
            raise UsageError(
                f"parameter {name}: there is no sparse storage; leave stype and grad_stype at 'default'"
            )
        self.name = name
        self._differentiable = differentiable
        self.grad_req = grad_req
        self._shape = None if shape is None else sizes_of(shape)
        self._dtype = checked_dtype(dtype)
        self.lr_mult, self.wd_mult = lr_mult, wd_mult
        self.init = init
        self.allow_deferred_init = allow_deferred_init
        self._data: ndarray | None = None
        self._waiting: Waiting | None = None
        self._watchers = Watchers()

    def __setattr__(self, name: str, value: Any) -> None:
        told = name == "__class__" or (name[0] != "_" and name not in ("shape", "dtype"))
        if told and "_watchers" in vars(
            self
        ):  # a forward may ask for it; what sets the value tells by itself
            self._watchers.changing(object.__setattr__, self, name, value)
        else:
            object.__setattr__(self, name, value)

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """What messages call it: the names from the outermost block down, or its own if no block holds it."""
        return self.structural_name or self.name

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The sizes, -1 where unknown; None while not even their number is known.

        It can be assigned as long as it contradicts nothing that is known, otherwise ShapeError; a whole one draws the
        value that waited for it.
        """
        return self._shape

    @shape.setter
    def shape(self, shape: int | Iterable[int | None]) -> None:
        self._narrow(sizes_of(shape))
        waiting = self._waiting
        if waiting is not None and self._shape_known:
            waiting.drawn.append(self._drawn(waiting.init))
            if self._waiting is waiting:
                self._adopt(waiting.drawn[0])

    @property
    def _shape_known(self) -> bool:
        return self._shape is not None and UNKNOWN not in self._shape

    def _narrow(self, shape: tuple[int, ...]) -> None:
        if not self._admits(shape):
            raise ShapeError(f"parameter {self.label} has shape {self._shape}, which does not allow {shape}")
        known = self._shape or shape
        self._shape = tuple(new if old == UNKNOWN else old for old, new in zip(known, shape, strict=True))

    def _admits(self, shape: tuple[int, ...]) -> bool:
        if self._shape is None:
            return True
        pairs = zip(self._shape, shape, strict=False)
        return len(shape) == len(self._shape) and all(a == b or UNKNOWN in (a, b) for a, b in pairs)

    @property
    def dtype(self) -> numpy.dtype:
        """That of the value, now or once there is one; assigning it is ``cast``."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        self.cast(dtype)

    @property
    def grad_req(self) -> str:
        """Whether gradients overwrite (``write``), add up (``add``) or are not computed (``null``); UsageError for another
        word.
        """
        return self._grad_req

    @grad_req.setter
    def grad_req(self, grad_req: str) -> None:
        if grad_req not in GRAD_REQS:
            raise UsageError(
                f"parameter {self.label}: grad_req={grad_req!r} is not one of {', '.join(GRAD_REQS)}"
            )
        self._grad_req = grad_req if self._differentiable else "null"
        self._follow_gradients()

    def _follow_gradients(self) -> None:
        """Make a variable of the array, or an array like any other, as ``grad_req`` says; its gradient stays."""
        data = vars(self).get("_data")
        if data is None:
            return
        variable = history.variable_of(data)
        if self.grad_req == "null" or data.dtype.kind != "f":
            autograd.unmark(data)
        elif variable is None:
            autograd.mark(data, self.grad_req, None, held=True)
        else:  # what was recorded before leads to this one
            variable.requirement = self.grad_req

    # -- its value -------------------------------------------------------------------------------------------

    def data(self, device: Any = None, ctx: Any = None) -> ndarray:  # noqa: ARG002 - all devices are one
        """The array itself: writing into it changes the parameter. device, ctx: taken for Gluon's sake.

        Raises NotInitializedError while there is none, DeferredInitializationError while it waits for its shape.
        """
        if self._data is None:
            raise self._missing()
        return self._data

    def list_data(self) -> list[ndarray]:
        """The array, once for each device: there is one."""
        return [self.data()]

    def _missing(self) -> NotInitializedError:
        if self._waiting is None:
            return NotInitializedError(
                f"parameter {self.label} has no value yet: call initialize() on the block that holds it"
            )
        return DeferredInitializationError(
            f"parameter {self.label} has no value yet, as its shape {self._shape or ''} is not known before "
            f"the first call: call the block, give the full shape, or define infer_shape(self, x) in it"
        )

    def initialize(
        self,
        init: Init | None = None,
        device: Any = None,
        default_init: Init | None = None,
        force_reinit: bool = False,
        ctx: Any = None,
    ) -> None:
        """Draw a value by ``init``, else by the parameter's own, else by ``default_init`` (``Uniform()``).

        force_reinit: draw a new value where there is one already; otherwise a warning says that it stays.
        device, ctx: taken for Gluon's sake.

        Raises ShapeError if the shape is not known and may not wait for the first call.
        """
        check_devices(device, ctx)
        if self._data is not None and not force_reinit:
            warn_of_values([self], 3)
            return
        chosen = create(init or self.init or default_init or Uniform())
        if self._shape_known:
            self._adopt(self._drawn(chosen))
        elif self.allow_deferred_init:
            self._waiting = Waiting(chosen)
        else:
            raise ShapeError(
                f"parameter {self.label} cannot be initialised, as its shape is {self._shape}: "
                f"give the full shape or allow_deferred_init=True"
            )

    def _drawn(self, init: Init) -> ndarray:
        assert self._shape is not None
        with interpreting(EAGER):  # even if the call that told the shape is being recorded
            data = ndarray(placement.zeros(self._shape, self._dtype))
            create(init)(self.label, data)
        return data

    def _adopt(self, data: ndarray) -> None:
        """Hold ``data`` from now on, with those told who rest on the array before it."""
        before = self._data
        self._watchers.changing(self._hold, data)
        if before is not None:
            stamps.written(before._data)

    def _hold(self, data: ndarray) -> None:
        self._data, self._waiting = data, None
        self._shape, self._dtype = data.shape, data.dtype
        self._follow_gradients()

    def set_data(self, data: Any) -> None:
        """Write ``data`` into the array, in the parameter's dtype; one that waits for its shape takes this.

        Raises ShapeError if the shapes differ, NotInitializedError before ``initialize``.
        """
        if self._data is None and self._waiting is None:
            raise self._missing()
        value = data if isinstance(data, ndarray) else creation.asarray(data)
        self._narrow(value.shape)
        if self._data is not None:
            self._data[...] = value
        else:
            self._take(value._leave("Parameter.set_data() of a first value"))

    def _take(self, value: numpy.ndarray) -> None:
        """Start with a copy of ``value``."""
        self._adopt(ndarray(placement.copied(value, self._dtype)))

    def _load(self, value: numpy.ndarray, dtype: numpy.dtype) -> None:
        """Take ``value`` as ``dtype``: in place where the parameter has an array of that dtype."""
        if self._data is not None and dtype == self._dtype:
            self._data[...] = value
        else:
            self._dtype = dtype
            self._take(value)

    def _misfit(self, name: str, value: numpy.ndarray, cast_dtype: bool) -> str:
        """What keeps ``value`` from being loaded as ``name``; empty if nothing does."""
        if not self._admits(value.shape):
            return f"  {name} has shape {value.shape}; the net needs {self._shape}"
        if value.dtype != self._dtype and not cast_dtype:
            return f"  {name} has dtype {value.dtype}; the net needs {self._dtype}, or cast_dtype=True"
        return ""

    def cast(self, dtype: Any) -> None:
        """Change the dtype, and the value with it, to ``dtype``. Raises DTypeError for one that arrays cannot have."""
        wanted = checked_dtype(dtype)
        if self._data is not None and wanted != self._dtype:
            self._adopt(ndarray(placement.copied(self._data._data, wanted)))
        self._dtype = wanted

    # -- its gradient ----------------------------------------------------------------------------------------

    def grad(self, device: Any = None, ctx: Any = None) -> ndarray:  # noqa: ARG002 - all devices are one
        """What ``backward`` wrote or added up, in shape and dtype of the value; zeros before. device, ctx: taken for Gluon's
        sake.

        Raises GradientError where ``grad_req`` is ``null`` or the dtype no float, NotInitializedError where there is no
        value.

        >>> from blockfuse import autograd, nn, np
        >>> net = nn.Dense(1, in_units=2, use_bias=False)
        >>> net.initialize()
        >>> with autograd.record():
        ...     y = net(np.array([[1, 2]]))
        >>> y.backward()
        >>> net.weight.grad()
        array([[1., 2.]])
        """
        grad = autograd.grad_of(self.data())
        if grad is None:
            raise GradientError(
                f"parameter {self.label} has no gradient, as its grad_req is 'null' or its dtype no float"
            )
        return grad

    def list_grad(self) -> list[ndarray]:
        """The gradient, once for each device: there is one."""
        return [self.grad()]

    def zero_grad(self) -> None:
        """Set the gradient to zero, if there is one."""
        variable = None if self._data is None else history.variable_of(self._data)
        if variable is not None and self._data is not None:
            # Also where nobody has asked for it yet: a recorded call must not depend on that.
            variable.room(self._data)[...] = 0

    def _has_fresh_grad(self) -> bool:
        """Whether ``backward`` has written here since ``_use_grad``."""
        variable = history.variable_of(self.data())
        if variable is not None:
            ask = partial(_is_fresh, self)
            interpreter.current().asks(variable, ask, f"whether {self.label} has a new gradient")
        return _is_fresh(self)

    def _use_grad(self) -> None:
        """The gradient was used: until ``backward`` writes another one it is stale."""
        variable = history.variable_of(self.data())
        if variable is not None:
            variable.set_fresh(False)

    # -- devices: labels -------------------------------------------------------------------------------------

    def list_device(self) -> list[Device]:
        """Where the value is: a list of the one device."""
        return [current_device()]

    def reset_device(self, device: Any = None, ctx: Any = None) -> None:
        """Gluon's move to another device: there is one, and nothing happens. device, ctx: UsageError for what is none."""
        check_devices(device, ctx)

    list_ctx, reset_ctx = list_device, reset_device

    # -- copies ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in Held.__untracked__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _watchers=Watchers())
        self._follow_gradients()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.label} (shape={self.shape}, dtype={self.dtype})"


class Constant(Parameter):
    """An array that training leaves alone: ``Constant(value)``, or Gluon 1's ``Constant(name, value)``.

    value: an array, a number or lists of numbers; arrays keep their dtype. It has its value from the start; ``initialize``
    does not change it, and ``grad()`` raises GradientError.

    >>> from blockfuse import nn
    >>> nn.Constant([[1, 2]]).data()
    array([[1., 2.]])
    """

    def __init__(self, name: Any = "const", value: Any = None) -> None:
        if value is None:
            name, value = "const", name
        given = value._leave("Constant()") if isinstance(value, ndarray) else value
        with interpreting(EAGER):
            data = creation.array(given)
        super().__init__(name, grad_req="null", shape=data.shape, dtype=data.dtype, differentiable=False)
        self._adopt(data)

    @property
    def grad_req(self) -> str:
        """Always ``null``; assigning something else warns and changes nothing."""
        return "null"

    @grad_req.setter
    def grad_req(self, grad_req: str) -> None:
        if grad_req != "null":
            warnings.warn(
                f"constant {self.label} has no gradient: grad_req={grad_req!r} is ignored",
                UserWarning,
                stacklevel=2,
            )

    def initialize(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing, whatever the arguments: a constant has its value."""


def _is_fresh(parameter: Parameter) -> bool:
    variable = None if parameter._data is None else history.variable_of(parameter._data)
    return variable is not None and variable.fresh


def check_devices(*devices: Any) -> None:
    """Refuse what is neither a device nor a list of devices."""
    for device in devices:
        check_device(*(device if isinstance(device, list | tuple) else (device,)))


def sizes_of(shape: int | Iterable[int | None]) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int | numpy.integer) else tuple(shape)
    if any(size is not None and size < UNKNOWN for size in sizes):
        raise ShapeError(f"a shape has sizes of 1 and more, and -1 where they are not known; found {sizes}")
    return tuple(int(size) if size else UNKNOWN for size in sizes)


def warn_of_values(parameters: list[Parameter], level: int) -> None:
    labels = ", ".join(parameter.label for parameter in parameters)
    warnings.warn(
        f"already initialised and left as they are: {labels}; pass force_reinit=True to draw new values",
        UserWarning,
        stacklevel=level,
    )
