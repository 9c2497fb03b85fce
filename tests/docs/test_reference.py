"""The reference has every public name, with a docstring whose examples run."""

import doctest
import importlib
import inspect
import re
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT

REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
HOMES = list(REFERENCE["homes"]().values())
LIBRARY = ("array", "codegen", "frontends", "ir", "nn", "runtime", "tracer")
EXAMPLES = {  # file with examples -> packages that the file needs
    path: path.parts[1:-1][: path.parts[0] == "frontends"]
    for folder in LIBRARY
    for path, text in (
        (p.relative_to(ROOT), p.read_text(encoding="utf-8")) for p in sorted((ROOT / folder).rglob("*.py"))
    )
    if re.search(r"^ *>>> ", text, re.MULTILINE)
}

# Made by other functions, whose files doctest finds no text of.
MADE = [name for name in HOMES if not (inspect.isclass(name.value) or inspect.isroutine(name.value))]


def own_text(name: Any) -> str:
    """The docstring, but not one that a class has from its base, or an object from its class."""
    text = vars(name.value).get("__doc__") if name.kind == "class" else name.value.__doc__
    return "" if text == type(name.value).__doc__ else text or ""


def test_every_module_that_programs_import_is_on_a_page() -> None:
    listed = {path for _, paths in REFERENCE["PAGES"].values() for path in paths}
    gluons = {f"gluon.{name}" for name in importlib.import_module("blockfuse.gluon").__all__}
    modules = {
        n for n in importlib.import_module("blockfuse").__all__ if inspect.ismodule(REFERENCE["space"](n))
    }
    same = {"gluon.nn", "gluon.parameter", "metric"}  # whose names are on other pages
    found = modules | {g for g in gluons if inspect.ismodule(REFERENCE["space"](g))}
    missing = {m.replace("loss", "gluon.loss") if m == "loss" else m for m in found} - listed - same
    assert not missing


@pytest.mark.parametrize("page", REFERENCE["PAGES"])
def test_page_has_every_name_of_its_modules(page: str) -> None:
    title, paths = REFERENCE["PAGES"][page]
    text = REFERENCE["text"](title, paths)
    names = [name for path in paths for name in REFERENCE["public"](path)]
    assert len(names) > 1
    entries = {line.split(":: ")[1].replace("blockfuse::", "") for line in text.splitlines() if ":: " in line}
    listed = text.replace(",", "").split()
    assert [n.path for n in names if n.path not in entries and f"``{n.path}``" not in listed] == []


def test_names_of_ours_are_described_once() -> None:
    assert len({id(name.value) for name in HOMES}) == len(HOMES)
    assert {"np.absolute", "nn.Block", "gluon.loss.L2Loss", "compile", "Trainer"} <= {n.path for n in HOMES}


def test_every_name_has_a_docstring() -> None:
    assert [name.path for name in HOMES if not own_text(name)] == []


def test_every_public_method_of_blocks_and_arrays_has_a_docstring() -> None:
    lacking = []
    for name in (n for n in HOMES if n.path in ("nn.Block", "nn.ParameterDict", "np.ndarray", "Trainer")):
        members = {
            m: v
            for m, v in vars(name.value).items()
            if m[0] != "_" and (callable(v) or isinstance(v, property))
        }
        lacking += [f"{name.path}.{m}" for m, v in members.items() if not inspect.getdoc(v)]
    assert lacking == []


def test_every_name_has_an_example() -> None:
    assert [name.path for name in HOMES if ">>> " not in own_text(name)] == []


# What is said of all blocks and all metrics where their bases are described.
OF_FAMILIES = {"prefix", "params", "name", "output_names", "label_names"}
OTHERS = [name for name in HOMES if name.space not in ("np", "np.linalg", "npx")]
PUBLIC = {f"{name.file}.{name.value.__name__}" for name in OTHERS}


def test_every_argument_is_described() -> None:
    """NumPy describes those of functions that it computes; methods of arrays are described by what they do."""
    lacking = {
        path: missing
        for name in HOMES
        if "which computes it, and has all arguments" not in own_text(name)
        for path, value in ((name.path, name.value), *(methods(name, own=True) if name in OTHERS else ()))
        if (missing := undescribed(value, name.space))
    }
    assert lacking == {}


def test_every_public_method_is_described_by_its_class_or_a_base() -> None:
    found = (method for name in OTHERS for method in methods(name, own=False))
    assert [path for path, value in found if not inspect.getdoc(value)] == []


def test_arguments_of_families_are_described_by_their_bases() -> None:
    said = "".join(own_text(n) for n in HOMES if n.path in ("nn.Block", "gluon.metric.EvalMetric"))
    assert [a for a in OF_FAMILIES if not re.search(rf"\b{a}\b", said)] == []


def methods(name: Any, own: bool) -> list[tuple[str, Any]]:
    """The public methods and properties that a class defines, all or with a docstring of their own."""
    found = [(m, f) for m, f in vars(name.value).items() if m[0] != "_"] if name.kind == "class" else []
    chosen = [(m, f) for m, f in found if isinstance(f, classmethod | property) or inspect.isroutine(f)]
    return [(f"{name.path}.{m}", getattr(name.value, m)) for m, f in chosen if f.__doc__ or not own]


def undescribed(value: Any, space: str) -> list[str]:
    """The arguments that its docstring does not speak of."""
    said = described(value, space)
    return [name for name in arguments(value) if not re.search(rf"\b{name}\b", said)]


def arguments(value: Any) -> list[str]:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # a property, or a class of which C code makes objects
        return []
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [name for name in named if name[0] != "_" and name not in {"self", *OF_FAMILIES}]


def described(value: Any, space: str) -> str:
    """A docstring, and those of the names that it quotes: of the same module, where there are several."""
    said = value.__doc__ or ""
    quoted = set(re.findall(r"``(?:[\w.]+\.)?(\w+)``", said))
    near = [n for n in HOMES if n.name in quoted]
    apart = [n for n in near if n.space == space] + [n for n in near if n.space != space]
    first = {n.name: n for n in reversed(apart)}
    return "\n".join([said, *(own_text(n) for n in first.values())])


def module_of(path: Path) -> str:
    return ".".join(("blockfuse", *path.with_suffix("").parts)).removesuffix(".__init__")


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_examples_give_what_they_show(path: Path) -> None:
    for package in EXAMPLES[path]:
        pytest.importorskip(package)
    module = importlib.import_module(module_of(path))
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    assert found
    there = [test for test in found if all(map(find_spec, packages(test)))]
    if not there:
        pytest.skip("needs packages that are not installed")
    for test in there:
        if {test.name, test.name.rpartition(".")[0]} & PUBLIC:  # the reader has what the example imports
            test.globs = {}
    assert [test.name for test in there if doctest.DocTestRunner().run(test).failed] == []


def packages(test: doctest.DocTest) -> list[str]:
    """Those that the example of one docstring imports."""
    return re.findall(r"^(?:from|import) (\w+)", "".join(e.source for e in test.examples), re.MULTILINE)


@pytest.mark.parametrize("name", MADE, ids=lambda name: name.name)
def test_examples_of_functions_that_are_made_give_what_they_show(name: Any) -> None:
    (example,) = doctest.DocTestFinder().find(name.value, name.path, module=False, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0


# -- docstrings as pages ---------------------------------------------------------------------------------------


def as_rst(function: Any) -> list[str]:
    lines = inspect.cleandoc(function.__doc__).splitlines()
    REFERENCE["as_rst"](None, "function", "name", function, None, lines)
    return lines


def test_arguments_become_a_list() -> None:
    def scaled(x: float, *by: float, out: Any = None) -> None:
        """Multiply (2 * x).

        x: the first
        of several lines. by, out: not at the start of a line.
        out: ``a * b``.

        Raises: this is no argument.
        """

    assert as_rst(scaled) == [
        r"Multiply (2 \* x).",
        "",
        "",
        "* ``x``: the first",
        "  of several lines. by, out: not at the start of a line.",
        "* ``out``: ``a * b``.",
        "",
        "Raises: this is no argument.",
    ]


def test_names_that_are_described_elsewhere_become_links() -> None:
    def grad(heads: Any) -> None:
        """See ``backward`` of ``Loss``, ``nn.Block.apply``, ``backward`` and ``NoName``: as of
        ``record``.

        heads: see ``grad``.
        """

    lines = inspect.cleandoc(grad.__doc__ or "").replace("See", "see").splitlines()
    REFERENCE["as_rst"](None, "function", "blockfuse.autograd.grad", grad, None, lines)
    assert lines == [
        "see :py:obj:`backward <autograd.backward>` of ``Loss``, :py:obj:`nn.Block.apply <nn.Block.apply>`, "
        "``backward`` and ``NoName``: as of",
        ":py:obj:`record <autograd.record>`.",
        "",
        "",
        "* ``heads``: see ``grad``.",
    ]


def test_examples_stay_as_they_are() -> None:
    def twice(x: float) -> None:
        """Twice, which is ``2 *
        x`` and not x * x.

        >>> twice(2 * 3)
        array([2 * 3])

        >>> twice(4)

        Or x * 2.
        """

    assert as_rst(twice) == [
        "Twice, which is ``2 *",
        r"x`` and not x \* x.",
        "",
        ">>> twice(2 * 3)",
        "array([2 * 3])",
        "",
        ">>> twice(4)",
        "",
        r"Or x \* 2.",
    ]
