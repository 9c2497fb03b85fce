"""Objects that are linked into one library and mapped by the system give what they give where LLVM loads them."""

import ctypes
from pathlib import Path
from typing import Any

import numpy
import pytest
from graphs import Memory, graph
from test_goldens import KERNELS

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.linking.identity import IDENTITY, IDENTITY_BYTES
from blockfuse.codegen.cpu.linking.relocatable import LinkError, relocatable
from blockfuse.codegen.cpu.linking.shared_object import Image, link
from blockfuse.codegen.cpu.native import engine, isa
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.frozen import mapping
from blockfuse.frozen.freezing import program_data
from blockfuse.frozen.program import LoadedProgram

FUNCTIONS = ("take", "zeros", "again", "give")
GENERATOR = numpy.random.default_rng(5)


def executable(function: Any, types: dict[str, str]) -> tuple[Any, Executable, list[numpy.ndarray]]:
    """Of a graph: itself, its program, and what that is bound to."""
    machine = isa.machine("", 1)
    recorded = graph(function, **types)
    compiled = compile_flow(recorded, machine)
    found = Executable(compiled.schedule, machine, Memory(), ndarray, UNUSUAL)
    bound = compiled.parameters({})
    found.bind(bound)
    return recorded, found, bound


def values(recorded: Any) -> list[numpy.ndarray]:
    made = []
    for node in recorded.inputs:
        kind = node.dtype.kind
        drawn = GENERATOR.integers(0, 2, node.shape) if kind in "iub" else GENERATOR.normal(size=node.shape)
        made.append(numpy.asarray(drawn).astype(node.dtype))
    return made


def identity_of(image: Image) -> str:
    return image.content[image.identity :][:IDENTITY_BYTES].hex()


def base_of(image: Image, path: Path) -> int:
    path.write_bytes(image.content)
    description = {"imports": image.imports, "identity": identity_of(image), "identity_at": image.identity}
    return mapping.mapped(str(path), description)


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_every_kind_give_the_same_bits(name: str, tmp_path: Path) -> None:
    function, types = KERNELS[name]
    recorded, found, bound = executable(function, types)
    if found.entry is None or found.plan.draws:
        pytest.skip("a step of it is NumPy's")
    payload, places = bytearray(64), []
    for array in bound:
        payload += bytes(-len(payload) % 64)
        places.append((len(payload), array.nbytes))
        payload += array.tobytes()
    codes = found.codes()
    image = link(codes, bytes(payload))
    base = base_of(image, tmp_path / "image.so")
    process = {"allocator": {f: image.functions["allocator", f] for f in FUNCTIONS if "allocator" in codes}}
    data = program_data(found, image, {name: name for name in codes}, places)
    loaded = LoadedProgram(data, process, base, 1, 1 << 20)
    given = values(recorded)
    assert not found.plan.schedule.batch
    result = loaded.entry(*given)
    assert result is not NotImplemented
    for one, other in zip(
        result if isinstance(result, tuple) else (result,), found.run(given) or [], strict=True
    ):
        numpy.testing.assert_array_equal(one, other)


CODE = """
define i64 @twice(i64 %x) {
  %y = mul i64 %x, 2
  ret i64 %y
}
@table = internal constant [2 x ptr] [ptr @twice, ptr @thrice]
@counter = global i64 40
define i64 @thrice(i64 %x) {
  %y = mul i64 %x, 3
  ret i64 %y
}
declare double @cosh(double)
define i64 @chosen(i64 %which, i64 %x) {
  %place = getelementptr [2 x ptr], ptr @table, i64 0, i64 %which
  %function = load ptr, ptr %place
  %before = load i64, ptr @counter
  %after = add i64 %before, 1
  store i64 %after, ptr @counter
  %y = call i64 %function(i64 %x)
  %z = add i64 %y, %after
  ret i64 %z
}
define double @curve(double %x) {
  %y = call double @cosh(double %x)
  ret double %y
}
"""


def test_tables_of_functions_variables_and_calls_of_libraries(tmp_path: Path) -> None:
    """What kernels of today do not have, and those of tomorrow may."""
    image = link({"one": engine.object_code(CODE, isa.machine())}, b"payload")
    base = base_of(image, tmp_path / "image.so")
    assert set(image.imports) == {"cosh"}
    chosen = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(
        base + image.functions["one", "chosen"]
    )
    assert [chosen(0, 10), chosen(1, 10)] == [20 + 41, 30 + 42]
    curve = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(base + image.functions["one", "curve"])
    assert curve(1.0) == float(numpy.cosh(1.0))
    assert ctypes.string_at(base + image.payload, 7) == b"payload"


def test_equal_names_in_two_objects_are_two_functions(tmp_path: Path) -> None:
    machine = isa.machine()
    texts = [f"define i64 @kernel() {{\n  ret i64 {n}\n}}\n" for n in (7, 8)]
    image = link({f"object{n}": engine.object_code(t, machine) for n, t in enumerate(texts)}, bytes(64))
    base = base_of(image, tmp_path / "image.so")
    found = [
        ctypes.CFUNCTYPE(ctypes.c_int64)(base + image.functions[f"object{n}", "kernel"])() for n in range(2)
    ]
    assert found == [7, 8]


def test_memory_that_runs_cannot_be_written_and_the_other_way_round(tmp_path: Path) -> None:
    image = link({"one": engine.object_code(CODE, isa.machine())}, bytes(64))
    base_of(image, tmp_path / "image.so")
    lines = [
        line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line
    ]
    assert {line[1] for line in lines} == {"r--p", "r-xp", "rw-p"}


def test_linking_twice_gives_the_same_bytes() -> None:
    objects = {"one": engine.object_code(CODE, isa.machine())}
    assert link(objects, b"p" * 64).content == link(objects, b"p" * 64).content
    assert link(objects, b"q" * 64).content != link(objects, b"p" * 64).content


def test_a_library_is_refused_that_lacks_a_function(tmp_path: Path) -> None:
    text = "declare void @no_such_function()\ndefine void @kernel() {\n  call void @no_such_function()\n  ret void\n}\n"
    image = link({"one": engine.object_code(text, isa.machine())}, bytes(64))
    with pytest.raises(ValueError, match="functions that the libraries here lack: no_such_function"):
        base_of(image, tmp_path / "image.so")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"x" * 200, b"\x7fELF\x02\x01\x01".ljust(400, b"\1")])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(LinkError):
        relocatable(content)


def test_an_object_that_is_cut_is_refused() -> None:
    code = engine.object_code(CODE, isa.machine())
    with pytest.raises(LinkError):
        relocatable(code[: len(code) // 2])


def test_the_hash_tells_images_apart_in_which_the_same_code_lies_elsewhere() -> None:
    machine = isa.machine()
    texts = {n: f"define i64 @kernel() {{\n  ret i64 {n}\n}}\n" for n in (7, 8)}
    objects = {f"object{n}": engine.object_code(text, machine) for n, text in texts.items()}
    one, other = link(objects, bytes(64)), link(dict(reversed(objects.items())), bytes(64))
    assert IDENTITY.encode() in one.content
    assert one.functions != other.functions
    assert identity_of(one) != identity_of(other)
