"""How much processor time a container grants: the quota of control groups, of both versions of Linux's interface."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

# version 2: one file with quota and period; version 1: a file for each, below the folder of the controller
_BOTH = ("cpu.max",)
_EACH = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@cache
def processors_granted(root: Path = Path("/")) -> float | None:
    """The smallest quota of the groups around this process, in processors; None where there is none.

    root: of the file system in which /proc and /sys lie.
    """
    quotas = [quota for folder in _folders(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _folders(root: Path) -> Iterator[Path]:
    """Those of the groups of this process and of all around them.

    In a container the path may be that of the host, which is not to be seen; then what is mounted is its own group.
    """
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for name in (controllers, "cpu") if controllers else ("",):
            inner = mounted / name / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(mounted / name))


def _quota(folder: Path) -> float | None:
    """That of one group, in processors."""
    numbers = " ".join(line for name in _BOTH for line in _lines(folder / name)).split()
    numbers = numbers or [line for name in _EACH for line in _lines(folder / name)]
    if len(numbers) != 2 or not (numbers[0].isdecimal() and numbers[1].isdecimal()) or not int(numbers[1]):
        return None  # "max", or -1
    return int(numbers[0]) / int(numbers[1])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().split("\n")[:-1]
    except OSError:
        return []
