"""Starting contenders in processes of their own and talking to them."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contender import CONTENDERS

_SOURCE = Path(__file__).resolve().parent.parent / "src"


class SilentWorkerError(Exception):
    """A worker ended, or did not answer in time; the message says which."""


def command(
    module: str,
    arguments: Sequence[object],
    threads: int,
    settings: dict[str, object] | None = None,
    python: str = sys.executable,
) -> list[str]:
    """``python -m module`` with the number of threads in every variable that some library reads when it is loaded."""
    variables: dict[str, object] = dict.fromkeys(
        ("BLOCKFUSE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads
    )
    variables |= {"PYTHONPATH": _SOURCE, "TORCHINDUCTOR_COMPILE_THREADS": 1, "JAX_PLATFORMS": "cpu"}
    variables |= settings or {}
    return [
        "env",
        *(f"{key}={value}" for key, value in variables.items()),
        *(python, "-P", "-m", module),
        *map(str, arguments),
    ]


class Worker:
    """One contender with one number of threads."""

    def __init__(self, name: str, threads: int) -> None:
        self._arguments, self._threads = (name, threads), threads
        self._python = CONTENDERS[name].python if name in CONTENDERS else sys.executable
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any], retries: float) -> dict[str, Any]:
        """The answer; raises ``SilentWorkerError`` and forgets the process if none comes within ``retries`` seconds."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            ready, _, _ = select.select([process.stdout], [], [], retries)
            line = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, line = [process.stdout], b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait() if ready else 0
        self.stop()
        raise SilentWorkerError(
            f"the process ended with code {code}" if ready else f"no answer in {retries:.0f} s"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command("benchmarks.worker", self._arguments, self._threads, python=self._python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    def stop(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
