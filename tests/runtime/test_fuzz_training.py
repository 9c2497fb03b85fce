"""Random steps of training under random edits: a compiled step and its plain twin cannot be told apart, step after step.

Parameters, gradients, states and results are compared after each. ``make fuzz`` runs it for as long as one likes.
"""

from __future__ import annotations

import random

import pytest
import training_programs
from hypothesis.stateful import precondition, rule
from sampling import rounds
from test_fuzz import PICKS, Calls, fuzz, fuzz_for
from training_programs import training_program


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
