"""A torch module as a block: what is recorded, checked and compiled of it.

NOTE [what a call is recorded for]
Python code can ask whether two arguments are one tensor (attention does), and whether grad mode is on. Arrays do not tell.
So a call that is not the usual one brings a keyword: for each tensor the place of the first that is the same one, and
whether grad mode is on. Values of Python are guarded as they are, and so each situation has a program of its own.
"""

from __future__ import annotations

from typing import Any

import torch

from blockfuse.array import foreign
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.foreign_result import ForeignResult
from blockfuse.frontends.nested import replaced
from blockfuse.frontends.torch import tensors
from blockfuse.frontends.torch.following import FOLLOWED, Following
from blockfuse.frontends.torch.knowledge import LIBRARY
from blockfuse.ir import interpreter
from blockfuse.nn.block import Block

foreign.register(LIBRARY)

SITUATION = "_blockfuse_situation"  # the keyword of what else a call is recorded for


class TorchBlock(Block):
    """Runs a module: while a call is recorded under ``Following``, otherwise by torch alone.

    So what stays in Python runs as fast as torch does, and audits hold programs against torch itself.
    """

    __untracked__ = Block.__untracked__ | {"runs"}

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self.runs = 0  # of torch alone

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if interpreter.current().recording:
            return self._followed(args, kwargs)
        self.runs += 1
        result = run_by_torch(self.module, *_situated(replaced((args, kwargs), ndarray, _given_to_torch)))
        if result is None or _has_gradients(result):
            raise ForeignResult(result)
        try:
            return replaced(result, torch.Tensor, tensors.plain_array)
        except (TypeError, RuntimeError):
            raise ForeignResult(result) from None

    def _followed(self, args: Any, kwargs: Any) -> Any:
        following = Following()
        given = _situated(replaced((args, kwargs), ndarray, following.argument))
        token = FOLLOWED.set(following)
        stream = torch.default_generator.get_state()
        try:
            with following:
                result = run_by_torch(self.module, *given)
        finally:
            FOLLOWED.reset(token)
        if not torch.equal(stream, torch.default_generator.get_state()):
            interpreter.current().impure("draws from torch's random numbers")
        if result is None:
            interpreter.current().impure("gives None")
            raise ForeignResult(None)
        if _has_gradients(result):
            interpreter.current().impure("gives what requires gradients")
            raise ForeignResult(result)
        try:
            return replaced(result, torch.Tensor, following.result)
        except (TypeError, RuntimeError):
            interpreter.current().impure("gives what our arrays cannot hold")
            raise ForeignResult(result) from None


def _has_gradients(result: Any) -> bool:
    """Whether torch remembers what a result was computed of: a tensor that is no parameter may require gradients, too."""
    return any(tensor.requires_grad for tensor in tensors.tensors_in(result))


def run_by_torch(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a module gives in torch, also where its calls were handed to us."""
    call = module if module._compiled_call_impl is None else module._call_impl
    return call(*args, **kwargs)


def _situated(given: tuple[Any, dict[str, Any]]) -> tuple[Any, Any]:
    """Arguments with one tensor wherever the caller gave one: NOTE [what a call is recorded for]."""
    args, kwargs = given
    same = kwargs.pop(SITUATION, (None, False))[0]
    if same is None:
        return args, kwargs
    every = list(tensors.tensors_in((args, kwargs)))
    firsts = iter(same)
    args, kwargs = replaced((args, kwargs), torch.Tensor, lambda _: every[next(firsts)])
    return args, kwargs


def _given_to_torch(array: ndarray) -> torch.Tensor:
    data = array._leave("torch")
    return torch.from_numpy(data if data.flags.writeable else data.copy())
