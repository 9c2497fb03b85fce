"""Loops of Python whose rounds are recorded one by one: what they become, and that nothing else comes out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flows import agrees, program_of, same, ways_back
from rolling import given, recorded, rolled, short_loops  # noqa: F401 - a fixture
from stages import hold_program

import blockfuse
from blockfuse import autograd, gluon, nn, np
from blockfuse.codegen.scheduling.kept_registers import kept_registers
from blockfuse.ir.flow import Flow
from blockfuse.ir.rerolling import reroll
from blockfuse.ir.rerolling.repeats import growing_rounds
from blockfuse.ir.rerolling.reroll import rerolled
from blockfuse.tracer.recording import recorder

pytestmark = [pytest.mark.spread(2), pytest.mark.usefixtures("short_loops")]


def nodes(flow: Flow) -> int:
    return sum(len(block.graph.nodes) for block in flow.blocks)


def rounds(flow: Flow) -> list[int]:
    return [loop.rounds for loop in flow.rolled]


# -- one loop ------------------------------------------------------------------------------------------------


def test_a_loop_is_as_long_as_one_round() -> None:
    def decay(count: int, x: Any) -> Any:
        for _ in range(count):
            x = np.tanh(x * 0.5) + x.mean()
        return x

    short, long = (rolled(partial(decay, count), (5,)) for count in (20, 60))
    assert (rounds(short), rounds(long)) == ([20], [60])
    assert nodes(short) == nodes(long) < 12


def test_rows_are_picked_by_the_number_of_the_round() -> None:
    def evenly(x: Any) -> Any:
        state = np.zeros((3,))
        for t in range(0, 20, 2):
            state = state * 0.9 + x[t, ::2] + x[19 - t, 1:4] + x[t : t + 2, :3].sum(axis=0)
        return state

    assert rounds(rolled(evenly, (22, 6))) == [10]


def test_rows_in_any_order_are_picked_by_a_table() -> None:
    def permuted(x: Any) -> Any:
        state = x[0]
        for place in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3):
            state = np.tanh(state + x[place])
        return state

    assert rounds(rolled(permuted, (10, 3))) == [10]


def test_numbers_that_change_are_a_table() -> None:
    def scheduled(x: Any) -> Any:
        for t in range(12):
            x = np.tanh(x * (0.9**t) + t)
        return x

    assert rounds(rolled(scheduled, (4,))) == [12]


def test_values_of_several_rounds_ago_are_carried() -> None:
    def fibonacci(a: Any) -> Any:
        values = [a, a + 1, a * 2]
        for t in range(3, 20):
            values.append(np.tanh(values[t - 1] - values[t - 3] * 0.5 + values[t - 2]))
        return values[-1], values[-2], values[10]

    assert rounds(rolled(fibonacci, (3,))) == [17]


def test_what_is_the_same_in_all_rounds_is_computed_once() -> None:
    def invariant(x: Any, w: Any) -> Any:
        for _ in range(10):
            x = np.tanh(x @ np.exp(w.T))
        return x

    flow = rolled(invariant, (2, 4), (4, 4))
    assert [[n.operator.name for n in b.graph.nodes].count("exp") for b in flow.blocks] == [1, 0, 0]


def test_what_is_made_of_nothing_is_made_where_it_is_read() -> None:
    def masked(x: Any) -> Any:
        for t in range(12):
            x = x + np.where(np.arange(6) <= t, np.tanh(x), x[::-1])
            x = np.where(np.arange(6) <= t, x, np.sin(x))
        return x

    flow = rolled(masked, (6,))
    assert rounds(flow) == [12]
    assert sorted(register.shape for register in flow.blocks[0].stores) == [(), (6,)]  # the number, and x


def test_conjugate_gradients_carry_four_arrays() -> None:
    def solve(a: Any, b: Any) -> Any:
        a = a @ a.T + 4 * np.eye(6)
        x, r, p = np.zeros(b.shape), b, b
        rs = (r * r).sum()
        for _ in range(10):
            ap = a @ p
            step = rs / (p * ap).sum()
            x, r = x + step * p, r - step * ap
            before, rs = rs, (r * r).sum()
            p = r + (rs / before) * p
        return x

    assert rounds(rolled(solve, (6, 6), (6,))) == [9]


# -- what rounds leave behind ----------------------------------------------------------------------------------


def test_appended_values_are_stacked_in_any_order() -> None:
    def listed(xs: Any, h: Any) -> Any:
        rows, out, back, joined = [], [], [], [h.reshape(1, 3)]
        for t in range(12):
            rows.append(xs[t] * 2)
        for n, (one, other) in enumerate(zip(rows, rows[::-1], strict=True)):
            h = np.tanh(h * one + other * n)
            out.append(h)
        for o in out[::-1]:
            back.append(np.exp(o) * h)
        for o in out:
            joined.append(o.reshape(1, 3))
        return np.stack(back, axis=1), np.concatenate(joined), out[4]

    assert rounds(rolled(listed, (12, 3), (3,))) == [12, 12, 12]


def test_rows_that_are_written_are_put_together_once() -> None:
    def written(xs: Any, h: Any) -> Any:
        rows, columns = np.zeros((12, 3)), np.ones((3, 15))
        for t in range(12):
            h = np.tanh(h * xs[t])
            rows[t] = h
            columns[:, 13 - t] = h
        return rows, columns

    flow = rolled(written, (12, 3), (3,))
    assert rounds(flow) == [12]
    assert "set_item" not in str(flow)
    assert "where" not in str(flow)


def test_elements_that_are_read_again_are_written_where_they_lie() -> None:
    def gauss_seidel(a: Any, b: Any, x: Any) -> Any:
        x = x.copy()
        for i in range(10):
            x[i] = (b[i] - (a[i] * x).sum() + a[i, i] * x[i]) / (a[i, i] + 5)
        return x

    assert rounds(rolled(gauss_seidel, (10, 10), (10,), (10,))) == [10]


def test_a_table_is_filled_by_two_loops() -> None:
    def table(a: Any, b: Any) -> Any:
        out = np.zeros((8, 9))
        for i in range(8):
            for j in range(9):
                out[i, j] = (a[i] * b[j]).sum() + i
        return out

    assert rounds(rolled(table, (8, 4), (9, 4))) in ([8], [8, 9], [72])


def test_shortest_paths_read_a_row_and_a_column_of_what_they_carry() -> None:
    def floyd_warshall(d: Any) -> Any:
        for k in range(9):
            d = np.minimum(d, d[:, k : k + 1] + d[k : k + 1, :])
        return d

    assert rounds(rolled(floyd_warshall, (9, 9))) == [9]


def kept(function: Callable[..., Any], *shapes: tuple[int, ...]) -> tuple[int, int]:
    """Into how many arrays rounds of a loop put elements, and into how many where they lie; the results are right."""
    flow = rolled(function, *shapes)
    assert flow.rolled, flow
    written = [n for b in flow.blocks for n in b.graph.nodes if n.operator.name == "put_at"]
    kept = [v for b in flow.blocks for v in kept_registers(b, lambda _: True)]
    return len(written), len(kept)


def test_a_cache_is_written_where_it_lies() -> None:
    def decode(x: Any, w: Any) -> Any:
        keys, values, out = np.zeros((2, 12, 4)), np.zeros((2, 12, 4)), []
        for t in range(12):
            keys[:, t] = (x @ w).reshape(2, 4)
            values[:, -1 - t] = x.reshape(2, 4) * 2
            seen = (keys * values[:, ::-1]).sum(axis=1)
            x = np.tanh(x + seen.reshape(8))
            out.append(x)
        return np.stack(out), keys

    assert kept(decode, (8,), (8, 8)) == (2, 2)


def test_elements_are_put_in_any_place_and_of_any_kind() -> None:
    def spread(x: Any) -> Any:
        square, again, counts = np.zeros((12, 12)), np.ones((6, 3)), np.zeros((12, 2), dtype="int32")
        for t, place in enumerate((3, 1, 4, 1, 5, 0, 2, -1, 5, 3, 5, 0)):
            square[t, 11 - t] = x[0]
            again[place, ::2] = x[:2]
            counts[t : t + 1] = x[1] * 10
            x = np.tanh(x + square.sum() + again[1] + counts.sum())
        return x, square, again, counts

    assert kept(spread, (3,)) == (3, 3)


def test_what_was_there_before_is_kept_for_who_needs_it() -> None:
    def before(x: Any) -> Any:
        table, out = np.zeros((12, 3)), []
        for t in range(12):
            old = table.copy()
            table[t] = x
            x = np.tanh(x + (table - old).sum(axis=0))
            out.append(old.sum(axis=0))
        return np.stack(out), table

    def round_ago(x: Any) -> Any:
        table = np.zeros((12, 3))
        last = table.copy()
        for t in range(12):
            old = table.copy()
            table[t] = x
            x = np.tanh(x + last.sum(axis=0) + table[::-1][0])
            last = old
        return x, last, table

    def over_itself(x: Any) -> Any:
        table = np.zeros((3, 3)) + x
        for t in (0, 1, 2, 0, 2, 1, 0, 1, 2, 0):
            table[t] = table[0, ::-1]
            x = np.tanh(x + table.sum(axis=0))
        return x, table

    assert [kept(function, (3,)) for function in (before, round_ago, over_itself)] == [(1, 0)] * 3


def test_arrays_that_begin_as_one_are_written_apart() -> None:
    def shared(x: Any, begin: Any) -> Any:
        one, other = begin.copy(), begin.copy()
        view = begin[2:4]
        for t in range(12):
            one[t] = x
            other[11 - t] = x * 2
            x = np.tanh(one.sum(axis=0) - other[::2].sum(axis=0) + view[0])
        return x, one, other, begin * 1

    assert kept(shared, (3,), (12, 3)) == (2, 2)
    agrees(shared, [tuple(given((3,), (12, 3)))])


# -- loops in loops --------------------------------------------------------------------------------------------


def test_loops_in_loops_are_loops_in_loops() -> None:
    def nested(xs: Any, h: Any) -> Any:
        outer = []
        for i in range(9):
            inner = []
            for j in range(10):
                h = np.tanh(h * xs[j] + i)
                inner.append(h)
            outer.append(np.stack(inner))
            h = h.sum() + h
        return np.stack(outer), h, inner[3]

    flow = rolled(nested, (10, 3), (3,))
    assert rounds(flow) == [9, 10]
    assert nodes(flow) < 30


def test_sweeps_are_repeated() -> None:
    def sweeps(a: Any, b: Any, x: Any) -> Any:
        x, errors = x.copy(), []
        for _ in range(9):
            for i in range(8):
                x[i] = (b[i] - (a[i] * x).sum() + a[i, i] * x[i]) / (a[i, i] + 5)
            x = np.tanh(x)
            errors.append(np.abs(a @ x - b).max())
        return x, np.stack(errors)

    assert rounds(rolled(sweeps, (8, 8), (8,), (8,))) == [
        9,
        8,
        8,
    ]  # a[i, i] + 5 has a loop of its own, run once


def test_loops_stand_between_decisions_on_values() -> None:
    def settling(x: Any, w: Any) -> Any:
        s = x * 1
        while np.abs(s).sum() > 0.5:
            out = []
            for t in range(12):
                s = np.tanh(s * 0.9 + w[t] * 0.01) * 0.9
                out.append(s)
            s = np.stack(out).mean(axis=0) * 0.5
        for t in range(10):
            s = s + w[t].sum() * x
        return s

    flow = rolled(settling, (4,), (12, 4))
    assert rounds(flow) == [12, 10]
    assert None in [s for block in flow.blocks for s in block.successors or ()]


# -- what stays as it is ---------------------------------------------------------------------------------------


def test_rounds_that_differ_stay_as_they_were_recorded() -> None:
    def uneven(x: Any) -> Any:
        first = np.exp(x)
        for t in range(12):
            x = np.tanh(x + (first if t % 5 == 3 else x * t))
        return x

    def draws(x: Any) -> Any:
        for _ in range(12):
            x = np.tanh(x + np.random.uniform(size=(3,)))
        return x

    for function in (uneven, draws):
        flow = recorded(function, given((3,)))
        assert rerolled(flow) is flow


def test_each_layer_has_weights_of_its_own() -> None:
    net = nn.Sequential()
    for _ in range(12):
        net.add(nn.Dense(4, activation="relu"))
    net.initialize()
    net(np.ones((2, 4)))
    flow = recorded(net.forward, given((2, 4)))
    assert rerolled(flow) is flow


def test_few_operators_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(x: Any) -> Any:
        for _ in range(12):
            x = np.tanh(x)
        return x

    monkeypatch.setattr(reroll, "_MIN_OPERATORS", 200)
    flow = recorded(short, given((3,)))
    assert rerolled(flow) is flow


def test_what_would_take_minutes_to_record_runs_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def long(x: Any) -> Any:
        for _ in range(70):
            x = np.tanh(x)
        return x

    monkeypatch.setattr(recorder, "_MAX_NODES", 64)
    hybrid = agrees(long, [tuple(given((3,)))], rounds=1)
    assert "calls more than 64 operators" in hybrid.explain()


def test_short_rounds_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def logistic(x: Any) -> Any:
        for _ in range(101):
            x = x * 3.3 * (1 - x)
        return x

    monkeypatch.setattr(reroll, "_SHORT", 32)
    monkeypatch.setattr(reroll, "_MIN_OPERATORS", 100)
    assert rounds(rolled(logistic, (2,))) == [10]


# -- native ----------------------------------------------------------------------------------------------------


def test_a_filter_runs_natively_and_says_so() -> None:
    def smoothed(xs: Any, h: Any) -> Any:
        out = []
        for t in range(xs.shape[0]):
            h = np.tanh(h * 0.5 + xs[t]) + h.mean()
            out.append(h)
        return np.stack(out), h

    arguments = tuple(given((30, 3), (3,)))
    hybrid = agrees(smoothed, [arguments])
    assert ways_back(hybrid) == 1
    assert "30 rounds of 6 operators" in hybrid.explain()
    hold_program(program_of(hybrid), [a.asnumpy() for a in arguments])


def test_rounds_of_growing_arrays_are_told_with_a_cure() -> None:
    def grown(x: Any, w: Any) -> Any:
        keys = x
        for _ in range(9):
            x = np.tanh((x * keys.mean(axis=0)) @ w)
            keys = np.concatenate([keys, x])
        return x

    hybrid = agrees(grown, [tuple(given((1, 3), (3, 3)))], rounds=1)
    assert "written out because each has other shapes" in hybrid.explain()
    assert "give the array its full size" in hybrid.explain()


def test_layers_of_other_sizes_are_no_growing_loop() -> None:
    def layered(x: Any, *weights: Any) -> Any:
        for weight in weights:
            x = np.tanh(x @ weight)
        return x

    flow = recorded(layered, given((2, 3), *((n, n + 1) for n in range(3, 14))))
    assert growing_rounds([n for n in flow.blocks[0].graph.nodes if n.operator.name != "constant"]) is None


class Cell(nn.Block):
    """A recurrent net over 12 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.h2h = nn.Dense(3)

    def forward(self, xs: Any) -> Any:
        h = xs[0]
        for t in range(12):
            h = np.tanh(self.h2h(h)) * xs[t]
        return h


def test_a_step_of_training_has_loops_forward_and_back() -> None:
    nets = []
    for compiled in (True, False):
        np.random.seed(0)
        net = Cell()
        net.initialize()
        x, y = np.random.uniform(size=(12, 2, 3)), np.random.uniform(size=(2, 3))
        net(x)
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        step = blockfuse.train_step(net, lambda out, y: (out - y) ** 2, trainer)
        for _ in range(3):
            if compiled:
                step(x, y)
            else:
                with autograd.record():
                    loss = (net(x) - y) ** 2
                loss.backward()
                trainer.step(loss.size)
        nets.append(net)
        assert not compiled or ways_back(step) >= 2, step.explain()
    for one, other in zip(*(net.collect_params().values() for net in nets), strict=True):
        same(one.data(), other.data())


@pytest.mark.long
def test_other_sizes_of_the_batch_have_loops_of_their_own() -> None:
    def batched(x: Any) -> Any:
        for _ in range(10):
            x = np.tanh(x * 0.5) + x.sum(axis=1, keepdims=True)
        return x

    hybrid = agrees(batched, [tuple(given((n, 3))) for n in (2, 3, 5)], rounds=2)
    assert all(case.program.flow.rolled for case in hybrid._hybrid.cases.values() if case.program)
    same(hybrid(*given((7, 3))), batched(*given((7, 3))))
