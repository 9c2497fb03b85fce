"""Python functions of the standard library and of NumPy that are known: what they read, and that they do nothing else.

NOTE [known code]
A function is known by its file and its name in it. Known code reads what it is given, definitions (classes, constants
of its module) and the settings that a row here tells, which are asked again before every call; so nobody watches it or
looks into it for state. What it is given is in the picture of the state, what it calls is watched as always, and no
stranger reaches it (NOTE [strangers]). Code that is not here is watched like the user's, wherever it comes from.
"""

from __future__ import annotations

import sys
import sysconfig
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy

from blockfuse.array import foreign
from blockfuse.tracer.code.bytecode import once_per_code
from blockfuse.tracer.code.settings import ASKS, LEVELS, Question

_STDLIB = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")})
_INSTALLED = tuple({f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib")})
_NUMPY = str(Path(numpy.__file__).parent) + "/"


# Module -> its known functions, or what they are in ("*": what begins so); where there are none, all but those after "-".
_KNOWN: dict[str, tuple[str, ...]] = {
    "_collections_abc": (),
    "abc": ("-ABCMeta.register",),
    "bisect": (),
    "collections": (),
    "contextlib": (
        *("_GeneratorContextManagerBase", "_GeneratorContextManager", "contextmanager", "nullcontext"),
        *("suppress", "closing", "ExitStack", "_BaseExitStack", "AbstractContextManager", "ContextDecorator"),
    ),
    "copy": (),
    "copyreg": ("__reduce_ex__", "_reduce_ex", "__newobj__", "__newobj_ex__", "_reconstructor", "_slotnames"),
    "dataclasses": (
        *("replace", "_replace", "fields", "asdict", "_asdict_inner", "astuple", "_astuple_inner"),
        *("is_dataclass", "_is_dataclass_instance", "field", "Field", "_recursive_repr"),
    ),
    "enum": (),
    "fractions": (),
    "functools": (),
    "genericpath": ("_splitext", "commonprefix", "_check_arg_types"),
    "heapq": (),
    "inspect": (
        *("signature", "Signature", "Parameter", "BoundArguments", "_ParameterKind", "unwrap", "_signature*"),
        *("is*", "getfullargspec", "get_annotations", "getattr_static", "_static_getmro", "_check_*"),
        *("_shadowed_dict*", "_get_dunder_dict_of_class", "_get_method_of_code"),
    ),
    "json": ("dumps", "loads", "detect_encoding"),
    "json.decoder": (),
    "json.encoder": (),
    "json.scanner": (),
    "keyword": (),
    "logging": (
        *(f"{owner}{name}" for owner in ("", "Logger.", "LoggerAdapter.") for name in LEVELS),
        *("Logger.isEnabledFor", "Logger.getEffectiveLevel", "LoggerAdapter.isEnabledFor"),
        *("LoggerAdapter.getEffectiveLevel", "getLogger", "Logger.getChild", "getLevelName", "_checkLevel"),
        *("Manager.getLogger", "Manager.disable", "_acquireLock", "_releaseLock"),
    ),
    "numbers": (),
    "operator": (),
    "os": (
        *("_Environ.__getitem__", "_Environ.__iter__", "_Environ.__len__", "_Environ.copy"),
        "_Environ.__or__",
        *("_Environ.__ror__", "getenv", "getenvb", "_createenviron"),
    ),
    "pathlib": ("PurePath", "_Flavour", "_PosixFlavour", "_PathParents", "Path.__new__", "Path.__init__"),
    "pathlib._local": ("PurePath", "_PathParents", "Path.__new__", "Path.__init__"),
    "posixpath": (
        *("join", "split", "splitext", "basename", "dirname", "isabs", "normcase", "normpath", "splitdrive"),
        *("commonpath", "_get_sep", "splitroot"),
    ),
    "re": (),
    "re._casefix": (),
    "re._compiler": (),
    "re._parser": (),
    "reprlib": ("recursive_repr",),
    "string": (),
    "textwrap": (),
    "types": (),
    "typing": ("-get_type_hints", "-ForwardRef", "-NamedTuple", "-TypedDict", "-_eval_type"),
}
# The same of NumPy, which computes from what it is given; what is in no row here reads files, prints or sets something.
_OF_NUMPY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("__init__", "_globals", "dtypes", "exceptions", "matlib", "_core.__init__"), ()),
    **dict.fromkeys(
        (
            *("_asarray", "_dtype", "_dtype_ctypes", "_exceptions", "_internal", "_methods"),
            "_string_helpers",
            *("_type_aliases", "defchararray", "einsumfunc", "fromnumeric", "function_base", "getlimits"),
            *("multiarray", "numeric", "numerictypes", "overrides", "shape_base", "strings", "umath"),
        ),
        (),
    ),
    "_ufunc_config": ("errstate",),
    "records": ("-fromfile",),
    **dict.fromkeys(
        (
            *("_array_utils_impl", "_arraypad_impl", "_arraysetops_impl", "_arrayterator_impl"),
            *("_function_base_impl", "_histograms_impl", "_index_tricks_impl", "_nanfunctions_impl"),
            *("_polynomial_impl", "_scimath_impl", "_shape_base_impl", "_stride_tricks_impl"),
            *("_twodim_base_impl", "_type_check_impl", "_ufunclike_impl", "_user_array_impl", "array_utils"),
            *("mixins", "recfunctions", "scimath", "stride_tricks", "user_array"),
            *("_linalg", "_helper", "_pocketfft", "_convertions", "_inspect", "core", "extras", "defmatrix"),
            *("chebyshev", "hermite", "hermite_e", "laguerre", "legendre", "polynomial", "polyutils"),
        ),
        (),
    ),
    "_polybase": ("-ABCPolyBase.__str__", "-ABCPolyBase.__format__", "-ABCPolyBase._generate_string"),
}
# What has effects or reads what is not guarded -> what that is.
_EFFECTS: dict[tuple[str, str], str] = {
    ("logging", "Logger._log"): "writes to the log",
    ("logging", "basicConfig"): "sets up logging",
    ("abc", "ABCMeta.register"): "registers a class",
    ("numpy", "arrayprint"): "reads NumPy's print options",
    ("numpy", "printoptions"): "reads NumPy's print options",
    ("numpy", "_ufunc_config"): "reads or sets how NumPy treats errors",
    ("numpy", "_npyio_impl"): "reads or writes a file",
    ("numpy", "_datasource"): "reads or writes a file",
    ("numpy", "memmap"): "reads or writes a file",
}


# -- what code is ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    """known: nobody need watch it. effect: what it does that a graph cannot repeat. asks: gives the settings it reads."""

    known: bool = False
    effect: str = ""
    asks: Callable[[types.FrameType], list[Question]] | None = None


@once_per_code
def about(code: types.CodeType) -> Code:
    """What is known of a function, if it is one of a library."""
    file, name = code.co_filename, code.co_qualname
    if file.startswith(_NUMPY):
        return _about_numpy(file.removeprefix(_NUMPY).removesuffix(".py"), name)
    found = foreign.code_of_library(file)
    if found is not None:
        library, path = found
        return Code(library.is_known(path, name))
    module = _module_of(file)
    if module is None:
        return Code()
    effect = _EFFECTS.get((module, name), "")
    return Code(module in _KNOWN and _is_in(name, _KNOWN[module]), effect, ASKS.get((module, name)))


def _about_numpy(path: str, name: str) -> Code:
    stem = path.rpartition("/")[2] if "/__init__" not in path else "__init__"
    known = stem in _OF_NUMPY and _is_in(name, _OF_NUMPY[stem])
    return Code(known, "" if known else _EFFECTS.get(("numpy", stem), ""))


def _is_in(name: str, rows: tuple[str, ...]) -> bool:
    """Whether a function is one of the known ones of a module; what it defines inside of itself belongs to it."""
    if all(row[0] == "-" for row in rows):
        return not any(_begins(name, row[1:]) for row in rows)
    return any(_begins(name, row) for row in rows)


def _begins(name: str, row: str) -> bool:
    return name.startswith(row[:-1]) if row[-1] == "*" else name == row or name.startswith(f"{row}.")


def _module_of(file: str) -> str | None:
    """The module of the standard library that a file is."""
    if file.startswith("<frozen "):
        return file[len("<frozen ") : -1]
    root = next((r for r in _STDLIB if file.startswith(r)), None)
    if root is None or file.startswith(_INSTALLED):
        return None
    return file.removeprefix(root).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_library(code: types.CodeType) -> bool:
    """Whether code is of the standard library, or of a package that is installed beside it."""
    return code.co_filename.startswith(("<frozen ", *_STDLIB, *_INSTALLED))


def is_asked(kind: type) -> bool:
    """Whether what instances hold matters only to known code, which asks for what it needs: loggers, the environment."""
    return kind.__module__ == "logging" or (kind.__module__, kind.__qualname__) == ("os", "_Environ")


def is_library_module(name: str) -> bool:
    """The same of a module."""
    root = name.partition(".")[0]
    if root == "__main__" or root not in sys.stdlib_module_names:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        return root == "blockfuse" or file.startswith(_INSTALLED)
    return True
