"""Runs random programs by the thousand, steers towards what was never run, and keeps the faults that it finds.

Every program is held together without native code (``differing.quick``); of each ``window`` programs, the one whose kernels
were compiled least is also run as native code. A fault is shrunk, told once by its kind, and never ends the run.

    python -P tests/support/graph_fuzz.py --minutes 10
    python -P tests/support/graph_fuzz.py --programs 1000000 --seed 0 --log build/fuzz/log.txt
"""

from __future__ import annotations

import argparse
import hashlib
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from differing import CALLS, Chaotic, Fault, Run, Unsupported, native, quick
from isolated import native_apart
from program_coverage import Coverage, features, reachable
from random_graphs import Case, Draft, Program, Steering, Type, drafted
from shrinking import shrunk

from blockfuse.ir.operator import TABLE

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"  # scripts of faults
_SHRUNK = 12  # faults of one kind that are shrunk; they may be different ones
_EVERY = 20.0  # seconds between lines of the log
_LIMIT = 300  # seconds that one check may take
_WARM = Case("def function(x):\n    return x * 2\n", {"x": Type((4,), "float32")}, seed=0)


@dataclass
class Search:
    """One run. say: takes lines for people. window: programs of which one is run natively; 0: none. calls: more of each."""

    seed: int
    say: Callable[[str], None]
    window: int = 40
    calls: int = 0
    programs: int = 0
    native: int = 0
    left: Counter[str] = field(default_factory=Counter)  # why programs stayed in Python -> how many
    kinds: Counter[str] = field(default_factory=Counter)  # kind of fault -> how many
    faults: dict[str, Fault] = field(default_factory=dict)  # what a shrunk fault is told by -> one such fault
    steering: Steering = field(default_factory=Steering)
    coverage: Coverage = field(default_factory=Coverage)
    compiled: Coverage = field(default_factory=Coverage)  # of what was run natively

    def __post_init__(self) -> None:
        self.begun, self.spoken = time.monotonic(), time.monotonic()
        self.newest: tuple[float, Program, set[str]] | None = None  # of this window: its worth, what it has

    def run(self, goes_on: Callable[[Search], bool]) -> None:
        before = signal.signal(signal.SIGALRM, _late)
        try:
            while goes_on(self):
                self.step()
                if time.monotonic() - self.spoken > _EVERY:
                    self.spoken = time.monotonic()
                    self.say(self.line())
        finally:
            signal.signal(signal.SIGALRM, before)

    def step(self) -> None:
        """One program more."""
        program, draft = drafted(self.seed + self.programs, self.steering)
        self.programs += 1
        run = Run()
        self._guarded(program, lambda: quick(program.case, run, thorough=self.programs % 4 == 0))
        self._guarded(program, lambda: self._note(program, draft, run))
        if self.window and self.programs % self.window == 0 and self.newest is not None:
            _, newest, found = self.newest
            self.newest = None
            self.native += 1
            self.compiled.note(found)
            self._guarded(newest, lambda: native_apart(newest.case, self.native % 4 == 0, self.calls))

    def _note(self, program: Program, draft: Draft, run: Run) -> None:
        if run.left:
            self.left[re.sub(r" at .*|\(.*", "", run.left)] += 1
        if run.compiled is None:
            self.steering.note(draft, 0)
            return
        found = features(run.compiled)
        self.steering.note(draft, self.coverage.new(found))
        self.coverage.note(found)
        worth = self.compiled.worth(found) / (
            2 + len(run.compiled.schedule.launches)
        )  # most of the time is compiling
        if self.newest is None or worth > self.newest[0]:
            self.newest = worth, program, found

    # -- faults ----------------------------------------------------------------------------------------------

    def _guarded(self, program: Program, call: Callable[[], object]) -> None:
        """Whatever happens, the run goes on: what is wrong with a check is told as a fault, too."""
        signal.alarm(_LIMIT)
        try:
            call()
        except Fault as fault:
            self._found(program, fault)
        except (Chaotic, Unsupported) as answer:
            self.left[type(answer).__name__] += 1
        except Exception as error:
            self._found(program, Fault(program.case, "quick", f"check: {error!r}", traceback.format_exc()))
        finally:
            signal.alarm(0)

    def _found(self, program: Program, fault: Fault) -> None:
        self.kinds[fault.kind] += 1
        if self.kinds[fault.kind] > _SHRUNK:
            return
        small, fault = shrunk(program, fault, tries=400 if fault.mode == "quick" else 60)
        key = f"{fault.kind} {' '.join(_shape_of(line.text) for line in small.lines)}"
        if key not in self.faults:
            self.faults[key] = fault
            self.say(f"FAULT {len(self.faults)}, program {self.seed + self.programs - 1}, {_written(fault)}")
            self.say(fault.script)

    # -- what is said ----------------------------------------------------------------------------------------

    def line(self) -> str:
        seconds = time.monotonic() - self.begun
        own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return (
            f"{self.programs} programs, {self.native} of them native with {self.native * (CALLS + self.calls)} calls,"
            f" in {seconds:.0f} s"
            f" ({_cpu(own):.0f} s of CPU and {_cpu(children):.0f} s native, {own.ru_maxrss // 1024} MiB);"
            f" {len(self.coverage.counts)} features; {sum(self.kinds.values())} with a fault,"
            f" {len(self.faults)} different ones"
        )

    def summary(self) -> str:
        kinds = [f"  {n:6} {kind}" for kind, n in self.kinds.most_common()]
        left = [f"  {n:6} {why}" for why, n in self.left.most_common(8)]
        rows = reachable(TABLE)
        return "\n".join(
            [
                self.line(),
                *("faults:", *kinds) * bool(kinds),
                "left to Python or to rounding:",
                *left,
                "without native code:",
                self.coverage.summary(rows),
                "native:",
                self.compiled.summary(rows),
            ]
        )


def _cpu(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def _late(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"a check took more than {_LIMIT} seconds")


def _shape_of(text: str) -> str:
    """A line without what varies: numbers and names of values."""
    return re.sub(r"\b[xy]?\d+(\.\d+)?\b", "#", text)


def _written(fault: Fault) -> Path:
    text = fault.script
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"graph-{hashlib.sha256(text.encode()).hexdigest()[:12]}.py"
    path.write_text(
        f"import sys\n\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n\n{text}", encoding="utf-8"
    )
    return path


# -- command line ------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--programs", type=int, default=0, help="how many programs (default: by time)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long, where no number of programs is given"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the first program (default: by the clock)")
    parser.add_argument("--window", type=int, default=40, help="one of so many is run natively; 0: none")
    parser.add_argument("--calls", type=int, default=0, help="more of each native program, with other values")
    parser.add_argument("--log", type=Path, default=None, help="a file that gets what is printed, too")
    options = parser.parse_args()
    seed = time.time_ns() // 1000 % 10**9 if options.seed is None else options.seed
    FOLDER.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        if options.log is not None:
            with options.log.open("a", encoding="utf-8") as log:
                log.write(text + "\n")

    end = time.monotonic() + 60 * options.minutes
    search = Search(seed, say, options.window, options.calls)
    say(f"from seed {seed}")
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as environment:
        environment.setenv("BLOCKFUSE_CACHE", cache)
        native(_WARM)  # children begin with a compiler that has compiled
        try:
            search.run(
                lambda s: s.programs < options.programs if options.programs else time.monotonic() < end
            )
        finally:
            say(search.summary())
    return 1 if search.faults else 0


if __name__ == "__main__":
    sys.exit(main())
