"""What documents and comments name is there: files, folders, titled notes, and the names of code."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from documents import ROOT

FOLDERS = (
    "array",
    "benchmarks",
    "codegen",
    "docs",
    "examples",
    "frontends",
    "frozen",
    "ir",
    "nn",
    "runtime",
    "src",
    "tests",
    "tracer",
)
LIBRARY = ("array", "codegen", "frontends", "frozen", "ir", "nn", "runtime", "tracer")
READMES = tuple(f"{folder}/README.md" for folder in FOLDERS if (ROOT / folder / "README.md").exists())
PAGES = tuple(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/walkthrough.py", *PAGES, *READMES)

ENDINGS = ("py", "json", "md", "txt")  # of files
TITLE = re.compile(r"^[ #]*(?:\"\"\")?NOTE \[([^\]]+)\]$", re.MULTILINE)  # on a line of its own
# written by a user, by the commands of a document, or into the cache folder
WRITTEN = ("script.py", "net.py", "build/fuzz", "build/mutants", "faults")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@cache
def paths() -> frozenset[str]:
    """Every file and folder, by its path and by every end of it."""
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts]
    whole = [p.relative_to(ROOT).parts for p in (*found, *ROOT.glob("*"), *(ROOT / f for f in FOLDERS))]
    return frozenset("/".join(parts[start:]) for parts in whole for start in range(len(parts)))


@cache
def code() -> dict[Path, str]:
    """Python file -> its text."""
    files = (p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if not p.is_symlink())
    return {p: p.read_text(encoding="utf-8") for p in files if "__pycache__" not in p.parts}


@cache
def notes() -> list[str]:
    """The titles of notes, each as often as it stands above one."""
    return [found for text in code().values() for found in TITLE.findall(text)]


def named_files(text: str) -> Iterator[str]:
    """Files by their names, folders by the slash at the end."""
    yield from re.findall(r"(?<![\w/.<{-])((?:[\w-]+/)*[\w-]+\.(?:py|cpp))\b(?![\w/])", text)
    yield from (name.rstrip("/") for name in re.findall(r"`((?:[\w.-]+/)+)`", text))


def named_notes(text: str) -> Iterator[str]:
    for found in re.findall(r"NOTE\s+\[([^\]]+)\]", text):
        yield " ".join(word for word in found.split() if word != "#")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    missing = {name for name in named_files(text_of(document)) if name not in paths()}
    assert not missing - set(WRITTEN)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_notes_that_a_document_names_exist(document: str) -> None:
    assert not set(named_notes(text_of(document))) - set(notes())


def test_notes_that_code_names_exist() -> None:
    named = {(title, str(p.relative_to(ROOT))) for p, text in code().items() for title in named_notes(text)}
    assert not {found for found in named if found[0] not in notes()}


def test_no_two_notes_have_one_title() -> None:
    assert len(notes()) == len(set(notes()))


def test_names_of_the_architecture_stand_in_code() -> None:
    """Whatever looks like a name in backticks: a class, a function, an attribute, a setting."""
    sources = (text for path, text in code().items() if path.relative_to(ROOT).parts[0] != "docs")
    words = frozenset(word for text in sources for word in re.findall(r"\w+", text))
    named = re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", text_of("docs/architecture.md"))
    names = {name for name in named if not name.endswith(".py")}
    assert not {word for name in names for word in name.split(".") if word not in words}


def test_members_that_documents_name_exist() -> None:
    """``Class.member`` in backticks, of classes of ours."""
    members = classes()
    for document in DOCUMENTS:
        named = re.findall(r"`([A-Z]\w+)\.(\w+)", text_of(document))
        assert not {(c, member) for c, member in named if c in members and member not in members[c]}


def test_members_of_modules_that_documents_name_exist() -> None:
    """``module.member`` in backticks, of modules of ours."""
    for document in DOCUMENTS:
        named = re.findall(r"`(\w+)\.(_?[a-z]\w*)", text_of(document))
        ours = {(m, word) for m, word in named if m in modules() and word not in ENDINGS}
        assert not {(m, word) for m, word in ours if word not in modules()[m]}


@cache
def modules() -> dict[str, set[str]]:
    """Name of a module that is no package, too -> all words in it; several of one name are taken together."""
    found: dict[str, set[str]] = {}
    packages = {path.parent.name for path in code()}
    for path, text in code().items():
        if path.stem not in packages and path.relative_to(ROOT).parts[0] in LIBRARY:
            found.setdefault(path.stem, set()).update(re.findall(r"\w+", text))
    return found


@cache
def classes() -> dict[str, set[str]]:
    """Name of a class -> all words in its body; several of one name are taken together."""
    found: dict[str, set[str]] = {}
    for text in code().values():
        for name, body in re.findall(r"^class (\w+).*\n((?:(?:[ \t].*)?\n)*)", text, flags=re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r"\w+", body))
    return found


# -- the table of stages ---------------------------------------------------------------------------------------

# the folders of a device, told in a section of their own, and what is one stage with the folder around it
TOLD_ELSEWHERE = ("codegen/cuda", "codegen/cpu", "nn/data/vision", "tracer", "runtime")


def stages() -> list[str]:
    """The folders of the table, in order."""
    return re.findall(r"^\| [\w -]+ \| `([\w/]+)/` \|", text_of("docs/architecture.md"), flags=re.MULTILINE)


def test_every_folder_is_one_stage() -> None:
    found = {str(p.parent.relative_to(ROOT)) for p in code() if p.name == "__init__.py"}
    folders = {f for f in found if f.split("/")[0] in LIBRARY and not f.startswith("codegen/cuda/")}
    assert sorted(stages()) == sorted(folders - set(TOLD_ELSEWHERE))
