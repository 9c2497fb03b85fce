"""The pages of the reference, made from docstrings: each public name below the file that defines it.

conf.py writes them into docs/reference/ when the site is built; they are not committed.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import blockfuse

# Page -> its title, and the modules whose names it lists, as programs write them below ``blockfuse``.
PAGES = {
    "package": ("blockfuse", ("", "frozen", "torch", "dask", "joblib", "image", "gluon", "gluon.utils")),
    "nn": ("nn: blocks, parameters, layers", ("nn",)),
    "np": ("np: arrays and functions", ("np",)),
    "linalg": ("np.linalg: linear algebra", ("np.linalg",)),
    "random": ("np.random: draws", ("np.random",)),
    "npx": ("npx: what NumPy does not have", ("npx",)),
    "autograd": ("autograd: gradients", ("autograd",)),
    "loss": ("gluon.loss: losses", ("gluon.loss",)),
    "optimizer": (
        "optimizer, lr_scheduler, kvstore: optimizers, their learning rates, and workers",
        ("optimizer", "lr_scheduler", "kvstore"),
    ),
    "metric": ("gluon.metric: metrics", ("gluon.metric",)),
    "init": ("init: first values of parameters", ("init",)),
    "rnn": ("gluon.rnn: recurrent layers and cells", ("gluon.rnn",)),
    "data": (
        "gluon.data: datasets and batches",
        ("gluon.data", "gluon.data.batchify", "gluon.data.vision", "gluon.data.vision.transforms"),
    ),
    "model_zoo": ("gluon.model_zoo: usual nets for pictures", ("gluon.model_zoo", "gluon.model_zoo.vision")),
    "errors": ("Errors and warnings", ("ir.errors",)),
}

# Module as programs write it -> the one that lists its names.
LISTS = {
    "gluon.data": "nn.data",
    "gluon.data.batchify": "nn.data.batchify",
    "gluon.data.vision": "nn.data.vision",
    "gluon.data.vision.transforms": "nn.data.vision.transforms",
    "gluon.metric": "nn.metrics",
}

# Module as programs write it -> the package that it cannot be imported without.
NEEDS = {"torch": "torch", "dask": "dask", "joblib": "joblib"}


@dataclass(frozen=True)
class Name:
    """A name as a program writes it below ``blockfuse``, and what it stands for."""

    space: str
    name: str
    value: Any

    @property
    def path(self) -> str:
        return f"{self.space}.{self.name}".lstrip(".")

    @property
    def kind(self) -> str:
        if inspect.ismodule(self.value):
            return "module"
        return "class" if inspect.isclass(self.value) else "function" if callable(self.value) else "data"

    @property
    def file(self) -> str:
        """The module that defines it."""
        return str(getattr(defined(self.value), "__module__", "") or "")

    @property
    def ours(self) -> bool:
        return self.kind in ("class", "function") and self.file.startswith("blockfuse.")


def defined(value: Any) -> Any:
    """A function of ours without what other modules add to it: more forms of calls."""

    def is_last(function: Any) -> bool:  # ufuncs of older NumPys are in no module
        return not str(getattr(function.__wrapped__, "__module__", "")).startswith("blockfuse.")

    return inspect.unwrap(value, stop=is_last)


def space(path: str) -> Any:
    """The module that programs call ``blockfuse.path``."""
    here: Any = blockfuse
    for name in filter(None, path.split(".")):
        here = getattr(here, name) if hasattr(here, name) else import_module(f"{here.__name__}.{name}")
    return here


def public(path: str) -> tuple[Name, ...]:
    """What a module lists, or else the classes and functions that it defines; none where a package is missing."""
    if not _there(path):
        return ()
    module, lists = space(path), space(LISTS.get(path, path))
    own = [
        n for n, v in vars(lists).items() if getattr(v, "__module__", "") == lists.__name__ and n[0] != "_"
    ]
    listed = getattr(lists, "__all__", own)
    order = {name: place for place, name in enumerate(vars(lists))}
    return tuple(
        Name(path, n, getattr(module, n)) for n in sorted(listed, key=lambda n: order.get(n, len(order)))
    )


def _there(path: str) -> bool:
    return find_spec(NEEDS.get(path, "blockfuse")) is not None


@cache
def names() -> tuple[Name, ...]:
    """All public names, in the order of the pages."""
    return tuple(name for _, paths in PAGES.values() for path in paths for name in public(path))


@cache
def homes() -> dict[int, Name]:
    """Identity of a class or function of ours -> the name below which it is described; others refer to that one."""
    found: dict[int, Name] = {}
    for name in sorted(names(), key=_farness):
        if name.ours:
            found.setdefault(id(name.value), name)
    return found


def _farness(name: Name) -> tuple[bool, ...]:
    """Another name than its own is far, and so are the modules that gather what others define."""
    return (getattr(name.value, "__name__", "") != name.name, name.space == "gluon", name.space == "")


# -- pages -----------------------------------------------------------------------------------------------------


def write(folder: Path) -> None:
    """Write all pages into a folder; a page that stays the same is left alone, so that Sphinx need not read it again."""
    folder.mkdir(exist_ok=True)
    texts = {page: text(*row) for page, row in PAGES.items()} | {"index": index()}
    for old in set(folder.glob("*.rst")) - {folder / f"{page}.rst" for page in texts}:
        old.unlink()
    for page, whole in texts.items():
        file = folder / f"{page}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != whole:
            file.write_text(whole, encoding="utf-8")


def index() -> str:
    """The page that leads to the others."""
    about = "Every public name, with what its docstring says. Examples are executed by the tests."
    return "\n".join(
        [*_title("Reference", "="), about, "", ".. toctree::", "", *(f"   {p}" for p in PAGES), ""]
    )


def text(title: str, paths: tuple[str, ...]) -> str:
    """One page."""
    lines = [*_title(title, "="), ".. py:currentmodule:: blockfuse", ""]
    for path in paths:
        if len(paths) > 1:
            lines += _title(path or "blockfuse", "-")
        if not _there(path):
            lines += [
                f"Not described here: the package ``{NEEDS[path]}`` was missing when this page was made.",
                "",
            ]
        for about, group in _groups(public(path)).items():
            lines += [*_title(about, "~"), *_shown(group[0].file)]
            lines += [line for name in group for line in _entry(name)]
        lines += _listing("Modules", [n for n in public(path) if n.kind == "module"])
        lines += _listing("NumPy's own", [n for n in public(path) if n.kind != "module" and not n.ours])
    return "\n".join(lines) + "\n"


def _groups(listed: tuple[Name, ...]) -> dict[str, list[Name]]:
    """What a file is about -> the names of ours that it defines, or that are others of what it defines."""
    found: dict[str, list[Name]] = {}
    for name in listed:
        if name.ours:
            found.setdefault(_about(name), []).append(name)
    return found


def _about(name: Name) -> str:
    first = (import_module(name.file).__doc__ or "").split("\n")[0]
    return re.sub(r"`+", "``", first.split(": ")[0].rstrip("."))


def _shown(module: str) -> list[str]:
    """What the docstring of a file shows of all that the file defines: a tree, an example."""
    about, begin, example = (import_module(module).__doc__ or "").partition(">>> ")
    tree = [line for line in about.splitlines() if line.startswith("    ")] if "├──" in about else []
    return [*["::", "", *tree, ""] * bool(tree), *(begin + example).splitlines(), ""]


def _entry(name: Name) -> list[str]:
    home = homes()[id(name.value)]
    if home == name:
        return [
            f".. auto{name.kind}:: blockfuse::{name.path}",
            *["   :members:"] * (name.kind == "class"),
            "",
        ]
    # Indexed twice, a class would be ambiguous where signatures say its name alone.
    hidden = ["   :no-index:"] * (name.name == home.name)
    return [f".. py:{name.kind}:: {name.path}", *hidden, "", f"   The same as :py:obj:`{home.path}`.", ""]


def _listing(title: str, listed: list[Name]) -> list[str]:
    """Names that are described elsewhere."""
    return [*_title(title, "~"), ", ".join(f"``{n.path}``" for n in listed), ""] if listed else []


def _title(words: str, line: str) -> list[str]:
    return [words, line * len(words), ""]


# -- docstrings ------------------------------------------------------------------------------------------------

ARGUMENTS = re.compile(r"((?:\\\*){0,2}\w+(?:, (?:\\\*){0,2}\w+)*): (.*)")


def as_rst(_app: Any, _what: str, name: str, value: Any, _options: Any, lines: list[str]) -> None:
    """Make RST of a docstring, in which only ``code`` is marked: an asterisk is one, lines on arguments are a list."""
    takes = _arguments(value)
    made, inside = [], False
    for line in _plain("\n".join(lines), name.removeprefix("blockfuse.")).split("\n"):
        found = ARGUMENTS.fullmatch(line)
        if found and all(map(takes, re.findall(r"\w+", found[1]))):
            made += [*[""] * (not inside), "* ``{}``: {}".format(found[1].replace("\\", ""), found[2])]
            inside = True
        else:
            inside = inside and bool(line.strip())
            made.append("  " * inside + line)
    lines[:] = made


def _arguments(value: Any) -> Callable[[str], bool]:
    """Whether it takes an argument of a name: when it is made, or when a block is called."""
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):  # a property, or a class of which C code makes objects
        return lambda _name: False
    called = inspect.signature(value.forward).parameters if hasattr(value, "forward") else {}
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return lambda name: name in parameters or name in called or (any_name and name.islower())


def _plain(text: str, about: str) -> str:
    """Without marks, but for ``code``, which may go on in the next line, and examples. about: the name of the docstring."""
    parts = re.split(r"(``.*?``|^ *>>> .*?(?:\n *\n|\Z))", text, flags=re.MULTILINE | re.DOTALL)
    texts = [part.replace("*", r"\*") for part in parts[::2]]
    marked = [_linked(code, before, about) for code, before in zip(parts[1::2], texts, strict=False)]
    return "".join(part for pair in zip_longest(texts, marked, fillvalue="") for part in pair)


REFERS = ("see ", "as of ", "those of ")  # what stands before a name that is described elsewhere


def _linked(code: str, before: str, about: str) -> str:
    """A link, if the code is a class, something of a module, or a name that the reader is referred to."""
    word = code.strip("`")
    refers = "." in word or word[:1].isupper() or before.replace("\n", " ").endswith(REFERS)
    found = _described(word, about) if refers and re.fullmatch(r"[\w.]+", word) else ""
    return f":py:obj:`{word} <{found}>`" if found and found != about else code


def _described(word: str, about: str) -> str:
    """The full name of what ``word`` means in the docstring of ``about``; empty where no page has it."""
    places = [about[:n] for n in range(len(about), 0, -1) if about[n : n + 1] in (".", "")]
    paths = (f"{place}.{word}".lstrip(".") for place in (*places, ""))
    elsewhere = [name.path for name in homes().values() if name.name == word and name.kind == "class"]
    return next((path for path in paths if path in _paths()), elsewhere[0] if len(elsewhere) == 1 else "")


@cache
def _paths() -> set[str]:
    """What has an entry: names, and what classes have that is described."""
    listed = homes().values()
    members = {
        f"{n.path}.{m}" for n in listed if n.kind == "class" for m, f in vars(n.value).items() if f.__doc__
    }
    return {name.path for name in listed} | members
