"""What the reference says of ``np``, ``np.linalg`` and ``npx`` is whole, and holds: shapes, dtypes, sources, examples."""

import builtins
import doctest
import re
import runpy
from operator import attrgetter
from typing import Any

import numpy
import pytest
from documents import ROOT

import blockfuse.ir.types
from blockfuse import autograd, np, npx
from blockfuse.ir import errors

REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
SPACES = ("np", "np.linalg", "npx")
NAMES = {name.path: name for name in REFERENCE["names"]() if name.space in SPACES and name.ours}
FUNCTIONS = {path: name for path, name in NAMES.items() if name.kind == "function"}

# They neither take nor give arrays.
SWITCHES = {
    f"npx.{name}"
    for name in (
        *("cpu", "gpu", "current_device", "num_gpus"),
        *("set_np", "reset_np", "is_np_array", "is_np_default_dtype", "waitall", "seed"),
    )
}

DTYPES = blockfuse.ir.types.DTYPES
FLOATS = ("float16", "float32", "float64")
UNSIGNED = tuple(dtype for dtype in DTYPES if dtype[0] == "u")

# Dtype of the operands -> that of the result.
OWN = {dtype: dtype for dtype in DTYPES}
KEPT = {dtype: dtype for dtype in FLOATS}
WIDE = dict.fromkeys(DTYPES, "float64") | KEPT
ADDED = dict.fromkeys(DTYPES, "int64") | dict.fromkeys(UNSIGNED, "uint64") | KEPT
HALVES, SINGLES = ("bool", "int8", "uint8"), ("int16", "uint16")
NARROW = WIDE | dict.fromkeys(HALVES, "float16") | dict.fromkeys(SINGLES, "float32")

PLACES = ("np.delete", "np.pad")  # whose second argument is no operand

# What a docstring says of dtypes -> what one or two operands of each dtype give. The first that it says counts.
PROMISES: dict[str, dict[str, str]] = {
    "float16 for bool and 8 bits, float32 for 16 bits": NARROW,
    "the float dtype that both promote to": NARROW,
    "float32 and float64 stay, others give float64": WIDE,
    "that is a float, else float64": WIDE,
    "floats keep their dtype, others give float64": WIDE,
    "others give int64 (unsigned: uint64)": ADDED,
    "but float16 for bool": OWN | {"bool": "float16"},
    "but int8 for bool": OWN | {"bool": "int8"},
    "the dtype is bool": dict.fromkeys(DTYPES, "bool"),
    "the dtype is that of ``x``": OWN,
    "the dtype is what those of ``x`` and ``y`` promote to": OWN,
    "in its dtype": OWN,
    "its shape and dtype": OWN,
    "shape and dtype of": OWN,
    "in the dtype of": OWN,
    "in the dtype that": OWN,
    ", bool": dict.fromkeys(DTYPES, "bool"),
    ", int64": dict.fromkeys(DTYPES, "int64"),
}

REFUSALS = {  # what a docstring says that it refuses -> dtypes
    "TypeError for bools": ("bool",),
    "TypeError for floats": FLOATS,
    "TypeError for floats and bools": ("bool",),
    "float16 raises TypeError": ("float16",),
}


def about(name: Any) -> str:
    """What stands before the first example, in one line."""
    text: str = name.value.__doc__.partition(">>> ")[0]
    return " ".join(text.split())


def returns(name: Any) -> str:
    found = re.search(r"Returns (.*?)(?= Raises | Source: |$)", about(name))
    return found[1] if found else ""


# -- examples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NAMES)
def test_example_of_each_name_runs_as_it_is_shown(path: str) -> None:
    """In an empty namespace: whoever copies it needs nothing else."""
    name = NAMES[path]
    text = vars(name.value)["__doc__"] if name.kind == "class" else name.value.__doc__
    examples = doctest.DocTestParser().get_doctest(text, {}, path, None, None)
    found = doctest.DocTestRunner(verbose=False).run(examples)
    assert (found.attempted > 1, found.failed) == (True, 0)
    assert name.kind == "class" or f".{name.value.__name__}(" in text.partition(">>> ")[2]


# -- shapes, dtypes, sources ---------------------------------------------------------------------------------


def test_docstrings_say_shape_and_dtype_of_the_result() -> None:
    shape = r"shape|size|\(.*\)|axis|axes|vector|number|elements|None|a bool of Python|an int|a tuple|a dtype"
    dtype = r"dtype|bool|\bints?\b|int64|uint8|float|None"
    said = {path: returns(FUNCTIONS[path]) for path in FUNCTIONS.keys() - SWITCHES}
    assert [path for path, text in said.items() if not re.search(shape, text)] == []
    assert [path for path, text in said.items() if not re.search(dtype, text)] == []


def test_docstrings_name_the_function_of_numpy_that_they_mean() -> None:
    theirs = {p: p.replace("np.", "numpy.") for p in FUNCTIONS if p.startswith("np.") and numpy_has(p[3:])}
    assert [p for p, source in theirs.items() if f"Source: ``{source}``" not in about(FUNCTIONS[p])] == []
    assert len(theirs) > 300


def numpy_has(path: str) -> bool:
    """Not all of its versions have all names."""
    try:
        return callable(attrgetter(path)(numpy))
    except AttributeError:
        return False


def test_docstrings_of_npx_say_where_their_meaning_is_from() -> None:
    """A function of another library, a paper, or a formula in the first sentence."""
    ours = {p: about(name) for p, name in FUNCTIONS.items() if p.startswith("npx.") and p not in SWITCHES}
    cited, formula = r"Source: |\b(19|20)\d\d\b", r"[^.]*``[^`]*[(*/+-][^`]*``"
    lacking = [p for p, text in ours.items() if not re.search(cited, text) and not re.match(formula, text)]
    assert lacking == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # some functions have no value for these numbers
def test_docstrings_say_which_dtypes_are_given() -> None:
    given = {path: given_otherwise(FUNCTIONS[path]) for path in FUNCTIONS.keys() - SWITCHES}
    assert {path: dtypes for path, dtypes in given.items() if dtypes} == {}
    rows = {p for p, name in FUNCTIONS.items() if name.file == "blockfuse.array.functions.elementwise"}
    checked = {path for path, dtypes in given.items() if dtypes is not None}
    assert rows - checked == {"np.where"}
    assert len(checked) > 240


def given_otherwise(name: Any) -> dict[str, str] | None:
    """Dtype of matrices -> what it gives for them, where that is not what its docstring says; None where that says nothing,
    or nothing of matrices alone.
    """
    promise = next((given for said, given in PROMISES.items() if said in returns(name)), None)
    count = operands(name.value) if promise and name.path not in PLACES else 0
    if promise is None or not count or returns(name).startswith("None"):
        return None
    refused = {d for said, dtypes in REFUSALS.items() if said in about(name) for d in dtypes}
    wanted = promise | dict.fromkeys(refused, "TypeError")
    found = {dtype: of_matrices(name.value, dtype, count) for dtype in DTYPES}
    return {d: dtype for d, dtype in found.items() if dtype not in (wanted.get(d), "LinAlgError")}


def of_matrices(function: Any, dtype: str, count: int) -> str:
    """The dtype that it gives for one or two of them, or the class of the error."""
    try:
        found = function(*(np.array([[2, 1], [1, 3]]).astype(dtype),) * count)
    except (TypeError, ValueError, IndexError) as error:
        return "TypeError" if isinstance(error, TypeError) else type(error).__name__
    return str((found[0] if isinstance(found, tuple | list) else found).dtype)


def operands(function: Any) -> int:
    """How many matrices it takes alone; 0 where these are no arguments for it."""
    for count, dtype in ((1, "float32"), (2, "float32"), (1, "int64"), (2, "int64")):
        try:
            function(*(np.array([[2, 1], [1, 3]], dtype),) * count)
        except (TypeError, ValueError, IndexError):
            continue
        return count
    return 0


# -- errors --------------------------------------------------------------------------------------------------

LINES = (ROOT / "tests" / "support" / "refusals.txt").read_text(encoding="utf-8").splitlines()
REFUSED = [line.split(" # ") for line in LINES]  # a call, and the error that it raises


@pytest.mark.parametrize(("call", "error"), REFUSED, ids=LINES)
def test_what_a_docstring_refuses_raises_the_error_that_it_names(call: str, error: str) -> None:
    assert error in about(FUNCTIONS[call.partition("(")[0]])
    known = {**vars(builtins), **vars(errors), "LinAlgError": numpy.linalg.LinAlgError}
    with autograd.train_mode(), pytest.raises(known[error]):
        eval(call, {"np": np, "npx": npx, "numpy": numpy})


def test_every_error_that_a_docstring_names_is_raised_by_a_call() -> None:
    raised: dict[str, set[str]] = {}
    for call, error in REFUSED:
        raised.setdefault(call.partition("(")[0], set()).add(error)
    rows = "blockfuse.array.functions.elementwise"  # see the next test, and that of dtypes
    named = {p: named_errors(name) for p, name in FUNCTIONS.items() if name.file != rows}
    missing = {path: found - raised.get(path, set()) for path, found in named.items()}
    assert {path: found for path, found in missing.items() if found} == {}


def named_errors(name: Any) -> set[str]:
    sentences = re.findall(r"Raises .*?(?=Returns|Source: |$)", about(name))
    return {error for sentence in sentences for error in re.findall(r"\w+Error", sentence)}


def test_functions_of_two_elements_refuse_shapes_that_do_not_broadcast() -> None:
    two = [p for p, name in FUNCTIONS.items() if "ValueError where shapes do not broadcast" in about(name)]
    assert len(two) > 30
    for path in two:
        with pytest.raises(ValueError, match="broadcast"):
            FUNCTIONS[path].value(np.array([1, 2], "int64"), np.array([1, 2, 3], "int64"))
