"""One contender in a process of its own: ``python -m benchmarks.worker NAME THREADS`` answers requests.

A request and its answer are one line of JSON each. ``{"net": ...}`` builds a net, compares its result with float64 NumPy and
finds its quickest way; ``{"calls": n}`` takes samples of the time of that many calls of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import timeit
from time import perf_counter, process_time
from typing import Any

import numpy

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.nets import Net, net_named
from benchmarks.training import TRAININGS, Training

_SAMPLE = 0.002  # seconds: a sample has as many calls as fit; short ones are seldom interrupted
_TURN = 0.03  # seconds: longer calls are sampled less often in a turn
_SAMPLES = 5  # at most, in a turn
_CALLS = 3  # before the result is checked again: recording, first compiled call, steady state


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:threads])
    timer: timeit.Timer | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "net" in request:
            timer, answer = _prepared(name, task_named(request["net"]), threads)
        else:
            assert timer is not None
            answer = {"samples": _samples(timer, request["calls"])}
        answers.write(json.dumps(answer) + "\n")


def task_named(name: str) -> Net | Training:
    """A net to call, or to train."""
    return next((training for training in TRAININGS if training.name == name), None) or net_named(name)


def _prepared(name: str, net: Net | Training, threads: int) -> tuple[timeit.Timer | None, dict[str, Any]]:
    try:
        ways, difference = checked(name, net, threads)
        complaint = "; ".join(filter(None, (way.complaint() for way in ways)))
    except UnsupportedNetError as reason:
        return None, {"unsupported": str(reason)}
    except Exception as error:  # of somebody else's program: one cell of the table, not the end of the run
        message = " ".join(str(error).split())[:200]
        return None, {"failed": f"{type(error).__name__}: {message}"}
    timers = [timeit.Timer(way.statement, globals=way.scope) for way in ways]
    numbers = [_calls(timer) for timer in timers]
    quickest = min(range(len(ways)), key=lambda i: min(_samples(timers[i], numbers[i])))
    return timers[quickest], {
        "difference": difference,
        "agrees": difference <= net.tolerance,
        "complaint": complaint,
        "way": ways[quickest].statement,
        "calls": numbers[quickest],
    }


def checked(name: str, net: Net | Training, threads: int) -> tuple[list[Way], float]:
    """A contender's ways, and the largest of their differences from what is right."""
    ways = built(name, net, threads)
    if isinstance(net, Training):
        return ways, max(net.drift(way) for way in ways)
    expected = net.expected(*net.draw())
    return ways, max(difference_of(way, expected) for way in ways)


def built(name: str, net: Net | Training, threads: int) -> list[Any]:
    """A contender's ways to call a net, or to make a step of training; raises UnsupportedNetError where it has none."""
    contender = importlib.import_module(f"benchmarks.contenders.{name}")
    if isinstance(net, Training) and not hasattr(contender, "train"):
        raise UnsupportedNetError("it does not train")
    if isinstance(net, Training):
        steps: list[Any] = contender.train(net, threads)
        return steps
    ways = [way for way in contender.build(net, threads) if way.arrays in (net.arrays, "both")]
    if not ways:
        raise UnsupportedNetError(f"it has no way to take and give arrays that are {net.arrays}")
    return ways


def difference_of(way: Way, expected: numpy.ndarray) -> float:
    """The largest difference of the first and of a later call, over the largest element; infinite for another shape."""
    results = [numpy.array(way.value()) for _ in range(_CALLS)]
    if any(r.shape != expected.shape for r in results):
        return numpy.inf
    worst = max(numpy.abs(r - expected).max() for r in (results[0], results[-1]))
    return float(numpy.nan_to_num(worst / numpy.abs(expected).max(), nan=numpy.inf))


def _samples(timer: timeit.Timer, calls: int) -> list[tuple[float, float]]:
    """Microseconds a call: passed, and of processors used by all threads of this process."""
    timer.timeit(1)  # what ran in between has the caches
    samples: list[tuple[float, float]] = []
    started = perf_counter()
    while len(samples) < _SAMPLES and (not samples or perf_counter() - started < _TURN):
        before = process_time()
        passed = timer.timeit(calls)
        samples.append((passed / calls * 1e6, (process_time() - before) / calls * 1e6))
    return samples


def _calls(timer: timeit.Timer) -> int:
    """As many as fit into a sample."""
    number = 1
    while (took := timer.timeit(number)) < _SAMPLE / 2:
        number *= 2 if took > _SAMPLE / 20 else 10
    return max(1, round(number * _SAMPLE / took))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
