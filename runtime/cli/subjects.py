"""From ``FILE:OBJECT`` to nets that can be called: the file is run, the net made, its inputs found.

NOTE [which nets of a file]
An ``.onnx`` file is one net. ``FILE:OBJECT`` names a block, a hybridized function, a block class, or a function without
arguments that returns a block. ``FILE`` alone stands for the names in the file's ``INPUTS`` where that is a dict; else for
the blocks and hybridized functions that the file made; else for its block classes and functions ``make...``.

NOTE [inputs of a net]
``--input``; else what an ``.onnx`` file declares (NOTE [inputs of an ONNX file]); else the file's ``INPUTS`` (text as for
``--input``, a list of such for several arguments, or a dict of these by object); else one row for the first layer, where
that is a ``Dense`` whose ``in_units`` are known.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockfuse.array.functions import random
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import HybridFunction
from blockfuse.runtime.cli import onnx_files
from blockfuse.runtime.cli.inputs import Input, parsed
from blockfuse.tracer.certificate.ownership import is_trusted

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"  # beside runtime/, installed or not


@dataclass(frozen=True)
class Subject:
    """A net that can be made, and what to call it with."""

    file: Path  # Path() where it comes from none
    name: str
    inputs: tuple[Input, ...]
    make: Callable[[], Any]

    def __str__(self) -> str:
        return ":".join(filter(None, (self.file.name, self.name)))

    def inputs_for(self, batch: int | None) -> tuple[Input, ...]:
        """The inputs for another size of the batch."""
        if batch is not None and not any(given.growing for given in self.inputs):
            raise UsageError(f"{self} has inputs of fixed sizes only: leave --batch away")
        return tuple(given.with_batch(batch) for given in self.inputs)


def example_files() -> list[str]:
    """The files of ``examples/`` that say what their nets take."""
    return [str(f) for f in sorted(EXAMPLES.glob("*.py")) if "\nINPUTS = " in f.read_text(encoding="utf-8")]


def subjects(
    target: str,
    inputs: tuple[Input, ...],
    sizes: Mapping[str, int] | None = None,
    values: Mapping[str, float] | None = None,
) -> list[Subject]:
    """The nets that ``target``, a ``FILE[:OBJECT]``, stands for.

    sizes, values: of inputs, where ``target`` is an ``.onnx`` file; of others they are refused.
    """
    file, name = _split(target)
    if onnx_files.is_onnx(file):
        if name:
            raise UsageError(f"{file} is one net: leave {name!r} away")
        net = onnx_files.compiled(file)
        made_up = onnx_files.made_up(net, inputs, sizes or {}, values or {})
        return [Subject(file, "", made_up, lambda: net)]
    if sizes or values:
        raise UsageError(f"--size and --value are for inputs of .onnx files, and {file} is none")
    module = _run(file)
    candidates = {name: _object(module, file, name)} if name else _candidates(module, file)
    found = [
        _subject(file, key, value, inputs or _declared(module, key)) for key, value in candidates.items()
    ]
    known = [subject for subject in found if subject.inputs]
    if not known:
        names = ", ".join(map(str, found))
        raise UsageError(
            f'{names}: inputs are not known; pass --input 2x20, or write INPUTS = "2x20" into the file'
        )
    return known


def _split(target: str) -> tuple[Path, str]:
    path, colon, name = target.rpartition(":")
    file, name = (Path(path), name) if colon and not Path(target).exists() else (Path(target), "")
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    return file, name


# -- running the file ----------------------------------------------------------------------------------------


def _run(file: Path) -> types.ModuleType:
    """The file as a module of its own; files beside it can be imported."""
    spec = importlib.util.spec_from_file_location(f"file_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)  # last: a file beside it must not hide the standard library
    random.seed(0)
    with naming_errors(str(file)):
        spec.loader.exec_module(module)
    return module


@contextmanager
def naming_errors(what: str) -> Iterator[None]:
    """Turn an exception of user code into one line that says what raised it and where."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        raise UsageError(f"{what} raised {type(error).__name__}: {message}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Where user code stood."""
    if isinstance(error, SyntaxError):
        return ""
    location, step = "", error.__traceback__
    while step is not None:
        if not is_trusted(step.tb_frame):
            location = f" ({Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno})"
        step = step.tb_next
    return location


# -- the objects in it ---------------------------------------------------------------------------------------


def _object(module: types.ModuleType, file: Path, name: str) -> Any:
    if name not in vars(module):
        names = ", ".join(_all_candidates(module)) or "no net at all"
        raise UsageError(f"{file} has no {name}; it has {names}")
    return vars(module)[name]


def _candidates(module: types.ModuleType, file: Path) -> dict[str, Any]:
    declared = getattr(module, "INPUTS", None)
    if isinstance(declared, dict):
        return {name: _object(module, file, name) for name in declared}
    found = _all_candidates(module)
    if not found:
        raise UsageError(f"{file} has no block and no function make...() that returns one")
    made = {name: value for name, value in found.items() if is_net(value)}
    return made or found


def _all_candidates(module: types.ModuleType) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and (is_net(value) or _makes_net(module, name, value))
    }


def is_net(value: Any) -> bool:
    """Whether it is a block or a hybridized function."""
    return isinstance(value, HybridFunction) or (_has_blocks_methods(value) and not isinstance(value, type))


def _has_blocks_methods(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("hybridize", "collect_params", "forward"))


def _makes_net(module: types.ModuleType, name: str, value: Any) -> bool:
    if getattr(value, "__module__", None) != module.__name__:
        return False
    if isinstance(value, type):
        return _has_blocks_methods(value)
    return (
        isinstance(value, types.FunctionType) and name.startswith("make") and not value.__code__.co_argcount
    )


# -- a net and its inputs ------------------------------------------------------------------------------------


def _subject(file: Path, name: str, value: Any, inputs: tuple[Input, ...]) -> Subject:
    label = f"{file.name}:{name}"
    if not is_net(value) and not callable(value):
        raise UsageError(
            f"{label} is of type {type(value).__name__}, not a block or a function that returns one"
        )

    def make() -> Any:
        return _ready(label, value)

    return Subject(file, name, inputs or _first_layer(make), make)


def _ready(label: str, value: Any) -> Any:
    """The net with values in its parameters."""
    random.seed(0)
    with naming_errors(label):
        net = value if is_net(value) else value()
        if not is_net(net):
            raise UsageError(f"{label} returned {type(net).__name__}, not a block")
        if not isinstance(net, HybridFunction) and _lacks_values(net):
            net.initialize()
    return net


def _lacks_values(net: Any) -> bool:
    parameters = net.collect_params().values()
    return any(p._data is None and p._waiting is None for p in parameters)


def _declared(module: types.ModuleType, name: str) -> tuple[Input, ...]:
    declared = getattr(module, "INPUTS", ())
    if isinstance(declared, dict):
        declared = declared.get(name, ())
    if not isinstance(declared, str | list | tuple):
        raise UsageError(
            f"'INPUTS' is {declared!r}; it is text as 2x20, a list of such, or a dict of these by name"
        )
    return tuple(map(parsed, [declared] if isinstance(declared, str) else declared))


def _first_layer(make: Callable[[], Any]) -> tuple[Input, ...]:
    net = make()
    blocks = () if isinstance(net, HybridFunction) else net._blocks()
    first: Any = next((block for block in blocks if block._reg_params), None)
    units = first.weight.shape[1] if type(first).__name__ == "Dense" else 0
    return (Input((1, units)),) if units > 0 else ()
