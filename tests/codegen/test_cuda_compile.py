"""Machine code for devices, made without one: no float64, nothing beside registers, wide loads and stores where promised."""

import importlib.util
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from device_kernels import KERNELS, source
from graphs import Memory

PACKAGES = ("numba_cuda", "cuda.core", "nvidia.cu13")


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


MISSING = [p for p in PACKAGES if not _is_there(p)]
if MISSING:
    pytest.skip(f"compiling for devices needs {', '.join(MISSING)}: extra cuda-test", allow_module_level=True)

from blockfuse.codegen.cuda.native import frontend  # noqa: E402
from blockfuse.codegen.cuda.native.cubin import cubin  # noqa: E402
from blockfuse.codegen.cuda.native.isa import capability, machine  # noqa: E402
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage  # noqa: E402
from blockfuse.codegen.values.functions import ARITY  # noqa: E402

CAPABILITIES = [(8, 0), (9, 0), (10, 0)]
REGISTERS = 128  # with them, a multiprocessor holds two blocks of 256 threads
_MEMORY = Memory()

pytestmark = pytest.mark.long


def _tool(name: str) -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    assert spec is not None
    found = (
        path for place in spec.submodule_search_locations or () for path in Path(place).glob(f"*/bin/{name}")
    )
    return next(found, None)


CUOBJDUMP, NVDISASM = _tool("cuobjdump"), _tool("nvdisasm")
dumping = pytest.mark.skipif(
    CUOBJDUMP is None or NVDISASM is None,
    reason="reading machine code needs cuobjdump and nvdisasm: extra cuda-test",
)


def dumped(code: bytes, option: str, folder: Path) -> str:
    file = folder / "kernel.cubin"
    file.write_bytes(code)
    environment = {"PATH": str(NVDISASM.parent)}  # type: ignore[union-attr]
    command = [str(CUOBJDUMP), option, str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def instructions(code: bytes, folder: Path) -> Counter[str]:
    """Instruction -> how often it stands in the machine code."""
    text = dumped(code, "--dump-sass", folder)
    return Counter(re.findall(r"\*/\s+(?:@!?U?P\d+ )?([A-Z][\w.]*)", text))


@pytest.mark.parametrize("name", KERNELS)
def test_no_kernel_of_float32_computes_in_float64(name: str) -> None:
    assert all(".f64" not in text for text in frontend.ptx(source(name), machine((9, 0))))


@dumping
@pytest.mark.parametrize("name", KERNELS)
def test_what_a_thread_holds_is_in_registers(name: str, tmp_path: Path) -> None:
    text = dumped(cubin(source(name), machine((9, 0)), _MEMORY), "--dump-resource-usage", tmp_path)
    assert set(re.findall(r"(?:STACK|LOCAL):(\d+)", text)) == {"0"}
    assert max(int(n) for n in re.findall(r"REG:(\d+)", text)) <= REGISTERS


# name -> how many wide loads and stores there are, at least
WIDE = {
    "elementwise_chain": (2, 1),
    "added_row": (2, 1),
    "embedding": (2, 1),
    "softmax_of_a_warp": (8, 8),
    "softmax_of_a_block": (4, 4),
    "layer_norm_of_a_warp": (24, 8),
    "layer_norm_of_a_block": (24, 8),
}


@dumping
@pytest.mark.parametrize("name", WIDE)
def test_neighbours_are_loaded_and_stored_together(name: str, tmp_path: Path) -> None:
    found = instructions(cubin(source(name), machine((9, 0)), _MEMORY), tmp_path)
    loads, stores = WIDE[name]
    assert found["LDG.E.128.CONSTANT"] >= loads
    assert found["STG.E.128"] >= stores


@dumping
def test_rows_of_a_warp_are_read_once(tmp_path: Path) -> None:
    found = instructions(cubin(source("softmax_of_a_warp"), machine((9, 0)), _MEMORY), tmp_path)
    assert (found["LDG.E.128.CONSTANT"], found["STG.E.128"]) == (8, 8)  # 32 elements a thread
    assert found["SHFL.BFLY"] == 10


@pytest.mark.parametrize("cc", CAPABILITIES)
def test_kernels_compile_for_every_capability(cc: tuple[int, int]) -> None:
    for name in ("elementwise_chain", "softmax_of_a_block", "transposed", "draws"):
        assert cubin(source(name), machine(cc), _MEMORY).startswith(b"\x7fELF")


def test_a_machine_tells_its_capability() -> None:
    assert [capability(machine(cc)) for cc in (*CAPABILITIES, (12, 1))] == [*CAPABILITIES, (12, 1)]


OF_WORDS = ("high_product", "mixed")  # of unsigned integers: the kernels of draws have them
PERIODIC = ("sin", "cos", "tan")  # libdevice reduces arguments from 2**16 on in float64


SHIFTS = ("left_shift", "right_shift")  # of integers


def compiled(names: Iterable[str], dtype: str) -> str:
    """PTX of one kernel that calls all of these functions."""
    lines = [
        f"    out[uint32({n})] = {dtype}({name}({', '.join(['v'] * ARITY[name])}))"
        for n, name in enumerate(names)
    ]
    lines += [f"    out[uint32(99)] = {dtype}(int32(v)) + {dtype}(int64(v))"]
    text = "\n".join(["def all(x0, out, rows):", "    v = x0[uint32(0)]", *lines]) + "\n"
    pointers = (("x0", dtype), ("out", dtype))
    (found,) = frontend.ptx(DeviceSource("all", text, pointers, (Stage("all", 32),)), machine((9, 0)))
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_of_floats_compiles(dtype: str) -> None:
    left_out = OF_WORDS + SHIFTS + (PERIODIC if dtype == "float32" else ())
    found = compiled([name for name in ARITY if name not in left_out], dtype)
    assert ".f64" not in found or dtype == "float64"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_every_function_of_integers_compiles(dtype: str) -> None:
    names = ("floor_divide", "remainder", "fmod", "minimum", "maximum", "abs_", "sign", *SHIFTS)
    assert "shl." in compiled([name for name in names if name in ARITY], dtype)


def test_sums_of_integers_may_overflow() -> None:
    """Else ``x + 1 > x`` would hold without a look at x."""
    line = "    out[uint32(0)] = uint8(int64(x0[uint32(0)] + int64(1)) > x0[uint32(0)])"
    made = DeviceSource(
        "wraps",
        f"def wraps(x0, out, rows):\n{line}\n",
        (("x0", "int64"), ("out", "bool")),
        (Stage("wraps", 32),),
    )
    (text,) = frontend.ptx(made, machine((9, 0)))
    assert "ld.global" in text


def test_entries_have_the_names_of_the_stages() -> None:
    (text,) = frontend.ptx(source("flags"), machine((9, 0)))
    (stage,) = source("flags").stages
    assert f".visible .entry {stage.entry}(" in text


def test_a_kernel_named_as_a_function_calls_that_function() -> None:
    (text,) = frontend.ptx(source("exponential"), machine((9, 0)))
    assert ".entry kernel_exp(" in text


def test_cubins_are_taken_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    code = cubin(source("flags"), machine((9, 0)), memory)
    monkeypatch.setattr(frontend, "linked", None)  # nothing is compiled any more
    assert cubin(source("flags"), machine((9, 0)), memory) is code
    with pytest.raises(TypeError):
        cubin(source("flags"), machine((8, 0)), memory)
