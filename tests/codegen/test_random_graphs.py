"""Random graphs whose sizes coincide: all stages give what NumPy gives, and a fault is found and shrunk to a script.

``make fuzz`` runs as many as one likes (``tests/support/graph_fuzz.py``); here a small share, the same in every run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import differing
import isolated
import numpy
import pytest
from differing import Chaotic, Fault, Run, native, quick
from forms import FORMS, Form
from graph_fuzz import Search
from program_coverage import features, reachable, rows_of
from random_graphs import Draft, Steering, drafted

from blockfuse.array.functions import creation
from blockfuse.codegen.meaning import kernels
from blockfuse.ir.operator import TABLE

# Rows that no recorded call has: a gradient's, draws whose parameters are arrays, and what looks at such parameters.
NEVER_RECORDED = {"add_at", "binomial", "checked", "multinomial", "poisson", "standard_gamma"}
# What slides windows, which no form draws: ``test_windows.py`` holds it against torch.
WINDOWS = {"window_product"} | rows_of("convolution", "pooling", "windows")
# What a pass writes where weights of fewer bits are asked for: ``test_precision.py``.
NARROW = rows_of("narrow")


def searched(seed: int, programs: int) -> tuple[Search, str]:
    """A run without native code, and what it said."""
    said: list[str] = []
    search = Search(seed, said.append, window=0)
    search.run(lambda s: s.programs < programs)
    return search, "\n".join(said)


def test_random_graphs_mean_the_same_at_every_stage() -> None:
    search, said = searched(seed=0, programs=200)
    assert not search.faults, said
    assert sum(search.left.values()) < 20, search.left  # few stay in Python, or are left to rounding


@pytest.mark.parametrize("seed", range(3))
def test_random_graphs_give_natively_what_they_give_plain(seed: int) -> None:
    program, _ = drafted(7000 + seed, Steering())
    try:
        native(program.case, batches=seed == 0)
    except Chaotic:
        pytest.skip("rounding decides")
    except Fault as fault:
        raise AssertionError(fault.script) from fault


def with_form(form: Form) -> Run:
    """A program with a line of this form that a result needs, held together."""
    for seed in range(4000):
        draft = Draft(seed, Steering())
        if form.writes:
            draft.add(Form("numbers", "{0} + 1"))
        if draft.add(form) and draft.add(Form("numbers", "{0} + 2")):
            program = draft.program(0)
            if any(line.text == draft.lines[-2].text for line in program.lines):
                try:
                    run = quick(program.case)
                except Chaotic:
                    continue
                if run.compiled is not None or form.writes:  # writes through views stay in Python
                    return run
    raise AssertionError(f"no program has {form}")


@pytest.mark.long
def test_every_form_can_be_drawn_and_together_they_call_every_operator() -> None:
    seen: set[str] = set()
    for form in FORMS:
        if any(f"random.{name.removeprefix('standard_')}(" in form.text for name in NEVER_RECORDED):
            continue
        run = with_form(form)
        if run.compiled is not None:
            seen |= {f.split()[1] for f in features(run.compiled)}
    assert reachable(TABLE) - seen - WINDOWS - NARROW == NEVER_RECORDED


def test_what_was_run_least_is_run_next() -> None:
    search, _ = searched(seed=3, programs=60)
    counts = search.steering.pairs
    form, other = (Form("pointwise1", text) for text in ("np.exp({0})", "np.tanh({0})"))
    counts[("argument", form.text)] = 5
    counts[("argument", other.text)] = 4
    appeal = search.steering.appeal
    search.steering.runs.clear()
    assert appeal(("argument", form.text)) < appeal(("argument", other.text))


# -- faults ----------------------------------------------------------------------------------------------------


def lost_last_element(
    kernel: Any, addresses: Any, begin: int, end: int, was: Any = kernels.kernel_meaning
) -> None:
    was(kernel, addresses, begin, max(begin, end - 1))


def test_a_fault_of_kernels_is_found_and_shrunk_to_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_row_less(schedule: Any, arguments: Sequence[Any], parameters: Sequence[Any]) -> Any:
        return meaning(schedule, arguments, parameters, kernels=lost_last_element)

    meaning = differing.meaning_of
    monkeypatch.setattr(differing, "meaning_of", one_row_less)
    search, said = searched(seed=0, programs=3)
    assert search.faults, said
    fault = next(iter(search.faults.values()))
    assert fault.kind.startswith("schedule: ")
    assert fault.case.source.count("\n") <= 3
    with pytest.raises(Fault, match="schedule"):
        exec(fault.script, {})
    monkeypatch.undo()
    exec(fault.script, {})


@pytest.mark.parametrize(
    ("raised", "seen", "said"),
    [
        (None, Fault, "SIGKILL"),
        (ValueError("of the check"), Fault, "ValueError"),
        (Chaotic("rounding"), Chaotic, "^$"),
    ],
    ids=["dead", "wrong", "chaotic"],
)
def test_what_happens_in_a_child_is_told(
    monkeypatch: pytest.MonkeyPatch, raised: Exception | None, seen: type[Exception], said: str
) -> None:
    def dying(*_: Any) -> None:
        if raised is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise raised  # type: ignore[misc]

    monkeypatch.setattr(isolated, "native", dying)
    with pytest.raises(seen, match=said):
        isolated.native_apart(with_text("np.tanh({0})"))


def test_a_fault_of_functions_is_told_from_one_of_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation.movement, "reshape", lambda x, shape: creation.pointwise.negative(x))
    with pytest.raises(Fault, match=r"eager: (shape|values)"):
        quick(with_text("np.array({0}, ndmin=3)"))


def with_text(text: str) -> Any:
    draft = Draft(1, Steering())
    assert draft.add(Form("movement", text))
    return draft.program(0).case


def test_rounding_is_no_fault() -> None:
    case = with_text("np.exp({0}.astype('float32') / 3) > np.exp(np.float32(1) / 3)")
    assert quick(case).compiled is not None
    assert numpy.isfinite(case.samples(0)[0].astype("float64")).all()
