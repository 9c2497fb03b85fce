"""A net that tells by which processes it is unpacked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from blockfuse import nn


class Unpacked(nn.Block):
    """Writes down where it is unpacked."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.dense, self.log = nn.Dense(3, in_units=6), str(log)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()}\n")

    def forward(self, x: Any) -> Any:
        return self.dense(x)
