"""Levels of instruction sets: what a level does not have, no kernel of it uses."""

import re
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding as llvm
import numpy
import pytest
from graphs import LEVELS, natively

from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.native.engine import object_code
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.operators import contractions

# What a tile is made of: sixteen float32 multiply-adds, on the widest vectors that there are.
VECTORS = """
declare <16 x float> @llvm.fmuladd.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @kernel(ptr %x, ptr %y, ptr %z) {
  %a = load <16 x float>, ptr %x
  %b = load <16 x float>, ptr %y
  %c = load <16 x float>, ptr %z
  %d = call <16 x float> @llvm.fmuladd.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  store <16 x float> %d, ptr %z
  ret void
}
"""
ON_X86 = "avx2" in isa.host_features()


def assembly(level: str) -> str:
    object_code(VECTORS, isa.machine(level))  # initialises LLVM
    target = llvm.Target.from_default_triple().create_target_machine(
        features=isa.machine(level).features, opt=3
    )
    return str(target.emit_assembly(llvm.parse_assembly(VECTORS)))


@pytest.mark.skipif(not ON_X86, reason="registers of x86")
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_uses_its_registers_and_no_wider_ones(level: str) -> None:
    widest = {"avx512": "zmm", "avx2": "ymm", "baseline": "xmm"}[level]
    found = set(re.findall(r"%([xyz]mm)", assembly(level)))
    assert max(found) == widest
    assert ("vfmadd" in assembly(level)) == (level != "baseline")


@pytest.fixture(
    params=[set(), {"avx2", "fma"}, {"avx2", "fma", "avx512f", "vaes"}], ids=["old", "middle", "new"]
)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Another processor: the features that it has."""
    features = {name: name in request.param for name in ("avx2", "fma", "avx512f", "vaes", "sse2")}
    monkeypatch.setattr(isa, "host_features", lambda: features)
    isa.machine.cache_clear()
    yield request.param
    isa.machine.cache_clear()


def test_the_best_level_is_taken(processor: set[str]) -> None:
    best = "avx512" if "avx512f" in processor else "avx2" if "avx2" in processor else "baseline"
    assert isa.machine().name == best
    assert isa.machine(best) == isa.machine()


@pytest.mark.usefixtures("processor")
def test_a_level_that_the_processor_lacks_is_not_taken() -> None:
    order = list(isa.LEVELS)
    best = order.index(isa.machine().name)
    for level in order:
        assert order.index(isa.machine(level).name) == max(best, order.index(level))
    assert "+avx" not in isa.machine("baseline").features
    assert "+vaes" not in isa.machine("baseline").features
    assert "+avx512" not in isa.machine("avx2").features


def test_lanes_are_elements_of_a_vector() -> None:
    machine = isa.machine("baseline")
    assert (machine.lanes(4), machine.lanes(8)) == (4, 2)


def test_levels_agree() -> None:
    rng = numpy.random.default_rng(2)
    values = [rng.integers(-4, 5, s).astype("float32") for s in ((9, 33), (50, 33))]
    found = [natively(contractions.dense, *values, level=level)[0] for level in LEVELS]
    for other in found[1:]:
        numpy.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(
    ("caches", "expected"),
    [
        ([("1", "48K"), ("1", "32K"), ("2", "2048K"), ("3", "480M")], 1 << 21),
        ([("1", "32K"), ("2", "?")], Machine.second_level_bytes),
        ([], Machine.second_level_bytes),
    ],
)
def test_the_second_level_cache_is_as_large_as_the_system_says(
    caches: list[tuple[str, str]], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, words in enumerate(caches):
        cache = tmp_path / f"index{number}"
        cache.mkdir()
        for name, word in zip(("level", "size"), words, strict=True):
            (cache / name).write_text(word + "\n", encoding="ascii")
    (tmp_path / "index9").mkdir()  # of which nothing is told
    monkeypatch.setattr(isa, "_CACHES", tmp_path)
    assert isa.second_level_bytes.__wrapped__() == expected
