"""Random programs under random edits: a hybridized net and its plain twin cannot be told apart, step after step.

``make fuzz`` runs it for as long as one likes. A fault is shrunk to a script that shows it when it is run here.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edits
import pytest
import twins
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from programs import Argument, Program, program
from sampling import rounds
from twins import HYBRID, Chaotic, Fault, Twins, shrunk

from blockfuse.runtime.programs import program as compiled
from blockfuse.tracer.state.picture import State

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"  # scripts of faults
PICKS = st.randoms(use_true_random=True)
DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")


class Calls(RuleBasedStateMachine):
    """The rules are what people do between and around calls; each adds steps to the script."""

    done = 0  # steps of all machines
    chaotic = 0
    draw: Callable[[random.Random], Program] = staticmethod(program)
    call_of = "net"  # what is called

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self.extra = "()"

    @initialize(pick=PICKS)
    def make_the_net(self, pick: random.Random) -> None:
        self.program = self.draw(pick)
        self.twins = Twins(self.program.source)
        self.set_up()
        self.do("y = None", *self.arguments(pick, usual=True))
        self.extra = self.program.extras[0]
        self.do(*[self.call()] * 3)

    def set_up(self) -> None:
        self.do("hybrid: net.hybridize()")

    # -- calls -----------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def call_again(self, pick: random.Random) -> None:
        self.do(pick.choice(edits.MODES).format(call=self.call(pick)), *[self.call(pick)] * pick.randrange(3))

    @rule(pick=PICKS)
    def call_with_other_values(self, pick: random.Random) -> None:
        for _ in range(pick.randint(1, 4)):
            self.do(*self.arguments(pick, usual=True), self.call(pick))

    @rule(pick=PICKS)
    def call_with_other_arguments(self, pick: random.Random) -> None:
        if pick.random() < 0.3:
            self.extra = pick.choice(self.program.extras)
        self.do(*self.arguments(pick, usual=False), *[self.call(pick)] * pick.randint(1, 3))

    @rule(pick=PICKS)
    def change_arguments_and_results(self, pick: random.Random) -> None:
        self.do(pick.choice(edits.IN_PLACE), self.call(pick), self.call(pick))

    @precondition(lambda self: not self.over and not self.program.stateful and not self.program.random)
    @rule(pick=PICKS)
    def call_from_two_threads(self, pick: random.Random) -> None:
        self.do(f"result = twice(lambda: {self.call(pick).removeprefix('result = ')})")

    # -- edits -----------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def change_an_attribute(self, pick: random.Random) -> None:
        self.do(self.program.relevant(pick, edits.ATTRIBUTES), *[self.call(pick)] * pick.randint(0, 2))

    @rule(pick=PICKS)
    def change_a_global(self, pick: random.Random) -> None:
        self.do(self.program.relevant(pick, edits.GLOBALS), *[self.call(pick)] * pick.randint(0, 2))

    @rule(pick=PICKS)
    def change_a_parameter(self, pick: random.Random) -> None:
        self.do(
            pick.choice(edits.EDITS).format(p=self.program.relevant(pick, edits.PARAMETERS)),
            *[self.call(pick)] * pick.randint(0, 2),
        )

    @rule(pick=PICKS)
    def change_a_block(self, pick: random.Random) -> None:
        self.do(self.program.relevant(pick, edits.BLOCKS), self.call(pick), self.call(pick))

    @rule(pick=PICKS)
    def change_a_hook(self, pick: random.Random) -> None:
        self.do(
            pick.choice(edits.HOOKS).format(h=pick.choice(("watch", "look"))),
            self.call(pick),
            self.call(pick),
        )

    @rule(pick=PICKS)
    def copy_the_net(self, pick: random.Random) -> None:
        self.do(pick.choice(edits.COPIES), self.call(pick), self.call(pick))

    @rule(pick=PICKS)
    def hybridize_again(self, pick: random.Random) -> None:
        self.do(HYBRID + pick.choice(edits.REHYBRIDIZE), self.call(pick), self.call(pick))

    # -- texts -----------------------------------------------------------------------------------------------

    def do(self, *steps: str) -> None:
        for step in steps:
            if not self.over:
                try:
                    self.twins.step(step)
                except Chaotic:
                    self.over = True
                    type(self).chaotic += 1
                type(self).done += 1

    def call(self, pick: random.Random | None = None) -> str:
        given = ["x"]
        chance = pick.random() if pick else 1.0
        if len(self.program.arguments) > 1 or chance < 0.03:
            given.append("y" if chance < 0.9 or pick is None else "y=y")
        if pick is not None and chance < 0.12:
            given.append(f"k={pick.choice(edits.NUMBERS[: 7 if chance < 0.1 else None])}")
        if self.extra != "()":
            given.append(f"extra={self.extra}")
        if 0.3 < chance < 0.33:
            given[1:2] = ["x"]
        return f"result = {self.call_of}({', '.join(given)})"

    def arguments(self, pick: random.Random, usual: bool) -> list[str]:
        names = zip("xy", self.program.arguments, strict=False)
        return [f"{name} = {_array(pick, argument, usual)}" for name, argument in names]


def _array(pick: random.Random, argument: Argument, usual: bool) -> str:
    """The text of an array like ``argument``, or, where it need not be the usual one, of another layout, size or dtype."""
    shape, dtype = argument.shape, argument.dtype
    form = "np.array({}, dtype={!r})"
    if not usual:
        if pick.random() < 0.6:
            shape = (pick.choice((0, 1, 2, 4, 7)), *shape[1:]) if len(shape) > 1 else shape
        if pick.random() < 0.2:
            shape = pick.choice(((), (1,), shape[1:], (*shape, 1), (2, *shape), shape[::-1]))
        if pick.random() < 0.2:
            dtype = pick.choice(DTYPES)
        form = pick.choice(edits.FORMS)
    doubled = tuple(2 * n for n in shape)
    place = ", ".join("::2" for _ in shape) or "..."
    text = f"sample({shape}, {dtype!r}, {pick.randrange(1000)}, {pick.choice((1.0, 1.0, 0.25, 3.0))})"
    strided = f"sample({doubled}, {dtype!r}, {pick.randrange(1000)})"
    return form.format(text, dtype, strided=strided, place=place, turned=shape[::-1])


def settings_of(examples: int, derandomize: bool) -> settings:
    return settings(
        derandomize=derandomize,
        deadline=None,
        max_examples=examples,
        stateful_step_count=14,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=False,
    )


def fuzz(kind: type[Calls], examples: int, derandomize: bool) -> None:
    """Run machines of a kind; a fault is shown as the shortest script that has it."""
    machine: Any = type("Machine", (kind,), {"done": 0, "chaotic": 0})
    if not derandomize:
        seed(random.SystemRandom().getrandbits(64))(machine)
    try:
        run_state_machine_as_test(machine, settings=settings_of(examples, derandomize))
    except Fault as fault:
        raise written(shrunk(fault)) from None
    finally:
        Calls.done += machine.done
        Calls.chaotic += machine.chaotic


def fuzz_for(kind: type[Calls], config: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Run new machines of a kind for half of the minutes that the command line asks for: there are two kinds."""
    minutes = config.getoption("--fuzz-minutes", default=0.0)
    if not minutes:
        pytest.skip("runs with --fuzz-minutes")
    begun = time.monotonic()
    while time.monotonic() - begun < 30 * minutes:
        fuzz(kind, 20, derandomize=False)
        with capsys.disabled():
            sys.stdout.write(f"\r{Calls.done} steps without a fault, {Calls.chaotic} nets left to rounding")
            sys.stdout.flush()


def written(fault: Fault) -> Fault:
    """The fault, its script also as a file."""
    text = str(fault.script)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.py"
    path.write_text(
        f"import sys\n\nsys.path.insert(0, {str(Path(twins.__file__).parent)!r})\n\n{text}", encoding="utf-8"
    )
    fault.add_note(f"after {Calls.done} steps without a fault; the script is {path}")
    return fault


@pytest.mark.sampled
def test_random_programs_behave_hybridized_as_they_do_plain() -> None:
    fuzz(Calls, examples=rounds(3, 24), derandomize=True)


def test_for_as_long_as_one_likes(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz_for(Calls, pytestconfig, capsys)


def test_a_fault_is_found_and_shrunk_to_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody looks at Python's state any more.
    monkeypatch.setattr(State, "change", lambda _: "")
    monkeypatch.setattr(compiled.Program, "invalidate", lambda self: None)
    steps = ["hybrid: net.hybridize()", "x = np.ones((2, 3))", *["result = net(x)"] * 3, "y = 1"]
    twins = Twins(MODULE.format(scale=2.0))
    for step in [*steps, "net.scale = 3.0"]:
        twins.step(step)
    with pytest.raises(Fault, match=r"\['result'\] differs by 1 \(exact\)") as raised:
        twins.step("result = net(x)")
    fault = shrunk(raised.value)
    assert "y = 1" not in fault.script.steps
    assert fault.script.steps[-2:] == ("net.scale = 3.0", "result = net(x)")
    assert "unneeded" not in fault.script.source
    with pytest.raises(Fault):
        exec(str(fault.script), {})


MODULE = """\
from blockfuse import nn


class Net(nn.Block):
    def __init__(self):
        super().__init__()
        self.scale = {scale}
        self.unneeded = 1

    def forward(self, x):
        return x * self.scale


def build():
    return Net()
"""
