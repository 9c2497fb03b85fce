"""When a signature is recorded again."""

from __future__ import annotations

from blockfuse.runtime.calls.retries import RetryPolicy


def recorded(retries: RetryPolicy, calls: int, **failure: bool) -> list[int]:
    """The calls that are recorded, where every recording fails in the same way."""
    flags = {"again": False, "effects": False, "other_ways": False} | failure
    found = []
    for call in range(1, calls + 1):
        if retries.ready(call):
            found.append(call)
            retries.failed(call, **flags)
    return found


def test_a_recording_that_failed_without_effects_is_not_repeated() -> None:
    assert recorded(RetryPolicy(), 5000) == [1]


def test_a_recording_that_failed_because_of_effects_is_repeated_three_times() -> None:
    assert recorded(RetryPolicy(), 5000, effects=True) == [1, 3, 6, 15]


def test_other_ways_of_a_program_are_tried_ever_more_seldom() -> None:
    found = recorded(RetryPolicy(), 5000, other_ways=True)
    assert found[:5] == [1, 4, 9, 18, 35]
    assert len(found) <= 14


def test_recordings_that_ask_for_another_one_come_to_an_end() -> None:
    assert len(recorded(RetryPolicy(), 5000, again=True)) == 17


def test_a_change_allows_another_recording_after_waits_that_double() -> None:
    retries, found = RetryPolicy(), []
    for call in range(1, 5001):
        if retries.ready(call):
            found.append(call)
            retries.failed(call, again=False, effects=False, other_ways=False)
        retries.changed(call)
    assert found[:6] == [1, 2, 3, 4, 5, 8]
    assert len(found) <= 20


def test_a_change_helps_at_once_after_few_failures() -> None:
    retries = RetryPolicy()
    retries.failed(7, again=False, effects=False, other_ways=False)
    assert not retries.ready(10_000)
    retries.changed(10_000)
    assert retries.ready(10_001)


def test_programs_that_serve_no_calls_are_made_ever_more_seldom() -> None:
    retries, made = RetryPolicy(), []
    for call in range(1, 5001):
        if retries.ready(call):
            made.append(call)
            retries.outdated(call, served=0)
    assert made[:8] == list(range(1, 9))
    assert len(made) <= 22


def test_programs_that_serve_many_calls_may_go_as_often_as_they_like() -> None:
    retries = RetryPolicy()
    assert not any(retries.outdated(n, served=8) for n in range(1000))
