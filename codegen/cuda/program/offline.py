"""A program as it would be on a device that is not here: its plan and sources, and nothing that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import numpy

from blockfuse.codegen.cuda.program.plan import plan
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.validity import Validity
from blockfuse.codegen.variants import ExecutionPolicy, Variant
from blockfuse.ir.errors import CudaError


class Offline:
    """What ``blockfuse show`` reads of a program for a device."""

    def __init__(self, schedule: Schedule, machine: Machine) -> None:
        self.plan = plan(
            schedule, machine, lambda kernel, wide, alone: render(kernel, wide=wide, alone=alone)
        )
        self.validity = Validity(numpy.zeros(1, numpy.int64))

    def bind(self, parameters: Sequence[Any]) -> None:
        """Nobody reads them."""

    def calls(self) -> int:
        """How often it ran."""
        return 0

    def counter(self) -> Callable[[], int]:
        """What tells how often it ran."""
        return self.calls

    policies: tuple[ExecutionPolicy, ...] = ()

    def prove(self, variants: Iterable[Variant]) -> None:
        """Nothing runs."""

    def run(self, *_: Any, **_options: Any) -> NoReturn:
        """There is no device."""
        raise CudaError(f"a program for {self.plan.machine.name} was made to be shown, not to run")
