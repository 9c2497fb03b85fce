"""The block: a callable with parameters and other blocks in it, and what a user can do to all of them."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from reprlib import recursive_repr
from types import SimpleNamespace
from typing import Any, ClassVar, Self

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.array.stamps import Watchers, tells_interpreter
from blockfuse.ir import hints, interpreter
from blockfuse.ir.argument_parts import OUT
from blockfuse.ir.errors import UsageError
from blockfuse.nn import exporting, summary
from blockfuse.nn.block_owner import BlockOwner
from blockfuse.nn.deferred import complete
from blockfuse.nn.hooks import Hook, HookHandle
from blockfuse.nn.initializers import Init
from blockfuse.nn.names_elsewhere import TORCH, Renaming, from_torch, to_torch
from blockfuse.nn.parameter import Parameter
from blockfuse.nn.parameter_dict import ParameterDict
from blockfuse.nn.sharing import share
from blockfuse.nn.signatures import SignatureOfInit
from blockfuse.nn.structure import Held, Registry, joined
from blockfuse.nn.wrong_arguments import check_keywords, refusal
from blockfuse.runtime.arrays.conversion import run_converted
from blockfuse.runtime.arrays.out import called_with_out, takes_out
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.calls.options import OPTIONS, Options
from blockfuse.runtime.calls.owner import asks_entry
from blockfuse.runtime.calls.warming import warm_up
from blockfuse.runtime.explanation import Explanation
from blockfuse.runtime.tracebacks import fold

# Gluon's options of ``hybridize`` are taken and mean nothing: memory and partitions look after themselves.
GLUON_OPTIONS = (
    "static_alloc",
    "static_shape",
    "inline_limit",
    "partition_if_dynamic",
    "forward_bulk_size",
    "backward_bulk_size",
)

_VALUES = (bool, int, float, str, bytes)  # equal ones cannot be told apart; told by repr, as 0.0 == -0.0

_numbers: dict[str, itertools.count[int]] = {}  # class name in lower case -> the number of its next block


class Children(Registry["Block"]):
    """The blocks in a block. Writing into it registers: ``self._children["head"] = block``."""

    def __setitem__(self, name: str, entry: Block) -> None:
        if not isinstance(entry, Block):
            raise TypeError(f"{name!r} must be a Block, not {type(entry).__name__}")
        super().__setitem__(name, entry)


class Block(Held):
    """A part of a neural network: a layer, several of them, or the whole net.

    A subclass makes its layers in ``__init__`` as attributes, and computes in ``forward``. What it holds as an attribute is
    found by ``initialize``, ``save_parameters`` and the like; what it holds in a list is not, and a warning says so.

    A call gives what ``forward`` gives for its arguments: arrays of blockfuse or NumPy, also in lists, tuples and dicts.
    For NumPy's arrays it gives NumPy's; ``out=`` says into which memory. Parameters are float32 unless ``cast`` says
    otherwise.

    prefix: a text, taken for Gluon 1's sake.
    params: the ``params`` of another block, whose parameters take the place of own ones of their names; UsageError where
    that block has children (``share_parameters`` takes all).

    A call raises NotInitializedError before ``initialize()``, UsageError where ``forward`` returns None, TypeError where it
    does not take the arguments.

    >>> from blockfuse import nn, np
    >>> class Twice(nn.Block):
    ...     def forward(self, X):
    ...         return X + X
    >>> Twice()(np.array([1, 2]))
    array([2., 4.])
    """

    __signature__ = SignatureOfInit()

    # Assigning what is untracked tells nobody; what is in a registry tells by itself.
    __untracked__ = Held.__untracked__ | {
        "_entry",
        "_fast_call",
        "_hybrid",
        "_numbered_name",
        "_hybrid_options",
        "_shared_parameters",
    }
    _torch_names: ClassVar[dict[str, str]] = {}  # of a parameter -> what torch's layer of this kind calls it
    __registries__ = ("_children", "_reg_params", "_forward_hooks", "_forward_pre_hooks")

    # Whether a recorded ``forward`` goes by rules for code of another library, which ``forward`` runs otherwise.
    _is_followed_by_rules: ClassVar[bool] = False

    # the compiled call, which answers NotImplemented where Python must take over
    _entry: Callable[..., Any] | None
    _fast_call: Callable[[Any, Any], Any] | None  # the same of args and kwargs
    _hybrid: Hybrid | None
    _hybrid_options: dict[str, Any] | None  # what the block was hybridized with
    _shared_parameters: dict[str, Parameter]
    _numbered_name: str
    _children: Children
    _reg_params: ParameterDict
    _forward_hooks: dict[int, Hook]
    _forward_pre_hooks: dict[int, Hook]
    _watchers: Watchers

    def __new__(cls, *_args: Any, **kwargs: Any) -> Self:
        # Here rather than in __init__, so that a subclass may call super().__init__() late or not at all.
        if kwargs and not hints.KEYWORDS.keys().isdisjoint(kwargs):
            check_keywords(cls, kwargs)
        self = super().__new__(cls)
        kind = cls.__name__.lower()
        vars(self).update(
            _entry=None,
            _fast_call=None,
            _hybrid=None,
            _hybrid_options=None,
            _shared_parameters={},
            _watchers=Watchers(),
            _numbered_name=f"{kind}{next(_numbers.setdefault(kind, itertools.count()))}",
            _forward_hooks={},
            _forward_pre_hooks={},
            _children=Children.of(self),
            _reg_params=ParameterDict.of(self),
        )
        return self

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        """``params``: parameters of another block to use in the place of own ones of the same name.

        ``prefix`` is taken for Gluon 1's sake: names come from the structure of a net.
        """
        if params and any("." in name for name in params):
            raise UsageError("params= takes other.params; for a block with children use share_parameters()")
        if not isinstance(prefix, str | None):
            raise TypeError(f"{type(self).__name__} takes prefix= as a text, not {prefix!r:.80}")
        self._shared_parameters = dict(params or {})

    def __getattr__(self, name: str) -> Any:
        """Only asked for what is not there."""
        raise hints.no_attribute(self, name, hints.BLOCK)

    # -- calling ---------------------------------------------------------------------------------------------

    @asks_entry
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``forward`` gives for these arguments, with the hooks around it.

        out: an array of blockfuse's or NumPy's to write the result into, which is returned then, or a tuple, list or dict
        of such in the structure of the result, with None where no memory is brought. (Where ``forward`` has an argument
        ``out``, or takes any keywords, it is forward's.) Raises TypeError, DTypeError, ShapeError or UsageError, with
        nothing written, for what does not fit the result.
        """
        try:
            entry = self._entry
            if entry is not None and not kwargs:
                result = entry(*args)
                if result is not NotImplemented:
                    return result
            hybrid = self._hybrid
            if hybrid is not None:
                return hybrid.call(args, kwargs)
            if OUT in kwargs and not takes_out(self._defined_by):
                return called_with_out(self._run_converted, args, kwargs)
            return self._run_converted(args, kwargs)
        except Exception as error:
            fold(error)
            raise

    def _run_converted(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return run_converted(self._run, args, kwargs)

    @property
    def _defined_by(self) -> Callable[..., Any]:
        """What the user wrote of the block's calls."""
        forward = self.forward
        if getattr(forward, "__func__", None) is Block.forward:
            return getattr(self, "hybrid_forward", forward)
        return forward

    def _disagreement(self, recorded: Any, result: Any) -> str:  # noqa: ARG002 - forward has one meaning
        """How a recorded result differs from that of the code that rules stood for, or an empty text."""
        return ""

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call means: hooks, values that waited for it, ``forward``."""
        interpreter.current().visit(self)
        for hook in tuple(self._forward_pre_hooks.values()):
            hook(self, args)
        for parameter in self._reg_params.values():
            if parameter._data is None:
                complete(self, args, kwargs)
                break
        hooks = tuple(self._forward_hooks.values())
        given = args if hooks else ()  # else only forward sees them: NOTE [when two points are one]
        try:
            result = self.forward(*args, **kwargs)
        except TypeError as error:
            said = refusal(error, self, args, kwargs)
            if said:
                raise TypeError(said) from None
            raise
        if result is None:
            raise UsageError(f"forward() of {self._label} returned None: return the result")
        for hook in hooks:
            hook(self, given, result)
        return result

    def infer_shape(self, *args: Any, **kwargs: Any) -> None:
        """Set the ``shape`` of the parameters whose shape depends on the arguments of a call; to be overridden.

        >>> from blockfuse import nn, np
        >>> class Scaled(nn.Block):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = nn.Parameter("scale", shape=(-1,), init="ones", allow_deferred_init=True)
        ...     def infer_shape(self, x):
        ...         self.scale.shape = x.shape[-1:]
        ...     def forward(self, x):
        ...         return x * self.scale.data()
        >>> net = Scaled()
        >>> net.initialize()
        >>> net(np.array([[1, 2]]))
        array([[1., 2.]])
        """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute; to be overridden, or else Gluon 1's ``hybrid_forward(self, F, x, **params)`` is called."""
        compute = getattr(self, "hybrid_forward", None)
        if compute is None:
            named = "; rename its call(...)" if hasattr(type(self), "call") else ""
            raise NotImplementedError(f"{type(self).__name__} does not define forward(self, ...){named}")
        values = {name: parameter.data() for name, parameter in self._reg_params.items()}
        return compute(NAMESPACES, *args, **kwargs, **values)

    def hybridize(self, active: bool = True, **options: Any) -> None:
        """Compile the next call, with all blocks in this one; ``active=False`` goes back to plain Python.

        backend: ``"cpu"``, ``"cuda"`` or ``"auto"`` (the processor, unless there is a device on which the estimate says
        that the call takes less time).
        threads: at most that many, of the processor.
        precision: to which operands of float32 products may be rounded: ``"float32"`` (not at all), ``"tf32"`` (a device),
        ``"bf16"``, or ``"int8"`` (a processor; it rounds weights only, see docs/contract.md).
        audit: the share (0 to 1) of compiled calls that are run again eagerly; a difference raises AuditError.
        check: whether each program must give the eager result once before it serves calls; where it does not, calls run in
        Python and a CompilerWarning says so.

        Gluon's options are taken and ignored. Raises TypeError for other options, and CudaError, with nothing changed, where
        ``backend="cuda"`` cannot be had.

        >>> from blockfuse import nn, np
        >>> net = nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> x = np.ones((1, 3))
        >>> expected = net(x)
        >>> net.hybridize(threads=1)
        >>> np.allclose(net(x), expected), np.allclose(net(x), expected)  # recorded, native
        (True, True)
        """
        for name in options:
            if name not in OPTIONS + GLUON_OPTIONS:
                raise TypeError(
                    f"hybridize() has no option {name!r}; it has {', '.join(OPTIONS + GLUON_OPTIONS)}"
                )
        chosen = {name: value for name, value in options.items() if name in OPTIONS}
        Options.read(chosen)  # complains of a value before anything has changed
        for block in self._blocks():
            block._compile_by(None)
        if active:
            self._compile_by(chosen)

    def _compile_by(self, options: dict[str, Any] | None) -> None:
        self._hybrid = None if options is None else Hybrid(BlockOwner(self), options)
        self._entry, self._fast_call, self._hybrid_options = None, None, options
        self._watchers.notify()

    def warm_up(self, *args: Any, dtype: Any = "float32", **kwargs: Any) -> tuple[str, ...]:
        """Compile now what calls with such arguments need, so that nobody waits for it: () where all of it is compiled, else
        texts that say why such calls run in Python, with the cure.

        args, kwargs: of a call in predict mode; a tuple of whole numbers stands for an array of that shape and of ``dtype``
        (of halves, or of zeros where dtype has no fractions). Where data decide, give arrays that lead the usual ways. The
        block is called a few times, as a user would: what ``forward`` prints or draws happens. Raises UsageError before
        ``hybridize()``, and what the call raises.

        >>> from blockfuse import nn
        >>> net = nn.Dense(3, in_units=4)
        >>> net.initialize()
        >>> net.hybridize()
        >>> net.warm_up((8, 4))
        ()
        """
        return warm_up(self, self._hybrid, args, kwargs, dtype)

    def explain(self) -> str:
        """What was compiled, what runs in Python, why, and what to write: print it, or let a notebook show it.

        >>> from blockfuse import nn
        >>> nn.Dense(2).explain()
        'Dense runs in plain Python: call hybridize() to compile it'
        """
        if self._hybrid is None:
            return Explanation(f"{self._label} runs in plain Python: call hybridize() to compile it")
        return self._hybrid.explain()

    # -- names -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """A name that no other block has, such as ``dense0``, or the text that was assigned."""
        name: str = vars(self).get("name", self._numbered_name)
        return name

    @name.setter
    def name(self, name: str) -> None:
        vars(self)["name"] = name

    @property
    def prefix(self) -> str:
        """What Gluon 1 puts before names of parameters: ``name`` and ``_``. Names here do without."""
        return f"{self.name}_"

    def name_scope(self) -> AbstractContextManager[None]:
        """Nothing, in Gluon 1's words: names come from the structure of a net."""
        return nullcontext()

    @property
    def _label(self) -> str:
        name = self.structural_name
        return f"{type(self).__name__} {name}" if name else type(self).__name__

    # -- structure -------------------------------------------------------------------------------------------

    @tells_interpreter
    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).__untracked__:
            object.__setattr__(self, name, value)
            return
        before = vars(self).get(name, _ABSENT)
        for kind in (Block, Parameter):
            if isinstance(before, kind) and not isinstance(value, kind):
                raise TypeError(
                    f"{self._label}.{name} is a {type(before).__name__} and cannot become a "
                    f"{type(value).__name__}; delete it first"
                )
        noticed = interpreter.current().assigning(self, name)
        if noticed is None:
            self._assign(name, value, before)
        else:
            with noticed:
                self._assign(name, value, before)

    def _assign(self, name: str, value: Any, before: Any) -> None:
        if isinstance(value, Parameter):
            value = self._adopted(name, value)
        if _same(before, value):
            object.__setattr__(self, name, value)
        else:
            self._watchers.changing(object.__setattr__, self, name, value, attribute=name)
        if isinstance(value, Block):
            self._children[name] = value

    def _adopted(self, name: str, parameter: Parameter) -> Parameter:
        """``parameter``, or the shared one in its place, registered as ``name``."""
        shared = self._shared_parameters.get(name)
        if shared is not None:
            if parameter.shape is not None:
                shared.shape = parameter.shape
            parameter = shared
        for other, found in list(self._reg_params.items()):  # ``self.w = self.params.get("weight", ...)``
            if found is parameter and other != name and other not in vars(self):
                del self._reg_params[other]
        self._reg_params[name] = parameter
        return parameter

    def __delattr__(self, name: str) -> None:
        self._watchers.changing(object.__delattr__, self, name)
        self._children.pop(name, None)
        self._reg_params.pop(name, None)

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Hold ``block`` under ``name`` (by default a number), without an attribute. Raises TypeError for what is no block.

        >>> from blockfuse import nn
        >>> net = nn.Block()
        >>> net.register_child(nn.Dense(2), "head")
        >>> list(net.collect_params())
        ['head.weight', 'head.bias']
        """
        if name is None:
            name = next(str(n) for n in itertools.count(len(self._children)) if str(n) not in self._children)
        self._children[name] = block

    @property
    def params(self) -> ParameterDict:
        """The block's own parameters, a ``ParameterDict`` without those of its children; ``params.get`` makes new ones."""
        return self._reg_params

    def collect_params(self, select: str | None = None) -> ParameterDict:
        """A ``ParameterDict`` of all parameters by structural name, ``hidden.weight``; a shared one under each of its names.

        select: a regular expression that the start of a name must match, such as ``".*bias"``.

        >>> from blockfuse import nn
        >>> net = nn.Sequential(nn.Dense(2, in_units=3), nn.Dense(1, in_units=2))
        >>> list(net.collect_params(".*bias"))
        ['0.bias', '1.bias']
        """
        self._warn_of_lists()
        chosen = re.compile(select or "")
        found = ParameterDict()
        for name, parameter in self._walk(""):
            if chosen.match(name):
                found[name] = parameter
        return found

    def _walk(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, parameter in self._reg_params.items():
            yield joined(prefix, name), parameter
        for name, child in self._children.items():
            yield from child._walk(joined(prefix, name))

    def _blocks(self) -> Iterator[Block]:
        """This block and all below it, a shared one as often as it is held."""
        yield self
        for child in self._children.values():
            yield from child._blocks()

    def _warn_of_lists(self) -> None:
        """Warn of parameters that only a list, tuple, set or dict of some block below holds."""
        blocks = list(self._blocks())
        known = {id(held) for block in blocks for held in (block, *block._reg_params.values())}
        listed = {"_children", "_reg_params", *Block.__untracked__}
        for block in {id(block): block for block in blocks}.values():
            for name, value in vars(block).items():
                if name not in listed and _holds_unknown(value, known):
                    warnings.warn(
                        f"{block._label} holds blocks or parameters in {name}, a {type(value).__name__}, "
                        f"where they are not initialised, saved, trained: use register_child() or Sequential",
                        UserWarning,
                        stacklevel=4,
                    )

    def apply(self, fn: Callable[[Block], Any]) -> Self:
        """Call ``fn`` on all children, then on the block itself. Gives the block.

        >>> from blockfuse import nn
        >>> _ = nn.Sequential(nn.Flatten(), nn.Dense(2)).apply(lambda block: print(type(block).__name__))
        Flatten
        Dense
        Sequential
        """
        for child in self._children.values():
            child.apply(fn)
        fn(self)
        return self

    # -- parameters ------------------------------------------------------------------------------------------

    def initialize(
        self,
        init: Init | None = None,
        device: Any = None,
        verbose: bool = False,
        force_reinit: bool = False,
        ctx: Any = None,
    ) -> None:
        """Give all parameters a value, by their own initializer or else by ``init`` (``Uniform()``).

        init: a name such as ``"xavier"``, an initializer, or a ``function(name, array)`` that fills the array.
        verbose: log each, to the logger ``blockfuse``.
        force_reinit: draw new values for parameters that have one already; otherwise these stay, and a warning names them.
        device, ctx: taken for Gluon's sake.

        Parameters of unknown shape get theirs in the first call. Raises UsageError for a name of no initializer, ShapeError
        where an initializer does not fit a parameter's shape.

        >>> from blockfuse import init, nn
        >>> net = nn.Dense(1, in_units=2)
        >>> net.initialize(init.One())
        >>> net.weight.data()
        array([[1., 1.]])
        """
        self.collect_params().initialize(init, device, verbose, force_reinit, ctx)

    def cast(self, dtype: Any) -> None:
        """Change the dtype of all parameters, and their values, mostly to float16, float32 or float64.

        A call computes in what parameters and arguments promote to: give it arrays of that ``dtype``. Raises DTypeError for
        one that arrays cannot have.

        >>> from blockfuse import nn, np
        >>> net = nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> net.cast("float64")
        >>> net(np.ones((1, 3), dtype="float64")).dtype
        dtype('float64')
        """
        for child in self._children.values():
            child.cast(dtype)
        for parameter in self._reg_params.values():
            parameter.cast(dtype)
        self._watchers.notify()

    def zero_grad(self) -> None:
        """Set all gradients to zero, as is needed before a step where ``grad_req`` is ``"add"``."""
        self.collect_params().zero_grad()

    def setattr(self, name: str, value: Any) -> None:
        """Set one attribute of all parameters to ``value``, as in ``setattr("grad_req", "null")``.

        Raises UsageError for an attribute that parameters do not have, and for a value that it cannot take.
        """
        self.collect_params().setattr(name, value)

    def reset_device(self, device: Any = None, ctx: Any = None) -> None:
        """Gluon's move to another device: there is one, and nothing happens. device, ctx: UsageError for what is none."""
        self.collect_params().reset_device(device, ctx)

    reset_ctx = reset_device

    def share_parameters(self, shared: dict[str, Parameter] | None) -> Self:
        """Use the parameters of another block in place of own ones of their names. Gives this block.

        shared: the other's ``collect_params()``. Raises ShapeError, having changed nothing, where shapes differ; warns
        about names that this block does not have.

        >>> from blockfuse import nn
        >>> first = nn.Dense(1, in_units=2)
        >>> second = nn.Dense(1, in_units=2).share_parameters(first.collect_params())
        >>> second.weight is first.weight
        True
        """
        share(self, shared or {})
        return self

    def save_parameters(
        self, filename: str | PathLike[str], deduplicate: bool = False, *, names: Renaming | None = None
    ) -> None:
        """Write all parameters to an ``.npz`` file, or in safetensors where its name ends so, at once or not at all.

        filename: where to, taken as it is: no ending is added.
        deduplicate: write a shared parameter under its first name only.
        names: what the file calls parameters instead of their structural names: ``"torch"`` as torch calls those of such
        layers, a dict, or a function of a name.

        Raises NotInitializedError, having written nothing, for a parameter without a value.

        >>> import tempfile
        >>> from blockfuse import nn, np
        >>> net, other = nn.Dense(1, in_units=2), nn.Dense(1, in_units=2)
        >>> net.initialize()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save_parameters(f"{folder}/net.npz")
        ...     other.load_parameters(f"{folder}/net.npz")
        >>> np.array_equal(net.weight.data(), other.weight.data())
        True
        """
        chosen = to_torch(self) if names == TORCH else names
        self.collect_params().save(filename, deduplicate, chosen)

    def load_parameters(
        self,
        filename: str | PathLike[str],
        device: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        ctx: Any = None,
        *,
        names: Renaming | None = None,
    ) -> None:
        """Read parameters from the file ``filename``, an ``.npz`` of arrays by structural name, or ``.safetensors``.

        names: structural names in place of those in the file: ``"torch"`` where these are of torch's layers of the same
        kinds, a dict, or a function of a name; None for a name leaves a value away.
        allow_missing, ignore_extra, cast_dtype, dtype_source: as of ``ParameterDict.load_dict``. device, ctx: taken for
        Gluon's sake.

        Raises ParameterFileError, having changed nothing, if names, shapes or dtypes do not fit or the file cannot be read,
        MissingParameterError where parameters are missing; FileNotFoundError where there is no file.
        """
        self.collect_params().load(
            filename, device, allow_missing, ignore_extra, cast_dtype, dtype_source, ctx, self._ours(names)
        )

    def export(
        self,
        path: str | PathLike[str],
        epoch: int = 0,
        remove_amp_cast: bool = True,  # noqa: ARG002 - Gluon's
    ) -> tuple[str, str]:
        """Write what was recorded of the calls so far to ``path-symbol.json``, and parameters to ``path-0000.params``.

        ``SymbolBlock.imports`` makes a block of them, in another process too, without the classes of this one. It computes
        what this block computes in predict mode, for the calls that were made before, of every size of the batch where that
        makes no difference to what Python does. Gives both names. ``remove_amp_cast`` is taken for Gluon's sake.

        epoch: the number in the name of the second file.

        Raises UsageError, having written nothing, if the block is not hybridized, was not called, or runs in Python.

        >>> import os, tempfile
        >>> from blockfuse import nn, np
        >>> net = nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> net.hybridize()
        >>> y = net(np.ones((1, 3)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [os.path.basename(name) for name in net.export(f"{folder}/net")]
        ['net-symbol.json', 'net-0000.params']
        """
        return exporting.export(self, path, epoch)

    def load_dict(
        self, param_dict: dict[str, Any], device: Any = None, *, names: Renaming | None = None, **options: Any
    ) -> None:
        """Take parameters from ``param_dict``, a dict of arrays such as a ``state_dict`` of torch with ``names="torch"``.

        names: as of ``load_parameters``. device: taken for Gluon's sake.
        options: ``allow_missing`` and others of ``ParameterDict.load_dict``, whose errors it raises.

        >>> from blockfuse import nn, np
        >>> net = nn.Dense(1, in_units=2)
        >>> net.load_dict({"weight": np.ones((1, 2)), "bias": np.zeros(1)})
        >>> net(np.array([[3, 4]]))
        array([[7.]])
        """
        self.collect_params().load_dict(param_dict, device, names=self._ours(names), **options)

    def _ours(self, names: Renaming | None) -> Renaming | None:
        return from_torch(self) if names == TORCH else names

    def _torch_name(self, name: str) -> str:
        """What torch's layer of this kind calls a parameter: NOTE [names of torch]."""
        return self._torch_names.get(name, name)

    # -- hooks -----------------------------------------------------------------------------------------------

    def register_forward_hook(self, hook: Hook) -> HookHandle:
        """Call ``hook(block, inputs, output)`` after each ``forward``; what it returns is ignored. inputs: a tuple of the
        arguments.

        Gives a handle, whose ``detach()`` takes the hook away; in a ``with`` statement its end does.

        >>> from blockfuse import nn, np
        >>> net = nn.Flatten()
        >>> handle = net.register_forward_hook(lambda block, inputs, output: print(output.shape))
        >>> y = net(np.ones((2, 3, 4)))
        (2, 12)
        >>> handle.detach()
        """
        return HookHandle(self._forward_hooks, hook, self._watchers)

    def register_forward_pre_hook(self, hook: Hook) -> HookHandle:
        """Call ``hook(block, inputs)`` before each ``forward``; what it returns is ignored. Gives a handle to ``detach()``.

        >>> from blockfuse import nn, np
        >>> net = nn.Flatten()
        >>> with net.register_forward_pre_hook(lambda block, inputs: print(inputs[0].shape)):
        ...     y = net(np.ones((2, 3, 4)))
        (2, 3, 4)
        """
        return HookHandle(self._forward_pre_hooks, hook, self._watchers)

    # -- copies and text -------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        transient = Block.__untracked__ - {
            "_hybrid_options",
            "_shared_parameters",
        }  # a copy is compiled as this block is
        state = {key: value for key, value in vars(self).items() if key not in transient}
        return {**state, **{key: dict(state[key]) for key in Block.__registries__}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._children.update(state.pop("_children"))
        self._reg_params.update(state.pop("_reg_params"))
        vars(self).update(state)
        if self._hybrid_options is not None:
            self._compile_by(self._hybrid_options)

    def summary(self, *inputs: Any) -> None:
        """Run on ``inputs``, and print a table of blocks with the shapes of their results and parameters.

        >>> from blockfuse import nn, np
        >>> net = nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> net.summary(np.ones((1, 3)))  # doctest: +ELLIPSIS
        block...
        """
        summary.show(self, inputs)

    def _repr_html_(self) -> str | None:
        """What a notebook shows; None, which is the text, where a class of the user's lets that fail."""
        from blockfuse.nn import net_table  # loaded when a notebook asks

        try:
            return net_table.html(self)
        except Exception:  # a cell that ends with a net must not end with an error
            return None

    @recursive_repr("...")
    def __repr__(self) -> str:
        children = "".join(
            f"  ({name}): {child!r}".replace("\n", "\n  ") + "\n" for name, child in self._children.items()
        )
        return f"{type(self).__name__}(\n{children})" if children else f"{type(self).__name__}()"


HybridBlock = Block  # every block can be hybridized

NAMESPACES = SimpleNamespace(np=np, npx=npx)  # the ``F`` of ``hybrid_forward``
_ABSENT = object()


def _same(before: Any, value: Any) -> bool:
    """Whether nobody can tell ``value`` from ``before``. An identical list may have other elements by now."""
    if before is value:
        return value is None or isinstance(value, (Block, Parameter, ndarray, *_VALUES))
    return type(before) is type(value) and isinstance(value, _VALUES) and repr(before) == repr(value)


def _holds_unknown(value: Any, known: set[int], depth: int = 3) -> bool:
    """Whether a list or the like holds a parameter, or a block with some, that is not among ``known``."""
    if not depth or not isinstance(value, dict | list | tuple | set):
        return False
    items = tuple(value.values() if isinstance(value, dict) else value)
    return any(_is_unknown(item, known) or _holds_unknown(item, known, depth - 1) for item in items)


def _is_unknown(item: Any, known: set[int]) -> bool:
    if id(item) in known:
        return False
    return isinstance(item, Parameter) or (isinstance(item, Block) and any(True for _ in item._walk("")))
