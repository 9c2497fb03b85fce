"""First calls in fresh processes, with empty and with filled caches, and against the number of operators."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from benchmarks.contender import CONTENDERS
from benchmarks.processes import command

NET = "20-256-10, batch 2"
TRAINING = "784-256-128-10, batch 32, sgd"
_TRAINS = {"numpy", "torch", "torch_compile", "jax", "pytensor", "blockfuse"}
OPERATORS = (100, 300, 1000, 3000)
_PATIENCE = 120.0  # seconds for the first call of the net
_CHAIN_PATIENCE = 60.0  # seconds for the first call of a chain; longer ones are then not tried
_REPEATS = 3  # of starts that take less than
_QUICK = 5.0  # seconds


@dataclass(frozen=True)
class Start:
    """Seconds of one start: ``all`` from starting Python to the second result; or ``reason`` why there are none."""

    contender: str  # its name
    net: str  # its name
    cache: str  # empty or filled
    all: float = 0.0  # from starting Python to the second result
    used: float = 0.0  # of all, processor time
    importing: float = 0.0  # of all, until the contender is imported
    first: float = 0.0  # of all, the first call
    peak_bytes: int = 0  # the most memory that the process had
    agrees: bool = True  # whether the result is right
    reason: str = ""  # why there are no times


def first_calls(names: list[str]) -> Iterator[list[Start]]:
    """A cold and a warm start of each contender with a net and with a step, medians of several where that is quick."""
    for name in names:
        nets = [NET] * (name != "pytensor") + [TRAINING] * (name in _TRAINS)
        yield [start for net in nets for start in _starts(name, net)]


def _starts(name: str, net: str) -> list[Start]:
    """A cold and a warm one of one net, or step of training."""
    starts: list[list[Start]] = []
    while len(starts) < _REPEATS and (not starts or starts[0][0].all < _QUICK):
        with tempfile.TemporaryDirectory() as folder:
            starts.append([_start(name, net, cache, folder, _PATIENCE) for cache in ("empty", "filled")])
        if any(start.reason for start in starts[-1]):
            break
    return [_median([pair[side] for pair in starts]) for side in (0, 1)]


def against_operators(names: list[str], operators: tuple[int, ...] = OPERATORS) -> Iterator[list[Start]]:
    """Cold starts of each contender with longer and longer chains, until one takes too long."""
    for name in names:
        found: list[Start] = []
        for number in operators:
            with tempfile.TemporaryDirectory() as folder:
                found.append(_start(name, f"{number} operators", "empty", folder, _CHAIN_PATIENCE))
            if found[-1].reason:
                break
        yield found


def _start(name: str, net: str, cache: str, folder: str, retries: float) -> Start:
    settings: dict[str, object] = {
        "BLOCKFUSE_CACHE": Path(folder) / "blockfuse",
        "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor",
        "TORCHINDUCTOR_CACHE_DIR": Path(folder) / "torch",
        "JAX_COMPILATION_CACHE_DIR": Path(folder) / "jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
    }
    start = Start(name, net, cache)
    try:
        done = subprocess.run(
            command("benchmarks.first", (name, net, perf_counter()), 1, settings, CONTENDERS[name].python),
            capture_output=True,
            timeout=retries,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return replace(start, reason=f"more than {retries:.0f} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return replace(start, reason=f"failed: {last[:200]}")
    answer = json.loads(done.stdout)
    return replace(
        start,
        all=answer["all_s"],
        used=answer["used_s"],
        importing=answer["import_s"],
        first=answer["first_s"],
        peak_bytes=answer["peak_bytes"],
        agrees=answer["agrees"],
        reason=answer["complaint"],
    )


def _median(starts: list[Start]) -> Start:
    wrong = [s for s in starts if s.reason or not s.agrees]
    return (
        wrong[0]
        if wrong
        else replace(
            starts[0],
            all=statistics.median(s.all for s in starts),
            used=statistics.median(s.used for s in starts),
            importing=statistics.median(s.importing for s in starts),
            first=statistics.median(s.first for s in starts),
            peak_bytes=max(s.peak_bytes for s in starts),
        )
    )
