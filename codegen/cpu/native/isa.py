"""What the processor can do, read from its features and caches; never from its name."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

import llvmlite.binding as llvm

from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.codegen.cpu.native import tile_permission
from blockfuse.codegen.kernels.machine import Machine

# machine -> vector registers of what each of its kind has, SSE2 and NEON, that are left for accumulators
_BASELINE_ACCUMULATORS = {"x86_64": 8, "aarch64": 28}
# name -> (a feature that it needs, vector bytes, vector registers left for accumulators)
LEVELS: dict[str, tuple[str, int, int]] = {
    "avx512": ("avx512f", 64, 28),
    "avx2": ("avx2", 32, 12),
    "baseline": ("", 16, _BASELINE_ACCUMULATORS.get(platform.machine(), 8)),
}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
MIN_NONTEMPORAL_BYTES = 1 << 24  # half of a usual last-level cache; see NOTE [nontemporal stores]
MATRIX_TILES = ("amx-tile", "amx-bf16")  # the features that NOTE [matrix tiles] needs
# level -> how the names of features begin that need more than it; one left on would bring back all that it rests on
_ABOVE: dict[str, tuple[str, ...]] = {
    "avx512": (),
    "avx2": ("avx512", "avx10", "amx-avx512", "evex512"),
    "baseline": ("avx", "amx", "evex512", "fma", "f16c", "xop", "vaes", "vpclmulqdq", "sha512", "sm3", "sm4"),
}


@lru_cache
def host_features() -> dict[str, bool]:
    """LLVM feature name -> whether this processor has it."""
    return in_compiler_thread(lambda: dict(llvm.get_host_cpu_features()))


@lru_cache
def second_level_bytes() -> int:
    """Of the second-level cache of a core, as Linux tells it."""
    for cache in sorted(_CACHES.glob("index*")):
        try:
            level, size = ((cache / name).read_text(encoding="ascii").strip() for name in ("level", "size"))
        except OSError:
            continue
        if level == "2" and size.endswith("K") and size[:-1].isdecimal():
            return int(size[:-1]) << 10
    return Machine.second_level_bytes


@lru_cache
def machine(level: str = "", threads: int = 1, weights: str = "float32") -> Machine:
    """The best level that the processor has, or the best below the named one. weights: the form of those of products."""
    features = host_features()
    levels = list(LEVELS)
    wanted = levels[levels.index(level) if level else 0 :]
    level = next(name for name in wanted if not LEVELS[name][0] or features.get(LEVELS[name][0]))
    _, vector_bytes, accumulators = LEVELS[level]
    flags = {name: on and not name.startswith(_ABOVE[level]) for name, on in features.items()}
    matrix_tiles = weights == "bf16" and level == "avx512" and _has_matrix_tiles(features)
    flags |= {name: matrix_tiles and name in MATRIX_TILES for name in flags if name.startswith("amx")}
    text = ",".join(("+" if on else "-") + name for name, on in sorted(flags.items()))
    return Machine(
        vector_bytes,
        accumulators,
        text,
        threads,
        level,
        second_level_bytes(),
        MIN_NONTEMPORAL_BYTES,
        weights=weights,
        matrix_tiles=matrix_tiles,
    )


def _has_matrix_tiles(features: dict[str, bool]) -> bool:
    return all(map(features.get, MATRIX_TILES)) and tile_permission.granted()
