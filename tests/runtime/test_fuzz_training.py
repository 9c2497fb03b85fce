"""Random steps of training under random edits: a compiled step and its plain twin cannot be told apart, step after step.

Parameters, gradients, states and results are compared after each. ``make fuzz`` runs it for as long as one likes.
"""

from __future__ import annotations

import random
import re
import types
import warnings
from typing import Any

import numpy
import pytest
import training_programs
from hypothesis.stateful import precondition, rule
from programs import Program, program
from sampling import rounds
from test_fuzz import PICKS, Calls, fuzz, fuzz_for
from training_programs import training_program

from blockfuse import autograd, np
from blockfuse.ir.errors import GradientError


class Steps(Calls):
    """The rules are those of calls, of a step that trains the net, and what people do to gradients and trainers."""

    draw = staticmethod(training_program)
    call_of = "step"

    def set_up(self) -> None:
        self.do("step = program.step_of(net)", "hybrid: step = blockfuse.hybridize(step)")

    def arguments(self, pick: random.Random, usual: bool) -> list[str]:
        """Arrays of ours: for NumPy's a hybridized function gives NumPy's, and a plain one what it likes."""
        pairs = (text.split(" = ", 1) for text in super().arguments(pick, usual))
        return [f"{name} = {text if text.startswith('np.') else f'np.array({text})'}" for name, text in pairs]

    @rule(pick=PICKS)
    def train_on_changing_data(self, pick: random.Random) -> None:
        for _ in range(pick.randint(2, 5)):
            self.do(*self.arguments(pick, usual=True), self.call(pick))

    @rule(pick=PICKS)
    def change_what_training_rests_on(self, pick: random.Random) -> None:
        self.do(pick.choice(training_programs.EDITS), *[self.call(pick)] * pick.randint(0, 2))

    @precondition(lambda self: not self.over and not self.program.random)
    @rule(pick=PICKS)
    def call_from_two_threads(self, pick: random.Random) -> None:
        """Steps of two nets at once, and of one net that takes turns."""
        call = self.call(pick).removeprefix("result = ")
        if pick.random() < 0.5:
            self.do(f"result = twice(lambda: in_turn(lambda: {call} is None))")
        else:
            made = "other = copy.deepcopy(net); second = program.step_of(other)"
            self.do(made, "hybrid: second = blockfuse.hybridize(second)")
            for _ in range(2):
                self.do(f"result = together(lambda: {call}, lambda: {call.replace('step(', 'second(', 1)})")

    @rule(pick=PICKS)
    def hybridize_again(self, pick: random.Random) -> None:
        options = pick.choice(("", "", "threads=1", "audit=1", "audit=0.5"))
        self.do(
            "step = program.step_of(net)",
            f"hybrid: step = blockfuse.hybridize(step, {options})",
            self.call(pick),
        )


@pytest.mark.sampled
def test_random_steps_train_compiled_as_they_do_plain() -> None:
    fuzz(Steps, examples=rounds(2, 24), derandomize=True)


def test_for_as_long_as_one_likes(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz_for(Steps, pytestconfig, capsys)


# -- what plain Python gives, against differences ------------------------------------------------------------------

# Values that lose digits, jump at a step whose gradient is zero, or end gradients on purpose.
NOT_SMOOTH = re.compile(r"float32|float16|int32|int64|detach|any|all|argmax|take|>|<|==|%|//|asnumpy|float\(")
WIDTHS = (1e-5, 2e-6)  # of a central difference


def smooth_program(pick: random.Random) -> Program | None:
    """One whose loss is a function of the parameters with a slope almost everywhere, or None."""
    made = program(pick, strange=0.0)
    unfit = made.random or made.stateful or NOT_SMOOTH.search(made.forwards)
    return None if unfit or made.arguments[0].dtype[0] != "f" else made


def slopes(made: Program, number: int) -> tuple[float, list[float]]:
    """Of a loss along a direction in all parameters: by ``backward``, and by differences."""
    module = types.ModuleType("program")
    loss = random.Random(number).choice(training_programs.LOSSES)
    source = training_programs.STEP.format(
        loss=loss, kind="'sgd'", record="", lines="        pass", returned="None"
    )
    exec(made.source + source, vars(module))
    rng = numpy.random.default_rng(number)
    net = module.build()
    net.cast("float64")
    given = [np.array(rng.normal(size=a.shape)) for a in made.arguments]

    def value() -> Any:
        with autograd.record(train_mode=False):
            return module.loss_of(net, net(given[0] * net.gate.gain.data().mean(), *given[1:]))

    value().backward()
    parameters = [p for p in net.collect_params().values() if p.shape is not None and -1 not in p.shape]
    ways = [rng.normal(size=p.shape) for p in parameters]
    slope = sum(float((p.grad().asnumpy() * way).sum()) for p, way in zip(parameters, ways, strict=True))
    starts = [p.data().asnumpy() for p in parameters]

    def at(distance: float) -> float:
        for parameter, start, way in zip(parameters, starts, ways, strict=True):
            parameter.set_data(np.array(start + way * distance))
        return float(value())

    return slope, [(at(width) - at(-width)) / (2 * width) for width in WIDTHS]


@pytest.mark.sampled
def test_gradients_of_random_nets_are_those_of_differences() -> None:
    compared = endless = 0
    for number in range(rounds(30, 5000)):
        made = smooth_program(random.Random(number))
        if made is None:
            continue
        try:
            with warnings.catch_warnings(), numpy.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                slope, (wide, narrow) = slopes(made, number)
        except (GradientError, ValueError, IndexError):  # a net that gives no floats, or needs other shapes
            continue
        if not numpy.isfinite(slope) and numpy.isfinite(narrow):  # at the root of zero, in torch too
            endless += 1
        elif abs(wide - narrow) <= 1e-5 * max(abs(wide), 1):  # no corner in between
            assert slope == pytest.approx(narrow, rel=1e-3, abs=1e-4), f"program {number}\n{made.source}"
            compared += 1
    assert compared > rounds(2, 250)
    assert endless <= rounds(0, 10)
