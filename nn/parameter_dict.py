"""Parameters by name: a block's own, or all below it, as ``collect_params()`` gives them."""

from __future__ import annotations

import logging
from os import PathLike
from typing import Any

import numpy

from blockfuse.array.devices import Device, current_device
from blockfuse.array.functions import creation
from blockfuse.ir.errors import UsageError
from blockfuse.nn import parameter_files
from blockfuse.nn.initializers import Init, Uniform, create
from blockfuse.nn.names_elsewhere import Renaming, renamed
from blockfuse.nn.parameter import Constant, Parameter, check_devices, warn_of_values
from blockfuse.nn.structure import Registry


class ParameterDict(Registry[Parameter]):
    """Parameters by name, with what a user does to all of them: a dict from texts to ``Parameter``.

    ``block.params`` has a block's own parameters, and ``get`` adds to it; ``block.collect_params()`` gives
    one of all parameters below a block by structural name; a shared one has several.

    >>> from blockfuse import nn
    >>> net = nn.Dense(2, in_units=3)
    >>> params = net.collect_params()
    >>> params.initialize()
    >>> {name: parameter.shape for name, parameter in params.items()}
    {'weight': (2, 3), 'bias': (2,)}
    >>> params.setattr("grad_req", "null")
    """

    def __setitem__(self, name: str, entry: Parameter) -> None:
        if not isinstance(entry, Parameter):
            raise TypeError(f"{name!r} must be a Parameter, not {type(entry).__name__}")
        super().__setitem__(name, entry)

    def get(self, name: str, default: Any = None, **options: Any) -> Any:
        """The parameter ``name``, or ``default``; in a block's own ``params``, and with options, it is made if it is not
        there.

        options: what ``Parameter`` takes, such as ``shape`` and ``init``; a shape is also told to a parameter that is
        there, which raises ShapeError where it has another. One that is made here may wait for its shape.

        >>> from blockfuse import nn
        >>> block = nn.Block()
        >>> block.params.get("weight", shape=(2, 3))
        Parameter weight (shape=(2, 3), dtype=float32)
        """
        if name in self:
            found = self[name]
            if options.get("shape") is not None:
                found.shape = options["shape"]
            return found
        if self._owner is None and not options:
            return default
        options.setdefault("allow_deferred_init", True)
        self[name] = Parameter(name, **options)
        return self[name]

    def get_constant(self, name: str, value: Any = None) -> Parameter:
        """The ``Constant`` ``name``, made of ``value`` if it is not there; without a value, KeyError."""
        if name not in self:
            if value is None:
                raise KeyError(f"there is no constant {name!r}; give a value to make it")
            self[name] = Constant(name, value)
        return self[name]

    def distinct(self) -> list[Parameter]:
        """A list with each parameter once, shared ones too."""
        return list({id(parameter): parameter for parameter in self.values()}.values())

    def initialize(
        self,
        init: Init | None = None,
        device: Any = None,
        verbose: bool = False,
        force_reinit: bool = False,
        ctx: Any = None,
    ) -> None:
        """Give each parameter a value, by its own initializer or else by ``init`` (``Uniform()``).

        All arguments, warnings and errors are those of ``nn.Block.initialize``: init, device, verbose, force_reinit, ctx.
        """
        check_devices(device, ctx)
        default = create(init or Uniform())
        learned = [parameter for parameter in self.distinct() if not isinstance(parameter, Constant)]
        settled = [parameter for parameter in learned if parameter._data is not None and not force_reinit]
        for parameter in learned:
            if parameter._data is None or force_reinit:
                parameter.initialize(default_init=default, force_reinit=True)
                if verbose:
                    logging.getLogger("blockfuse").info(
                        "initialised %s by %s", parameter, parameter.init or default
                    )
        if settled:
            warn_of_values(settled, 4)  # the caller of Block.initialize

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for parameter in self.distinct():
            parameter.zero_grad()

    def setattr(self, name: str, value: Any) -> None:
        """Set one attribute of every parameter to ``value``, as in ``setattr("lr_mult", 0.1)``.

        Raises UsageError for an attribute that parameters do not have, and for a value that it cannot take.
        """
        for parameter in self.distinct():
            if not hasattr(parameter, name):
                raise UsageError(f"parameters have no attribute {name!r}")
            setattr(parameter, name, value)

    def list_device(self) -> list[Device]:
        """Where the values are: a list of the one device."""
        return [current_device()]

    def reset_device(self, device: Any = None, ctx: Any = None) -> None:
        """Gluon's move to another device: there is one, and nothing happens. device, ctx: UsageError for what is none."""
        check_devices(device, ctx)

    list_ctx, reset_ctx = list_device, reset_device

    # -- files -----------------------------------------------------------------------------------------------

    def save(
        self, filename: str | PathLike[str], deduplicate: bool = False, names: Renaming | None = None
    ) -> None:
        """Write all values to the file ``filename``, at once or not at all: ``.safetensors`` where its name ends so, else
        ``.npz``.

        deduplicate: write a shared parameter under its first name only.
        names: our names -> those in the file, a dict or a function.

        Raises NotInitializedError, having written nothing, for a parameter without a value; UsageError where two get one
        name.
        """
        first = {id(parameter): name for name, parameter in reversed(self.items())} if deduplicate else {}
        kept = {name: p.data()._data for name, p in self.items() if first.get(id(p), name) == name}
        if names is not None:
            kept = renamed(kept, names, "save_parameters()")
        parameter_files.write(filename, kept)

    def load(
        self,
        filename: str | PathLike[str],
        device: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        ctx: Any = None,
        names: Renaming | None = None,
    ) -> None:
        """Read values from the file ``filename`` that ``save`` or ``numpy.savez`` wrote.

        device, allow_missing, ignore_extra, cast_dtype, dtype_source, ctx, names: as of ``load_dict``.

        Raises ParameterFileError, having changed nothing, where the file cannot be read or ``load_dict`` refuses its
        values.
        """
        values = parameter_files.read(filename)
        options = (allow_missing, ignore_extra, cast_dtype, dtype_source, ctx, f"{filename}", names)
        self.load_dict(values, device, *options)

    def load_dict(
        self,
        values: dict[str, Any],
        device: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        ctx: Any = None,
        source: str = "the dict",
        names: Renaming | None = None,
    ) -> None:
        """Take values by name; a shared parameter takes what stands under any of its names, which must be one value.

        values: name -> an array of blockfuse, NumPy or torch, or a parameter. Names may begin with MXNet's ``arg:`` and
        ``aux:``.
        allow_missing: leave parameters that ``values`` lacks as they are.
        ignore_extra: leave values aside that the net has no parameter for.
        cast_dtype: let dtypes differ, and keep the parameter's (dtype_source ``"current"``) or take the value's
        (``"saved"``).
        device, ctx: taken for Gluon's sake.
        source: what messages call ``values``.
        names: the names of values -> ours, a dict or a function; None for a name leaves a value away.

        Raises ParameterFileError, having changed nothing, if names, shapes or dtypes do not fit, MissingParameterError
        where parameters are missing; UsageError for another dtype_source, and where two values get one name.

        >>> from blockfuse import nn, np
        >>> net = nn.Dense(1, in_units=2)
        >>> net.collect_params().load_dict({"weight": np.ones((1, 2))}, allow_missing=True)
        >>> net.weight.data()
        array([[1., 1.]])
        """
        check_devices(device, ctx)
        if dtype_source not in ("current", "saved"):
            raise UsageError(f"dtype_source={dtype_source!r} is neither 'current' nor 'saved'")
        given = {name.removeprefix("arg:").removeprefix("aux:"): value for name, value in values.items()}
        if names is not None:
            given = renamed(given, names, source)
        found = {name: _values_of(value) for name, value in given.items()}
        filled = {id(self[name]) for name in found if name in self}
        missing = [name for name, parameter in self.items() if id(parameter) not in filled]
        faults = [f"  {name} is missing" for name in missing if not allow_missing]
        if not ignore_extra:
            faults += [f"  {name} is not in the net" for name in found if name not in self]
        faults += [
            self[name]._misfit(name, value, cast_dtype) for name, value in found.items() if name in self
        ]
        faults += self._conflicts(found)
        parameter_files.refuse(
            source, [fault for fault in faults if fault], bool(missing) and not allow_missing
        )
        for name, value in found.items():
            if name in self:
                self[name]._load(value, value.dtype if dtype_source == "saved" else self[name].dtype)

    def _conflicts(self, found: dict[str, numpy.ndarray]) -> list[str]:
        """The values of shared parameters that stand under another name with another value."""
        first: dict[int, str] = {}
        named = [(name, first.setdefault(id(self[name]), name)) for name in found if name in self]
        return [
            f"  {name} is the parameter {other}, and has another value"
            for name, other in named
            if name != other and not numpy.array_equal(found[name], found[other], equal_nan=True)
        ]

    def __repr__(self) -> str:
        lines = "".join(f"  {name}: {parameter!r}\n" for name, parameter in self.items())
        return f"{type(self).__name__}(\n{lines})"


def _values_of(value: Any) -> numpy.ndarray:
    return creation.asarray(value.data() if isinstance(value, Parameter) else value)._data
