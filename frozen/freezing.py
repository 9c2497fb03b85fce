"""``freeze``: the compiled programs of a net, their parameters and what calls they are for, in one file.

NOTE [what is frozen]
A hybridized net asks at each call whether all that its program rests on still holds, and Python takes over where that is
not so. A frozen net has no Python to ask: it is the program for the state of the moment, in predict mode. So only what is
native throughout can be frozen; what writes, draws, or reads what changes from call to call is refused with its reason.
What a hybridized net proves at a call (a way, a size of the batch; NOTE [variants]) is proven before: ways by the calls
that were made, sizes up to ``max_batch`` by calls that ``freeze`` makes, one for each code that such sizes run.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy

from blockfuse.array import autograd
from blockfuse.array.pytree import Number, Structure, rebuild, values_of
from blockfuse.codegen.cpu.linking.libraries import imported
from blockfuse.codegen.cpu.linking.relocatable import LinkError
from blockfuse.codegen.cpu.linking.shared_object import Image, link
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.codegen.cpu.program.frame import frame_layout
from blockfuse.codegen.scheduling.buffers import ALIGNMENT, Buffer, BufferKind
from blockfuse.codegen.scheduling.steps import HostCall, lives_of
from blockfuse.codegen.variants import SIZE_SLOTS, Size, sizes_of
from blockfuse.frozen import file_format, machine
from blockfuse.frozen.portable import Placed, portable_part
from blockfuse.ir.errors import UsageError
from blockfuse.nn.graph_files import data_of_structure
from blockfuse.nn.whole_file import written_whole
from blockfuse.runtime.calls.call import Signature
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.reasons import cure_lines
from blockfuse.tracer.flow.origins import Place

Data = Any  # of JSON

_SHARED = ("pool", "allocator")  # code that a process has once
_FUNCTIONS = {"pool": ("fork", "fork_awake", "work"), "allocator": ("take", "zeros", "again", "give")}


def freeze(net: Any, path: str | os.PathLike[str], *, max_batch: int = 256, portable: bool = False) -> str:
    """Write what a hybridized net, or function, computes in predict mode to ``path``, for ``blockfuse.frozen.load``.

    The file has the programs of the calls that were made so far, as native code, and the parameters of now: it is for
    processors that have the instructions of this one (fewer where ``BLOCKFUSE_ISA`` said so before the calls), and for this
    version of Python. max_batch: the largest batch, where a program is for every size; the net is called a few times with
    made-up arrays to prove these. portable: the file also holds what ``net.export`` writes, so that
    ``frozen.load(path, allow_compile=True)`` compiles it on machines of other kinds. Gives the path.

    Raises UsageError, having written nothing, for what is not native throughout: calls that run in Python or steps by NumPy,
    draws, writes to parameters, states or attributes, numbers that change from call to call. With portable=True also for
    what ``net.export`` cannot write.

    >>> import tempfile
    >>> import blockfuse
    >>> import numpy
    >>> net = blockfuse.nn.Dense(3, in_units=4)
    >>> net.initialize()
    >>> net.hybridize()
    >>> net.warm_up((2, 4))
    ()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frozen = blockfuse.frozen.load(blockfuse.freeze(net, f"{folder}/net.frozen"))
    >>> frozen(numpy.ones((2, 4), "float32")).shape
    (2, 3)
    """
    hybrid = getattr(net, "_hybrid", None)
    if not isinstance(hybrid, Hybrid):
        raise UsageError(f"{_name(net)} is not hybridized: call hybridize(), then the net, then freeze()")
    if type(max_batch) is not int or max_batch < 1:
        raise UsageError(f"max_batch is {max_batch!r}; it must be a whole number from 1 on")
    if type(portable) is not bool:
        raise UsageError(f"portable is {portable!r}; it must be True or False")
    with autograd.pause():
        signatures = [signature for signature in list(hybrid.cases) if not signature[2]]
        if not signatures:
            raise UsageError(
                f"{_name(net)} was not called in predict mode since hybridize(): call it, then freeze()"
            )
        # A program for every size takes over the calls of single sizes, perhaps while sizes are proven.
        programs = [_Frozen(net, hybrid, s, max_batch) for s in signatures if s in hybrid.cases]
        content = file_format.sealed(*_File(programs, net if portable else None).content())
    target = os.fspath(path)
    with written_whole(target) as file:
        file.write(content)
    return target


def _name(net: Any) -> str:
    return getattr(net, "__name__", None) or type(net).__name__


class _Frozen:
    """The program of a signature, proven for all that it may be asked; raises UsageError where it cannot be frozen."""

    def __init__(self, net: Any, hybrid: Hybrid, signature: Signature, max_batch: int) -> None:
        self.form, self.types, _ = signature
        self._net, self._hybrid, self._signature = net, hybrid, signature
        try:
            self.program = self._program_of(self._case())
            self.sizes = self._proven_sizes(max_batch)
        except UsageError as error:
            raise UsageError(f"{self._shown()} cannot be frozen: {error}") from error

    @property
    def reason(self) -> str:
        """Why some of its calls run in Python, or no text."""
        return self._case().reason

    def names(self) -> Data | None:
        """As ``structure.Names``, where the code of the call says them."""
        return _names(self._hybrid.owner.definition)

    @property
    def executable(self) -> Any:
        """Of the processor's backend, as ``_problem`` sees to."""
        return self.program.executable

    def version(self) -> object:
        """Of the present parameters, to which the program is bound; raises UsageError where it cannot be."""
        if self.program.refresh() is not None:
            raise _changed(self._shown())
        return self.program.version

    def require_unchanged(self, version: object) -> None:
        """Raises UsageError where another thread has changed since what the program rests on."""
        if not self.program.is_current(version):
            raise _changed(self._shown())

    def _case(self) -> Case:
        case = self._hybrid.cases.get(self._signature)
        if case is None:
            raise UsageError("what it rests on has changed meanwhile: call it again, then freeze()")
        return case

    def _program_of(self, case: Case) -> Program:
        program = case.program
        if program is None:
            reason = case.reason or "no recording of it became a program: call warm_up() with such arguments"
            raise UsageError("\n  ".join([f"it runs in Python because {reason}", *cure_lines(reason)]))
        if program.refresh() is not None:
            raise UsageError("what it rests on has changed since it was called: call it again, then freeze()")
        problem = _problem(program) or self._problem_of_arguments()
        if problem:
            raise UsageError(problem)
        assert program.recording.structure is not None
        data_of_structure(program.recording.structure)
        return program

    def _problem_of_arguments(self) -> str:
        if not self.types:
            return "it takes no arrays"
        if any(first != n for n, (_, _, first) in enumerate(self.types)):
            return "it was given one array twice"
        if _holds_numbers(self.form):
            return "it was given numbers that change from call to call: give them as arrays"
        data_of_structure(self.form)
        return ""

    def _proven_sizes(self, max_batch: int) -> tuple[int, int] | None:
        """The smallest and the largest size of the batch; None where the program is for one."""
        schedule = self.program.schedule
        if not schedule.batch:
            return None
        if schedule.min_items > max_batch:
            raise UsageError(f"it is for batches from {schedule.min_items} on, and max_batch is {max_batch}")
        self._require_memory(max_batch)
        for variant in self._variants(max_batch):
            if not self.executable.is_proven(variant):
                args, kwargs = _made_up(self.form, self.types, variant.items)
                self._net(*args, **kwargs)
        self.program = self._program_of(self._case())
        if not all(map(self.executable.is_proven, self._variants(max_batch))):
            raise UsageError(
                "not all sizes of its batch could be proven, see the warnings: choose another max_batch"
            )
        return schedule.min_items, max_batch

    def _require_memory(self, items: int) -> None:
        """Raises UsageError for a batch that cannot be tried here: Linux would rather end the process than say so."""
        each = sum(
            b.type.nbytes / self.program.schedule.batch
            for b in self.program.schedule.buffers
            if b.rows_per_item
        )
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if items * each > there / 4:  # the call is repeated in Python
            raise UsageError(
                f"a batch of {items} takes {items * each / 2**30:.3g} GiB, and this machine has {there / 2**30:.3g}: "
                "choose a smaller max_batch, of which freeze() tries batches"
            )

    def _variants(self, max_batch: int) -> list[Size]:
        """All that sizes up to ``max_batch`` run; see NOTE [variants]."""
        schedule = self.program.schedule
        return sizes_of(schedule, self.program.backend.machine, schedule.min_items, max_batch)

    def _shown(self) -> str:
        arrays = (
            f"{numpy.dtype(char)}[{', '.join('any' if n is None else str(n) for n in s)}]"
            for s, char, _ in self.types
        )
        return f"a call with ({', '.join(arrays)})"


def _names(function: Callable[..., Any]) -> Data | None:
    """What arguments of a function are known by; None where nobody knows, or they are not all the caller's."""
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return None
    if getattr(function, "__name__", "") == "hybrid_forward":
        return None
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD
    by_position = [p for p in parameters if p.kind in (named, inspect.Parameter.POSITIONAL_ONLY)]
    return {
        "positional": [p.name if p.kind is named else None for p in by_position],
        "keywords": [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY],
    }


def _changed(call: str) -> UsageError:
    return UsageError(
        f"what {call} rests on changed while it was frozen, in another thread: freeze between steps of training"
    )


def _problem(program: Program) -> str:
    """Why a program is not native throughout or rests on more than its arguments, or no text."""
    if program.backend.device is not None:
        return 'it runs on a device: hybridize(backend="cpu")'
    if program.updates:
        return f"it writes to {program.updates.origins[0].name}"
    if program.assigned or program.assigned.read:
        return "it assigns or reads attributes that change from call to call: return them, and take them as arguments"
    if program.recording.draws:
        return "it draws random numbers: take them as an argument"
    if program.operands:
        return "it computes with numbers that change from call to call: give them as arrays"
    if any(origin.place is not Place.VALUE for origin in program.origins):
        return "it reads gradients"
    if program.entry is None:
        steps = {s.operator.name: s.source for s in program.schedule.steps if isinstance(s, HostCall)}
        named = ", ".join(f"{name} ({source})" if source else name for name, source in steps.items())
        return f"NumPy computes steps of it, for which there is no native code: {named}"
    return ""


def _read(program: Program) -> Iterator[numpy.ndarray]:
    """What a program is bound to, but empty arrays where no step reads it: weights of which only packed forms are read."""
    schedule = program.schedule
    touched: set[int | None] = set(lives_of(schedule.steps))
    for block in schedule.blocks:
        touched |= {*block.pushes, *(n for pair in block.stores for n in pair), block.predicate}
    executable: Any = program.executable  # the processor's
    buffers = executable.plan.buffers(BufferKind.PARAMETER)
    for (number, _), array in zip(buffers, program.bound, strict=True):
        yield array if number in touched else array.ravel()[:0]


def _holds_numbers(form: Structure) -> bool:
    return isinstance(form, Number) or any(map(_holds_numbers, getattr(form, "parts", ())))


def _made_up(form: Structure, types: Any, items: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call: normal numbers, and zeros in the place of integers, which may be indices."""
    generator = numpy.random.default_rng(items)
    arrays = []
    for shape, char, _ in types:
        sizes, dtype = tuple(items if n is None else n for n in shape), numpy.dtype(char)
        normal = dtype.kind == "f"
        arrays.append((generator.normal(size=sizes) if normal else numpy.zeros(sizes)).astype(dtype))
    args, kwargs = rebuild(form, arrays.__getitem__, values_of(form))
    return args, kwargs


class _File:
    """What a file holds of programs."""

    def __init__(self, programs: list[_Frozen], recorded: Any) -> None:
        """recorded: the net, if the calls that were recorded of it are to be in the file, too."""
        self._programs, self._recorded = programs, recorded
        self._objects: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}  # object code -> its name
        self._payload = bytearray()
        self._places: dict[
            bytes, tuple[int, int]
        ] = {}  # hash of a parameter's bytes -> where it lies in the payload
        self._placed_arrays: list[Placed] = []

    def content(self) -> tuple[bytes, Data, bytes]:
        """The image, the description, and the portable part."""
        codes = [
            {what: self._named(what, f, code) for what, code in f.executable.codes().items()}
            for f in self._programs
        ]
        parameters, portable = self._of_one_moment()
        try:
            image = link(self._objects, bytes(self._payload) or bytes(ALIGNMENT))
        except LinkError as error:
            raise UsageError(f"the native code cannot be frozen: {error}") from error
        lacking = [name for name in image.imports if not imported(name)]
        if lacking:
            raise UsageError(
                f"the native code calls functions that no library of the system has: {', '.join(lacking)}"
            )
        return image.content, self._description(image, codes, parameters), portable

    def _of_one_moment(self) -> tuple[list[list[tuple[int, int]]], bytes]:
        """Where the parameters of each program lie in the payload, and the portable part, if it is asked for."""
        versions = [f.version() for f in self._programs]
        places = [[self._placed(array) for array in _read(f.program)] for f in self._programs]
        portable = b"" if self._recorded is None else self._portable()
        for frozen, version in zip(self._programs, versions, strict=True):
            frozen.require_unchanged(version)
        return places, portable

    def _portable(self) -> bytes:
        origins = (origin for f in self._programs for origin in f.program.origins)
        return portable_part(self._recorded, origins, self._placed_arrays)

    def _named(self, what: str, frozen: _Frozen, code: bytes) -> str:
        """The name of object code in the image; equal code is there once."""
        if code not in self._names:
            kernels = {f"kernel{n}": k.name for k, n in frozen.executable.plan.kernel_of.items()}
            name = what if what in _SHARED else f"{kernels.get(what, what)}_{len(self._objects)}"
            self._names[code] = name
            self._objects[name] = code
        return self._names[code]

    def _placed(self, array: numpy.ndarray) -> tuple[int, int]:
        """Where the bytes of a parameter lie, and how many; those of equal ones are there once."""
        content = array.tobytes()
        key = hashlib.sha256(content).digest()
        if key not in self._places:
            self._payload += bytes(-len(self._payload) % ALIGNMENT)
            self._places[key] = len(self._payload), len(content)
            self._payload += content
            self._placed_arrays.append(Placed(self._places[key][0], array))
        return self._places[key]

    def _description(
        self, image: Image, codes: list[dict[str, str]], parameters: list[list[tuple[int, int]]]
    ) -> Data:
        machines = list(dict.fromkeys(f.program.backend.machine for f in self._programs))
        described = [
            program_data(f.executable, image, code, places)
            for f, code, places in zip(self._programs, codes, parameters, strict=True)
        ]
        return {
            "machine": machine.described(
                ",".join(m.features for m in machines), " and ".join(dict.fromkeys(m.name for m in machines))
            ),
            "identity": image.content[image.identity :][:32].hex(),
            "identity_at": image.identity,
            "payload": image.payload,
            "imports": dict(image.imports),
            "process": {
                name: {f: image.functions[name, f] for f in _FUNCTIONS[name]}
                for name in _SHARED
                if name in self._objects
            },
            "programs": described,
            "calls": [_call_data(frozen, number) for number, frozen in enumerate(self._programs)],
        }


def program_data(
    executable: Executable, image: Image, codes: Mapping[str, str], places: Sequence[tuple[int, int]]
) -> Data:
    """What ``LoadedProgram`` needs to know: which words of the frame are what, and where things lie in the image.

    codes: names in the image of ``executable.codes()``. places: of parameters in the payload, and how many bytes they are.
    """
    plan = executable.plan
    layout, own = frame_layout(plan), codes["program"]
    first_kernel = layout.table + len(plan.schedule.buffers)
    return {
        "words": layout.table + plan.table_size,
        "entry": image.functions[own, "entry"],
        "alone": image.functions[own, "alone"] if plan.is_parallel else None,
        "threads": plan.machine.threads,
        "arguments": [
            [layout.arguments + n, b.type.dtype.name]
            for n, b in enumerate(_buffers(plan, BufferKind.ARGUMENT))
        ],
        "results": [
            [layout.results + n, b.type.dtype.name] for n, b in enumerate(_buffers(plan, BufferKind.RESULT))
        ],
        "kernels": [
            [first_kernel + n, image.functions[codes[f"kernel{n}"], "kernel"]]
            for n in range(len(plan.sources))
        ],
        "parameter_words": [layout.table + n for n, _ in plan.buffers(BufferKind.PARAMETER)],
        "parameters": [[image.payload + start, nbytes] for start, nbytes in places],
        "ways_word": layout.table + plan.ways_index,
        "ways": executable.ways(),
        "pool_word": layout.table + plan.pool_index,
        "safepoint_word": layout.table + plan.safepoint_index if plan.decides else None,
        "size_slots": SIZE_SLOTS,
        "allocator": "allocator" in codes,
    }


def _call_data(frozen: _Frozen, number: int) -> Data:
    """What ``FrozenCall`` needs to know."""
    structure = frozen.program.recording.structure
    assert structure is not None
    return {
        "program": number,
        "takes": data_of_structure(frozen.form),
        "names": frozen.names(),
        "gives": data_of_structure(structure),
        "types": [[numpy.dtype(char).name, list(shape)] for shape, char, _ in frozen.types],
        "sizes": frozen.sizes,
        "decides": len(frozen.program.schedule.blocks) > 1,
        "size_slots": SIZE_SLOTS,
        "results": len(frozen.program.schedule_results()),
        "refuses": "native code gave the call back: " + " or ".join(_refusals(frozen.program, frozen.reason)),
    }


def _refusals(program: Program, reason: str) -> Iterator[str]:
    """Why native code may give a call back whose arguments are right. reason: why some calls run in Python."""
    if len(program.schedule.blocks) > 1:
        yield "its data lead a way that no call had taken when the net was frozen (call the net with such data first)"
    if reason:
        yield f"they lead a way that runs in Python because {reason}"
    if program.schedule.fault is not None:
        yield "an index is out of bounds"
    yield "there was no memory for its results"


def _buffers(plan: Any, kind: BufferKind) -> list[Buffer]:
    return [buffer for _, buffer in plan.buffers(kind)]
