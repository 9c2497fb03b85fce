"""Functions that kernel source calls and that write their own LLVM code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import intrinsic


def intrinsic_of(names: str, typed: Callable[..., Any]) -> Any:
    """An intrinsic with parameters of these names, which Numba reads from the function it is given."""
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(context, {names}):\n    return typed(context, {names})\n", scope)
    return intrinsic(scope["call"])
