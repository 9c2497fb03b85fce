"""Rules of control flow: what Keras writes as functions is a decision or a loop of Python, which is followed."""

from __future__ import annotations

from typing import Any

from blockfuse.frontends.keras.rules.table import CONTROL_RULES, Op, Tensor, refuse_if, rule


@rule("Cond", table=CONTROL_RULES)
def cond(op: Op, pred: Tensor, true_fn: Any, false_fn: Any) -> Any:
    """One way or the other."""
    return true_fn() if pred else false_fn()


@rule("WhileLoop", table=CONTROL_RULES)
def while_loop(op: Op, loop_vars: Any) -> Any:
    """As long as a condition holds."""
    refuse_if(op.maximum_iterations is not None, "a bound of rounds")
    several = isinstance(loop_vars, list | tuple)
    state = tuple(loop_vars) if several else (loop_vars,)
    while op.cond(*state):
        found = op.body(*state)
        state = tuple(found) if isinstance(found, list | tuple) else (found,)
    return state if several else state[0]


@rule("ForiLoop", table=CONTROL_RULES)
def fori_loop(op: Op, init_val: Any) -> Any:
    """So many rounds."""
    refuse_if(not (isinstance(op.lower, int) and isinstance(op.upper, int)), "a bound that is a tensor")
    value = init_val
    for n in range(op.lower, op.upper):
        value = op.body_fun(n, value)
    return value
