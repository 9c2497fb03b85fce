"""What a kernel needs of Numba's compiler: from byte code to a typed function, and that to LLVM IR as text.

Numba's own pipeline serves any Python: closures, comprehensions, literals, objects that count references. It also lets LLVM
parse, verify and optimise each function before it is linked, which ``native`` does again for the whole. Its target loads
arrays, containers, strings and a runtime for them; a kernel knows numbers, tuples and ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from numba.core import cgutils, compiler, typed_passes, types, typing, untyped_passes
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.target_extension import target_override
from numba.core.typing import templates
from numba.cpython import builtins, numbers, rangeobj, tupleobj  # noqa: F401 - register what they implement

_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.GenericRewrites,  # indices that are constants
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
    typed_passes.AnnotateTypes,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)


class _Compiler(compiler.CompilerBase):
    def define_pipelines(self) -> list[Any]:
        manager = PassManager("kernel")
        for kind in _PASSES:
            manager.add_pass(kind, kind.__name__)
        manager.finalize()
        return [manager]


class _Text(CPUCodeLibrary):
    """Keeps the module as it was lowered. Nothing is linked: intrinsics write all their code into the kernel."""

    text = ""

    def add_ir_module(self, ir_module: Any) -> None:
        self.text = cgutils.normalize_ir_text(str(ir_module))


class _Typing(typing.Context):
    target: _Target  # for intrinsics

    def _load_builtins(self) -> None:
        self.install_registry(_numbers())


@lru_cache
def _numbers() -> Any:
    """How Numba types numbers, pointers, tuples and ranges: most else that is built in loads the target of arrays."""

    def is_wanted(template: Any) -> bool:
        return any(kind.__module__ == typing.builtins.__name__ for kind in template.__mro__)

    every, registry = templates.builtin_registry, templates.Registry()
    registry.functions = [f for f in every.functions if is_wanted(f)]
    registry.attributes = [a for a in every.attributes if is_wanted(a)]
    registry.globals = [(v, t) for v, t in every.globals if all(map(is_wanted, getattr(t, "templates", ())))]
    return registry


class _Target(CPUContext):
    def load_additional_registries(self) -> None:
        """None: what is imported above lies with the built-in functions."""

    def post_lowering(self, mod: Any, library: Any) -> None:
        """No runtime is linked."""


@lru_cache
def _target() -> _Target:
    context = _Typing()
    context.target = _Target(context, "cpu")
    return context.target


def lowered(function: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[str, str]:
    """LLVM IR of a function for arguments of these types, and the symbol that it has there."""
    context = _target()
    library = _Text(context.codegen(), function.__name__)
    with target_override("cpu"):
        result = compiler.compile_extra(
            context.typing_context,
            context,
            function,
            arguments,
            types.void,
            _flags(),
            {},
            library=library,
            pipeline_class=_Compiler,
        )
    return library.text, result.fndesc.mangled_name


def _flags() -> Any:
    flags = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.nrt = False
    return flags
