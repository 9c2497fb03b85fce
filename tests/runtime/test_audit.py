"""Audits: a share of compiled calls is repeated eagerly; a wrong program is caught, explained and kept as a script."""

from __future__ import annotations

import contextlib
import copy
import pickle
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, nn, np, npx
from blockfuse.ir.errors import AuditError, UsageError
from blockfuse.ir.lowering import Pointwise
from blockfuse.ir.operator import TABLE
from blockfuse.ir.stream import STREAM
from blockfuse.runtime import config
from blockfuse.runtime.audit import audit, comparison
from blockfuse.runtime.programs.program import Program


class Net(nn.Block):
    """Layers, a branch and a loop on values."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, in_units=3)
        self.scale = 2.0

    def forward(self, X: Any) -> Any:
        H = self.dense(X) * self.scale
        while np.abs(H).sum() > 8:
            H = H / 2
        Y = np.tanh(H)
        return npx.softmax(Y) if Y.max() > 0.5 else Y + 1


def hybrid(share: float = 1, net: Any = None) -> Any:
    net = net or Net()
    net.initialize("normal")
    net.dense.weight.set_data(np.array(numpy.linspace(-1, 1, 12).reshape(4, 3).astype("float32")))
    net.hybridize(audit=share, check=False)
    return net


def numbers(seed: int) -> Any:
    return np.array(numpy.random.default_rng(seed).normal(size=(2, 3)).astype("float32") * 2)


@pytest.fixture
def wrong_tanh() -> Iterator[None]:
    """Kernels take another function for tanh."""
    row, right = TABLE["tanh"], TABLE["tanh"].lowering
    object.__setattr__(row, "lowering", Pointwise("exp({0})", "f"))
    yield
    object.__setattr__(row, "lowering", right)


# -- which calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "audited"), [(1, 20), (0.25, 5), (0.1, 2), (1 / 3, 6), (0.04, 0)])
def test_that_share_of_the_compiled_calls_is_audited(share: float, audited: int) -> None:
    call = blockfuse.hybridize(lambda x: np.tanh(x) + 1, audit=share)
    for _ in range(21):
        call(np.ones((2,)))
    assert (f", {audited} audited" in call.explain()) == bool(audited)


def test_every_fourth_call_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    call = blockfuse.hybridize(lambda x: x + 1, audit=0.25)
    call(np.ones((2,)))
    seen = []
    compare = audit.Audit._compare
    monkeypatch.setattr(audit.Audit, "_compare", lambda *a: (seen.append(turn), compare(*a)))
    for turn in range(12):  # noqa: B007 - seen by the lambda
        call(np.ones((2,)))
    assert seen == [3, 7, 11]


@pytest.mark.parametrize("share", [-0.1, 1.5, "all", None, True, numpy.float64(0.5), float("nan")])
def test_a_share_that_cannot_be_is_refused(share: Any) -> None:
    with pytest.raises(UsageError, match=r"audit is .*number from 0"):
        Net().hybridize(audit=share)
    with pytest.raises(UsageError, match=r"audit is .*number from 0"):
        blockfuse.hybridize(np.tanh, audit=share)


def test_without_audits_the_entry_is_the_native_one() -> None:
    net, audited = hybrid(0), hybrid(1)
    for one in (net, audited):
        for seed in range(3):
            one(numbers(seed))
    program = next(case.program for case in net._hybrid.cases.values())
    assert net._entry is program.call
    assert audited._entry is not None
    assert audited._entry not in [case.program.call for case in audited._hybrid.cases.values()]


def test_copies_and_blocks_inside_are_audited() -> None:
    class Outer(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(2, in_units=3)

        def forward(self, X: Any) -> Any:
            return self.dense(X) * float(X.sum())

    net = hybrid()
    for one in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        one(numbers(1)), one(numbers(1))
        assert "1 audited" in one.explain()
    outer = Outer()
    outer.initialize()
    outer.hybridize(audit=1)
    for _ in range(6):
        outer(numbers(1))
    assert re.search(r"dense: .*audited", outer.explain(), re.DOTALL)


# -- right programs --------------------------------------------------------------------------------------------


def test_a_right_program_passes_and_nothing_is_disturbed() -> None:
    net, plain = hybrid(), Net()
    plain.share_parameters(net.collect_params())
    for seed in range(30):
        X = numbers(seed)
        before = X.asnumpy()
        numpy.testing.assert_allclose(net(X).asnumpy(), plain(X).asnumpy(), rtol=1e-5, atol=1e-6)
        numpy.testing.assert_array_equal(X.asnumpy(), before)
    assert "audited" in net.explain()
    assert net(X=numbers(1)).shape == (2, 4)
    assert type(net(numbers(1).asnumpy())) is numpy.ndarray


def test_draws_are_those_of_a_net_that_is_not_audited() -> None:
    class Noise(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, X: Any) -> Any:
            return self.drop(X) + 1

    states = []
    for share in (0, 1, 0.5):
        net = Noise()
        net.hybridize(audit=share)
        np.random.seed(4)
        with autograd.train_mode():
            values = [net(np.ones((2, 3))).asnumpy() for _ in range(6)]
        states.append((values, STREAM.generator.bit_generator.state))
    assert "audited" in net.explain()
    for values, state in states[1:]:
        numpy.testing.assert_array_equal(values, states[0][0])
        assert state == states[0][1]


def test_rounding_is_no_fault_even_where_it_decides_the_way() -> None:
    """Sums that cancel leave nothing but rounding, and a branch on them goes either way."""

    def forward(x: Any) -> Any:
        rest = (x * 1e3).sum() - (x.reshape((-1, 7)).sum(axis=0) * 1e3).sum()
        return x * 2 if rest > 0 else x * 3

    call = blockfuse.hybridize(forward, audit=1)
    rng = numpy.random.default_rng(3)
    for _ in range(40):
        call(np.array(rng.normal(size=(7 * 41,)).astype("float32")))
    assert "audited" in call.explain()


def test_rounding_is_no_fault_where_it_decides_whether_the_call_raises() -> None:
    def forward(x: Any) -> Any:
        if (x * 1e3).sum() - (x.reshape((-1, 7)).sum(axis=0) * 1e3).sum() > 0:
            raise ValueError("positive")
        return x * 2

    call = blockfuse.hybridize(forward, audit=1)
    rng = numpy.random.default_rng(5)
    for _ in range(40):
        with contextlib.suppress(ValueError):
            call(np.array(rng.normal(size=(7 * 41,)).astype("float32")))
    assert "audited" in call.explain()


def test_the_tolerance_grows_with_the_longest_sum() -> None:
    wanted = numpy.array([4.0, -8.0], "float32")
    limits = []
    for size in (4, 400):
        call = blockfuse.hybridize(lambda x: x.sum(axis=1) + 1)
        call(np.ones((2, size)))
        (case,) = call._hybrid.cases.values()
        limits.append(comparison.tolerance(wanted, case.program.flow))
    eps = numpy.finfo("float32").eps
    assert limits == pytest.approx([eps * 8 * (16 + 2 * 8**0.5), eps * 8 * (16 + 2 * 800**0.5)])
    assert comparison.tolerance(numpy.array([3]), case.program.flow) == 0


# -- wrong programs --------------------------------------------------------------------------------------------


def test_a_wrong_kernel_is_caught_named_and_reproduced(wrong_tanh: None, capsys: Any) -> None:  # noqa: ARG001
    net = hybrid()
    net(numbers(1))
    with pytest.raises(AuditError) as raised:
        net(numbers(1))
    text = str(raised.value)
    assert text.startswith(
        "Net(float32[2, 3]): the compiled call differs from the eager call: array 0 of the result"
    )
    assert re.search(r"by up to [\d.]+ in \d of 8 elements \(tolerance [\d.e-]+\)", text)
    assert re.search(r"blocks of the flow: 0(, \d)+\n", text)
    line = next(
        n for n, code in enumerate(Path(__file__).read_text().splitlines(), 1) if "Y = np.tanh(H)" in code
    )
    assert f"first operator that differs: tanh: float32[2, 4] at {__file__}:{line}" in text
    script = Path(re.search(r"run (\S+\.py)", text)[1])
    assert script.parent == config.cache_folder() / "faults"
    assert script.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script))
    assert left.value.code is True
    assert "compiled and eager differ by up to" in capsys.readouterr().out


def test_the_script_passes_once_the_fault_is_gone() -> None:
    net = hybrid()
    for _ in range(3):
        net(numbers(1))
    vars(net)["scale"] = 2.5
    with pytest.raises(AuditError) as raised:
        net(numbers(1))
    script = Path(re.search(r"run (\S+\.py)", str(raised.value))[1])
    script.write_text(script.read_text().replace("2.0", "2.5"))
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script))
    assert left.value.code is False


@pytest.mark.parametrize("far", [float("inf"), float("-inf"), float("nan"), 3.4e38])
def test_a_wrong_element_beside_one_that_is_not_finite_is_caught(wrong_tanh: None, far: float) -> None:  # noqa: ARG001
    """Noise leaves infinities what they are; what it makes infinite says nothing about other elements."""

    def forward(x: Any) -> Any:
        return np.tanh(x[0]) + x[1] * 1.5

    call = blockfuse.hybridize(forward, audit=1, check=False)
    x = np.ones((2, 3))
    call(x)
    x[1, 2] = far
    with pytest.raises(AuditError, match="array 0 of the result"):
        call(x)


def test_a_wrong_result_of_right_operators_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    call = blockfuse.hybridize(lambda x: (np.tanh(x), x > 0), audit=1)
    call(np.ones((2,)))
    rightly = Program.run

    def run(self: Program, *given: Any) -> Any:
        first, second = rightly(self, *given)
        return first, np.logical_not(second)

    monkeypatch.setattr(Program, "run", run)
    with pytest.raises(AuditError, match=r"array 1 of the result, bool\[2\], by up to inf in 2 of 2"):
        call(numpy.ones(2, "float32"))


@pytest.mark.long
def test_numbers_and_batches_that_change_are_repeated(wrong_tanh: None) -> None:  # noqa: ARG001
    def scaled(x: Any, t: float) -> Any:
        return np.tanh(x * t) + 1

    call = blockfuse.hybridize(scaled, audit=1 / 16, check=False)
    wanted = (
        r"scaled\(float32\[(\d), 2\]\).*\n.*flow: 0\n  first operator that differs: tanh: float32\[\1, 2\]"
    )
    with pytest.raises(AuditError, match=wanted):
        any(call(np.ones((1 + turn % 5, 2)), turn / 8) is None for turn in range(400))
    assert "1 audited" in call.explain()


def test_a_change_that_nobody_reports_is_caught() -> None:
    net = hybrid()
    for seed in (1, 1, 1):
        net(numbers(seed))
    vars(net)["scale"] = 2.5
    with pytest.raises(AuditError, match=r"reads something that was not seen\n.*differs: multiply"):
        net(numbers(1))


def test_an_eager_call_that_raises_is_a_difference() -> None:
    net = hybrid()
    for seed in (1, 1, 1):
        net(numbers(seed))
    vars(net)["scale"] = "two"
    with pytest.raises(AuditError, match="the eager call raised") as raised:
        net(numbers(1))
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_result_of_another_structure_is_a_difference() -> None:
    class Switch(nn.Block):
        several = False

        def forward(self, x: Any) -> Any:
            return (x + 1, x + 2) if self.several else x + 1

    net = Switch()
    net.hybridize(audit=1)
    for _ in range(3):
        net(np.ones((2,)))
    vars(net)["several"] = True
    with pytest.raises(AuditError, match="structure, shapes or dtypes"):
        net(np.ones((2,)))


def test_without_a_folder_the_fault_is_still_told(
    wrong_tanh: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    call = blockfuse.hybridize(np.tanh, audit=1, check=False)
    call(np.ones((2,)))
    monkeypatch.setenv("BLOCKFUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(AuditError, match="no script of it is written"):
        call(np.ones((2,)))
