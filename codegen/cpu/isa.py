"""What the processor can do, read from its features; never from its name."""

from __future__ import annotations

from functools import lru_cache

import llvmlite.binding as llvm

from blockfuse.codegen.machine import Machine

# name -> (a feature that it needs, vector bytes, vector registers left for accumulators)
LEVELS: dict[str, tuple[str, int, int]] = {
    "avx512": ("avx512f", 64, 28),
    "avx2": ("avx2", 32, 12),
    "baseline": ("", 16, 8),
}
_ABOVE = {  # level -> features that must be off for it
    "avx512": (),
    "avx2": ("avx512f",),
    "baseline": ("avx512f", "avx2", "avx", "fma", "f16c", "xop", "fma4"),
}


@lru_cache
def host_features() -> dict[str, bool]:
    """LLVM feature name -> whether this processor has it."""
    return dict(llvm.get_host_cpu_features())


@lru_cache
def machine(level: str = "", threads: int = 1) -> Machine:
    """The best level that the processor has, or the named one if it has that."""
    features = host_features()
    if not level:
        level = next(name for name, (needed, _, _) in LEVELS.items() if not needed or features.get(needed))
    _, vector_bytes, accumulators = LEVELS[level]
    flags = {
        **features,
        **{name: False for name in features if name.startswith(_ABOVE[level]) and _ABOVE[level]},
    }
    text = ",".join(("+" if on else "-") + name for name, on in sorted(flags.items()))
    return Machine(vector_bytes, accumulators, text, threads, level)
