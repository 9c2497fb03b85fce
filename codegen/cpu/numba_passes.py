"""What a kernel needs of Numba's compiler: from byte code to a typed function, and that to LLVM IR as text.

Numba's own pipeline serves any Python: closures, comprehensions, literals, objects that count references. It also lets LLVM
parse, verify and optimise each function before it is linked, which ``native`` does again for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import cgutils, compiler, typed_passes, types, untyped_passes
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_machinery import PassManager

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


def lowered(
    target: tuple[Any, Any], function: Callable[..., None], arguments: tuple[Any, ...]
) -> tuple[str, str]:
    """LLVM IR of a function for arguments of these types, and the symbol that it has there.

    target: Numba's typing and target context.
    """
    typing, context = target
    library = _Text(context.codegen(), function.__name__)
    result = compiler.compile_extra(
        typing,
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
