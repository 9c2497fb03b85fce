"""Imports go down: each folder imports only what the table in CONTRIBUTING.md lets it import, and none in circles."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Import = ast.Import | ast.ImportFrom

# folder -> the folders that it may import besides itself
ALLOWED = {
    "ir": set(),
    "array": {"ir"},
    "tracer": {"ir", "array"},
    "codegen": {"ir"},
    "runtime": {"ir", "array", "tracer", "codegen"},
    "nn": {"ir", "array", "runtime"},
    "frozen": {"ir", "array", "tracer", "codegen", "runtime", "nn"},
    "frontends": {"ir", "array", "runtime", "nn"},
}
# package that builds or runs native code -> the folders and files that may import it; the longest name counts
NATIVE = {
    "numba": ("codegen/cpu",),
    "numba.cuda": ("codegen/cuda/native/frontend.py", "codegen/cuda/device/kernel_simulator.py"),
    "llvmlite": (
        "codegen/cpu",
        "codegen/values/emitter.py",
        "codegen/values/llvm.py",
        "codegen/cuda/native/values.py",
        "codegen/cuda/native/intrinsics.py",
    ),
    "cuda": (
        "codegen/cuda/native/frontend.py",
        "codegen/cuda/device/driver.py",
        "codegen/cuda/products/cublas.py",
    ),
}
SLOW_TO_IMPORT = (
    "numba",
    "llvmlite",
    "click",
    "rich",
    "matplotlib",
    "cuda",
    "numba_cuda",
    "onnx",
    "sklearn",
    "torch",
)

FILES = [path.relative_to(ROOT) for folder in ALLOWED for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("folder", ALLOWED)
def test_files_import_only_what_the_table_allows(folder: str) -> None:
    files = [file for file in FILES if file.parts[0] == folder]
    assert files
    assert [fault for file in files for fault in faults(file, imports_of(file))] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ir/graph.py", "import blockfuse.array.ndarray"),
        ("ir/graph.py", "from blockfuse.nn import Block"),
        ("codegen/scheduling/schedule.py", "from blockfuse import runtime"),
        ("nn/block.py", "def call():\n    from blockfuse.tracer.trace import trace"),
        ("array/ndarray.py", "if TYPE_CHECKING:\n    import blockfuse.runtime.calls.dispatch as dispatch"),
        ("runtime/calls/dispatch.py", "import blockfuse"),
        ("runtime/calls/dispatch.py", "from blockfuse import np"),
        ("ir/passes/fold.py", "from . import dedupe"),
        ("ir/passes/fold.py", "from ..graph import Graph"),
        ("ir/graph.py", "import ir.types"),
        ("codegen/scheduling/schedule.py", "import numba"),
        ("runtime/launch.py", "def load():\n    from llvmlite import ir"),
        ("codegen/cuda/program/executable.py", "from cuda.core import Device"),
        ("codegen/cuda/device/driver.py", "from numba import cuda"),
        ("codegen/cpu/native/frontend.py", "import numba.cuda"),
    ],
)
def test_forbidden_import_is_found(file: str, source: str) -> None:
    assert len(faults(Path(file), imports(source))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ir/graph.py", "from blockfuse.ir.types import Type"),
        ("nn/block.py", "from blockfuse import array, runtime"),
        ("codegen/cpu/native/engine.py", "import numba.core\nfrom llvmlite import binding, ir"),
        ("runtime/launch.py", "def load():\n    from blockfuse.codegen.cpu.native.engine import build"),
        ("codegen/cuda/device/driver.py", "from cuda.bindings import driver"),
        (
            "codegen/cuda/native/frontend.py",
            "from numba import cuda\nfrom numba.cuda.extending import intrinsic",
        ),
    ],
)
def test_permitted_import_passes(file: str, source: str) -> None:
    assert faults(Path(file), imports(source)) == []


def test_no_folders_import_each_other() -> None:
    # Imports between a folder and one in it do not count: what drives a part and what all of it needs stand in one folder.
    found = cycles(folder_imports())
    assert not found, "these folders import each other: move what one of them needs below both"


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a/x": {"a/y"}, "a/y": {"b"}}, set()),
        ({"a/x": {"a/y"}, "a/y": {"a/x"}}, {frozenset({"a/x", "a/y"})}),
        ({"a/x": {"b"}, "b": {"c"}, "c": {"a/x"}}, {frozenset({"a/x", "b", "c"})}),
        ({"a": {"a/x"}, "a/x": {"a"}}, set()),
        ({"a/x": {"a"}, "a": {"a/y"}, "a/y": {"a"}}, set()),
        ({"a/x": {"a"}, "a": {"a/y"}, "a/y": {"a/x"}}, set()),
    ],
)
def test_cycles_are_found(edges: dict[str, set[str]], found: set[frozenset[str]]) -> None:
    assert cycles(edges) == found


def test_import_blockfuse_loads_no_slow_package(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
import blockfuse
print(*[name for name in {SLOW_TO_IMPORT!r} if name in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


@cache
def imports_of(file: Path) -> list[Import]:
    return imports((ROOT / file).read_text(encoding="utf-8"))


def imports(source: str) -> list[Import]:
    """Those in functions included."""
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, Import)]


def faults(file: Path, statements: list[Import]) -> list[str]:
    """One line for each name that a file imports and that the tables above forbid."""
    return [
        f"{file}:{line}: {reason}"
        for line, module in imported_modules(statements)
        if (reason := objection(file, module)) is not None
    ]


def imported_modules(statements: list[Import]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import; a relative name starts with a dot."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif node.module in ("blockfuse", "numba"):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            yield node.lineno, "." * node.level + (node.module or "")


def objection(file: Path, module: str) -> str | None:
    folder = file.parts[0]
    top, *below = module.split(".")
    if not top:
        return f"relative import {module}: write the name from blockfuse on"
    if top in ALLOWED:
        return f"import {module}: the folder is imported as blockfuse.{top}"
    package = next((p for p in sorted(NATIVE, reverse=True) if f"{module}.".startswith(f"{p}.")), None)
    if package is not None and not any(map(file.is_relative_to, NATIVE[package])):
        return f"import {module}: only {' and '.join(NATIVE[package])} may import {package}"
    if top == "blockfuse" and not (below and below[0] in ALLOWED[folder] | {folder}):
        allowed = ", ".join(sorted(ALLOWED[folder])) or "nothing else of ours"
        return f"import {module}: {folder}/ may import {allowed}"
    return None


def folder_imports() -> dict[str, set[str]]:
    """folder -> the folders of ours that its own files import from."""
    edges: dict[str, set[str]] = {}
    for file in FILES:
        modules = {module for _, module in named_modules(imports_of(file))}
        found = {imported.as_posix() for module in modules if (imported := home(module))}
        edges.setdefault(file.parent.as_posix(), set()).update(found - {file.parent.as_posix()})
    return edges


def named_modules(statements: list[Import]) -> Iterator[tuple[int, str]]:
    """As `imported_modules`, with each name that a package gives written out: it may be a file in it."""
    for node in statements:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("blockfuse."):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def home(module: str) -> Path | None:
    """The folder whose file gives a dotted name of ours: what is no file is a name in one, or in `__init__.py`."""
    path = Path(*module.split(".")[1:])
    for part in (path, *path.parents):
        if (ROOT / part).with_suffix(".py").is_file():
            return part.parent
        if (ROOT / part).is_dir():
            return part
    return None


def cycles(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of folders each of which reaches all others by imports that are not between a folder and one in it."""
    across = {a: {b for b in targets if not is_within(a, b)} for a, targets in edges.items()}
    reached = {folder: reach(folder, across) for folder in across}
    together = ({b for b in reached[a] if a in reached.get(b, ())} for a in across if a in reached[a])
    return set(map(frozenset, together))


def is_within(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)


def reach(folder: str, edges: dict[str, set[str]]) -> set[str]:
    """All folders to which imports lead from `folder`; itself, if they come back."""
    found: set[str] = set()
    waiting = [folder]
    while waiting:
        new = edges.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
