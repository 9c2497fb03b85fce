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
    "ir",
    "nn",
    "runtime",
    "src",
    "tests",
    "tracer",
)
READMES = tuple(f"{folder}/README.md" for folder in FOLDERS if (ROOT / folder / "README.md").exists())
PAGES = tuple(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/walkthrough.py", *PAGES, *READMES)

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
def notes() -> frozenset[str]:
    """The titles that stand on a line of their own, above what they say."""
    title = re.compile(r"^[ #]*(?:\"\"\")?NOTE \[([^\]]+)\]$", re.MULTILINE)
    return frozenset(found for text in code().values() for found in title.findall(text))


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
    assert not set(named_notes(text_of(document))) - notes()


def test_notes_that_code_names_exist() -> None:
    named = {(title, str(p.relative_to(ROOT))) for p, text in code().items() for title in named_notes(text)}
    assert not {found for found in named if found[0] not in notes()}


def test_no_two_notes_have_one_title() -> None:
    title = re.compile(r"^[ #]*(?:\"\"\")?NOTE \[([^\]]+)\]$", re.MULTILINE)
    found = [name for text in code().values() for name in title.findall(text)]
    assert sorted({name for name in found if found.count(name) > 1}) == []


def test_names_of_the_architecture_stand_in_code() -> None:
    """Whatever looks like a name in backticks: a class, a function, an attribute, a setting."""
    sources = (text for path, text in code().items() if not {"docs", "examples"} & {*path.parts})
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
    top = {"array", "codegen", "ir", "nn", "runtime", "tracer"}
    folders = {f for f in found if f.split("/")[0] in top and not f.startswith("codegen/cuda/")}
    assert sorted(stages()) == sorted(folders - set(TOLD_ELSEWHERE))
