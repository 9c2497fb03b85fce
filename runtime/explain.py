"""What ``net.explain()`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blockfuse.codegen.schedule import HostCall, Launch
from blockfuse.ir.lowering import Fused


def explanation(name: str, paths: Mapping[Any, Any]) -> str:
    """One paragraph a signature."""
    if not paths:
        return f"{name}: hybridized, not called yet"
    return "\n".join(_path_text(name, signature, path) for signature, path in paths.items())


def _path_text(name: str, signature: Any, path: Any) -> str:
    _, types, training = signature
    shapes = ", ".join(f"{_DTYPES.get(char, char)}{list(shape)}" for shape, char in types)
    head = f"{name}({shapes}){' in train mode' if training else ''}: "
    if path.program is None:
        reason = path.reason or "not recorded yet"
        return f"{head}eager, {path.calls} calls\n  because {reason}"
    return head + "\n".join(["compiled", *_program_lines(path)])


_DTYPES = {"f": "float32", "d": "float64", "e": "float16", "?": "bool"}


def _program_lines(path: Any) -> list[str]:
    program = path.program
    recorded = program.recording.graph
    fused = [n for n in program.optimized.main.nodes if isinstance(n.operator.lowering, Fused)]
    lines = [
        f"  {len(recorded.nodes)} operators recorded, {len(fused)} kernels,"
        f" {len(program.optimized.prologue.outputs)} values computed once per parameter version"
    ]
    for node in fused:
        source = f" from {node.source}" if node.source else ""
        lines.append(f"  kernel {node.attrs['name']}: {node.type}{source}")
    for step in program.schedule.steps:
        if isinstance(step, HostCall):
            lines.append(
                f"  numpy {step.operator.name}: {_host_reason(step)}"
                + (f", {step.source}" if step.source else "")
            )
    work = sum(s.work for s in program.schedule.steps if isinstance(s, Launch))
    native = program.executable.calls() + path.calls
    lines.append(
        f"  {native} calls, {path.attempts} recordings, {program.seconds * 1000:.0f} ms to compile or load"
    )
    lines.append(
        f"  about {work / 1000:.1f} us of kernels a call, {program.schedule.workspace} bytes of workspace"
    )
    return lines


def _host_reason(step: HostCall) -> str:
    reason = getattr(step.operator.lowering, "reason", "")
    return reason or "no kernel for this dtype or size"
