"""Threads by the quota of control groups: both versions, groups around groups, and what is no quota."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from blockfuse.runtime import config
from blockfuse.runtime.cpu_quota import processors_granted

FILES: list[tuple[Mapping[str, str], float | None]] = [
    ({}, None),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    (
        {
            "proc/self/cgroup": "0::/kube/pod/one\n",
            "sys/fs/cgroup/kube/pod/one/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kube/pod/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/kube/cpu.max": "800000 100000\n",
        },
        2.0,
    ),
    (  # the path of the host, which the container does not see
        {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        0.5,
    ),
    (
        {
            "proc/self/cgroup": "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/docker/a/cpu.cfs_quota_us": "1\n",
            "sys/fs/cgroup/memory/docker/a/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    (
        {
            "proc/self/cgroup": "4:cpuacct,cpu:/docker/a\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
]


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_quota_is_the_smallest_of_the_groups_around(number: int, tmp_path: Path) -> None:
    files, granted = FILES[number]
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    assert processors_granted(tmp_path) == granted


@pytest.mark.parametrize(
    ("granted", "threads"), [(None, 4), (0.5, 1), (1.5, 1), (2.0, 2), (3.9, 3), (64.0, 4)]
)
def test_threads_are_the_whole_processors_of_a_quota(
    granted: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLOCKFUSE_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    monkeypatch.setattr(config, "processors_granted", lambda: granted)
    assert config.threads() == threads
    monkeypatch.setenv("BLOCKFUSE_THREADS", "7")
    assert config.threads() == 7
