"""A torch module whose calls are compiled: tensors in and out, or NumPy's arrays, and torch itself where it must run.

NOTE [when torch runs]
A program computes values and nothing else. So torch runs the module where somebody wants more: gradients, autocast,
transforms of functions, modes that see each function, hooks for all modules; and where an argument is no plain tensor in the
processor's memory. Native code asks first (NOTE [calls with tensors]), and takes the calls in which nothing is unusual.
Others come to Python, which decides, and reads arguments by ``Tensor.numpy()``: it refuses what does not lie there as it
says (negative and conjugate bits, sparse and quantized tensors, other devices). ``given_data`` refuses the rest.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch.autograd import forward_ad

from blockfuse.frontends.foreign_result import ForeignResult
from blockfuse.frontends.torch import tensors
from blockfuse.frontends.torch.border import GLOBAL_HOOKS, NO_LEVEL, border
from blockfuse.frontends.torch.following import Following
from blockfuse.frontends.torch.torch_block import SITUATION, TorchBlock, run_by_torch
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.options import Options
from blockfuse.runtime.calls.owner import asks_entry
from blockfuse.runtime.explanation import Explanation
from blockfuse.runtime.programs.backend import Entry
from blockfuse.runtime.programs.failures import CompilerFailures

WEIGHTS = ("live", "frozen")
LEFT = "it cannot be compiled"
_is_grad_enabled = torch.is_grad_enabled
_is_autocast_enabled = torch._C._is_any_autocast_enabled
_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_transforms = torch._C._functorch.peek_interpreter_stack
_tracing = torch._C._get_tracing_state
_default_dtype = torch.get_default_dtype
_float32 = torch.float32
_Tensor, _from_numpy = torch.Tensor, torch.from_numpy


def unusual() -> str:
    """Why torch must run whatever is called now, or an empty text."""
    if _is_autocast_enabled():
        return "autocast is on"
    if _function_modes() or _dispatch_modes():
        return "a mode of torch sees each function"
    if _transforms() is not None:
        return "a transform of functions is on"
    if _tracing() is not None:
        return "torch.jit traces"
    if forward_ad._current_level != NO_LEVEL:
        return "tensors may have tangents (forward-mode gradients)"
    if any(GLOBAL_HOOKS):
        return "there are hooks for all modules"
    return "" if _default_dtype() is _float32 else f"the default dtype is {_default_dtype()}"


class TorchNet:
    """A module, called as the module is: ``net(x)``.

    Tensors give tensors, NumPy's arrays give NumPy's. ``weights="live"`` reads parameters and buffers where they lie, so
    whatever changes them is seen; ``"frozen"`` keeps a copy, packed for products, until ``refresh()``. Where gradients are
    asked for (grad mode is on, and something requires them), autocast is on, or an argument is no plain tensor in the
    processor's memory, torch runs the module.
    """

    _entry: Entry | None  # of tensors by position, in native code; NotImplemented where Python must look
    _fast_call = None

    def __init__(self, module: torch.nn.Module, weights: str, options: Mapping[str, Any]) -> None:
        if weights not in WEIGHTS:
            raise UsageError(f"weights={weights!r}; there are {', '.join(map(repr, WEIGHTS))}")
        self.module, self.weights, self._options = module, weights, dict(options)
        self._in_torch: Counter[str] = Counter()  # why calls ran in torch -> how often
        self._compile()

    def _compile(self) -> None:
        self._entry = None
        self._run = self.module if self.weights == "live" else _frozen(self.module)
        self._block = TorchBlock(self._run)
        self._block.hybridize(**self._options)
        self._left, self._is_asked_for_entry = _Left(), False

    def refresh(self) -> None:
        """Copy and pack the weights that the module has now, where they are frozen."""
        if self.weights == "frozen":
            self._compile()

    @asks_entry
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives for these arguments."""
        entry = self._entry
        if entry is not None and not kwargs:
            result = entry(*args)
            if result is not NotImplemented:
                return result
        if kwargs or _is_grad_enabled() or unusual() or self._left.signatures:
            return self._other(args, kwargs)
        for value in args:
            if type(value) is not _Tensor or value.requires_grad or value.__dict__:
                return self._other(args, kwargs)
        if len(args) > 1 and len(set(map(id, args))) < len(args):
            return self._other(args, kwargs)
        try:
            given = [tensors.given_data(value) for value in args]
        except (TypeError, RuntimeError):
            return self._other(args, kwargs)
        result = self._computed(given, {})
        return as_tensors(result)

    def _other(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of another form, or one that torch must run."""
        found = _Arguments()
        problem = unusual() or self._wants_gradients(args, kwargs)
        if not problem:
            given = found.converted((args, kwargs))
            problem = found.problem or (LEFT if self._left.skips(given) else "")
        if problem:
            self._in_torch[problem] += 1
            return run_by_torch(self._run, args, kwargs)
        given_args, given_kwargs = given
        result = self._computed(given_args, {**given_kwargs, **found.situation()})
        return as_tensors(result) if found.seen else result

    def _computed(self, args: Any, kwargs: Any) -> Any:
        """What the block gives, noting whether torch computed it."""
        runs = self._block.runs
        try:
            return self._block(*args, **kwargs)
        except ForeignResult as foreign:
            return foreign.result
        finally:
            if self._block.runs != runs:
                self._left.note((args, kwargs))
            elif not self._is_asked_for_entry and self._block._entry is not None:
                self._is_asked_for_entry = True
                self._take_calls_natively()

    def _take_calls_natively(self) -> None:
        """Have an entry where native code can look at torch's tensors; see NOTE [calls of instances], too."""
        try:
            known = border(as_tensors)
            backend = Options.read(self._options).backend()
            self._entry = None if known is None else backend.tensor_call(self._block, known)
            backend.quicken(type(self))
        except Exception as error:  # of the compiler: calls go on as they are
            CompilerFailures(type(self.module).__name__).tell(error)

    def _wants_gradients(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if not _is_grad_enabled():
            return ""
        wanted = any(p.requires_grad for p in self._run.parameters()) or any(
            t.requires_grad for t in tensors.tensors_in((args, kwargs))
        )
        return (
            "gradients are recorded: call it under torch.no_grad(), or let nothing require them"
            if wanted
            else ""
        )

    def explain(self) -> str:
        """What was compiled, what runs in torch, and why."""
        text = self._block.explain().replace(type(self._block).__name__, type(self.module).__name__)
        ran = [f"{count} calls ran in torch: {why}" for why, count in self._in_torch.items()]
        return Explanation("\n".join([text, *ran]))

    def __repr__(self) -> str:
        return f"<compiled {self.module!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return TorchNet, (self.module, self.weights, self._options)


def install(module: torch.nn.Module, weights: str = "live", **options: Any) -> TorchNet:
    """Let plain ``module(x)`` take compiled programs, as ``blockfuse.compile(module)`` would; what that gives is also
    returned.

    weights: ``"live"`` sees every change of a parameter, ``"frozen"`` packs a copy; UsageError for another word.
    options: those of ``nn.Block.hybridize``.

    Tensors give tensors. ``uninstall(module)`` gives the calls back to torch. Copies and pickles of the module do without.

    >>> import torch
    >>> import blockfuse
    >>> module = torch.nn.Linear(3, 2)
    >>> net = blockfuse.torch.install(module)
    >>> y = module(torch.ones(1, 3))  # recorded and compiled
    >>> module(torch.ones(1, 3)).shape
    torch.Size([1, 2])
    >>> blockfuse.torch.uninstall(module)
    """
    net = TorchNet(module, weights, options)
    module._compiled_call_impl = net
    return net


def uninstall(module: torch.nn.Module) -> None:
    """Give the calls of ``module``, which ``install`` took, back to torch.

    >>> import torch
    >>> import blockfuse
    >>> module = torch.nn.Linear(3, 2)
    >>> net = blockfuse.torch.install(module)
    >>> blockfuse.torch.uninstall(module)
    >>> module(torch.ones(1, 3)).shape
    torch.Size([1, 2])
    """
    module._compiled_call_impl = None


def compiled(module: torch.nn.Module, options: dict[str, Any]) -> TorchNet:
    """The module with compiled calls; an example (a tensor or a tuple of arguments) is called at once."""
    example, weights = options.pop("example", None), options.pop("weights", "live")
    net = TorchNet(module, weights, options)
    if example is not None:
        with torch.no_grad():
            net(*_arguments(example))
    return net


def lacking(module: torch.nn.Module, example: Any = None) -> tuple[str, ...]:
    """The functions without a rule that a call meets, all at once; a copy of the module runs it."""
    if example is None:
        raise UsageError(
            "missing() runs a torch.nn.Module: give an example, a tensor or a tuple of arguments"
        )
    found: dict[str, None] = {}
    runs = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        following = Following(found)
        given = [
            following.argument(tensors.plain_array(a)) if isinstance(a, torch.Tensor) else a
            for a in _arguments(example)
        ]
        with following:
            run_by_torch(runs, tuple(given), {})
    return tuple(found)


def _arguments(example: Any) -> tuple[Any, ...]:
    return example if isinstance(example, tuple) else (example,)


def _frozen(module: torch.nn.Module) -> torch.nn.Module:
    """A copy that nobody else writes to; its parameters may be packed."""
    kept = copy.deepcopy(module).requires_grad_(False)
    for parameter in kept.parameters():
        parameter._blockfuse_frozen = True
    return kept


class _Left:
    """Signatures of calls that cannot be compiled: torch runs them at once, but for some, as state may have changed."""

    def __init__(self) -> None:
        self.signatures: dict[Any, list[int]] = {}  # signature -> runs in a row, calls until the next look

    def note(self, given: Any) -> None:
        counts = self.signatures.setdefault(_signature(given), [0, 0])
        counts[0] += 1
        counts[1] = min(1 << counts[0], 1024) if counts[0] > 2 else 0

    def skips(self, given: Any) -> bool:
        if not self.signatures:
            return False
        counts = self.signatures.get(_signature(given))
        if counts is None:
            return False
        counts[1] -= 1
        return counts[1] >= 0


def _signature(value: Any) -> Any:
    """Equal for calls that are recorded or not recorded alike."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind, tuple(map(_signature, value))
    if kind is dict:
        return tuple((key, _signature(item)) for key, item in value.items())
    return (value.shape, value.dtype) if kind is numpy.ndarray else kind


class _Arguments:
    """Arguments with NumPy's arrays in the place of tensors. problem: why torch must run, or empty."""

    def __init__(self) -> None:
        self.problem = ""
        self.seen: list[int] = []  # ids of tensors

    def situation(self) -> dict[str, Any]:
        """What else the call is recorded for, as a keyword, where it is not the usual."""
        grads, same = _is_grad_enabled(), None
        if len(set(self.seen)) < len(self.seen):
            same = tuple(map(self.seen.index, self.seen))
        return {SITUATION: (same, grads)} if grads or same else {}

    def converted(self, value: Any) -> Any:
        kind = type(value)
        if kind is tuple or kind is list:
            return kind(self.converted(v) for v in value)
        if kind is dict:
            return {k: self.converted(v) for k, v in value.items()}
        if not isinstance(value, torch.Tensor):
            return value
        self.seen.append(id(value))
        if kind is not _Tensor or value.__dict__ or value.requires_grad:
            self.problem = _peculiar(value)
            return value
        try:
            return tensors.given_data(value)
        except (TypeError, RuntimeError) as error:
            self.problem = (
                f"an argument of {value.dtype} cannot be read where it lies ({str(error).splitlines()[0]})"
            )
            return value


def _peculiar(tensor: torch.Tensor) -> str:
    """What code can see of an argument, and arrays do not show."""
    if type(tensor) is not _Tensor:
        return f"an argument is a {type(tensor).__name__}"
    return "an argument has attributes" if tensor.__dict__ else "an argument requires gradients: detach it"


def _as_tensor(array: numpy.ndarray) -> torch.Tensor:
    """In the same memory, unless elements are seen many times, or from their end."""
    try:
        return _from_numpy(array if array.flags.writeable else array.copy())
    except ValueError:
        return _from_numpy(array.copy())


def as_tensors(value: Any) -> Any:
    """A result with tensors in the place of NumPy's arrays."""
    kind = type(value)
    if kind is numpy.ndarray:
        return _as_tensor(value)
    if kind is tuple or kind is list:
        return kind(as_tensors(v) for v in value)
    return {k: as_tensors(v) for k, v in value.items()} if kind is dict else value
