"""The tables of names in names.md: what `np`, `npx` and `nn` have, by the files that define it.

``python docs/names.py`` prints the tables; with ``--write`` it puts them into names.md. The tests compare the two.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import blockfuse.array.functions
from blockfuse import np, npx
from blockfuse.array import devices
from blockfuse.array import files as files_of_arrays
from blockfuse.array.functions import linalg

PAGE = Path(__file__).with_name("names.md")
BEGIN, END = "<!-- names: python docs/names.py --write -->\n", "<!-- end of names -->\n"


def defined(module: ModuleType) -> list[str]:
    """The public names that a file defines, in its order."""
    found: dict[str, None] = {}
    for statement in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = None
        elif isinstance(statement, ast.Assign):
            found.update(
                (n.id, None)
                for target in statement.targets
                for n in ast.walk(target)
                if isinstance(n, ast.Name)
            )
    return [name for name in found if not name.startswith("_")]


def files() -> Iterator[ModuleType]:
    """The files that define functions; those by NumPy after the others."""
    folder = Path(blockfuse.array.functions.__path__[0])
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "numpys"))
    for name in (*names, "numpys"):
        yield importlib.import_module(f"blockfuse.array.functions.{name}")
    yield from (devices, files_of_arrays)


def is_from(module: ModuleType, space: ModuleType, name: str) -> bool:
    """Whether a name of ``np`` and friends is what this file defines, perhaps with all forms of calls around it."""
    offered, own = getattr(space, name), getattr(module, name)
    return offered is own or getattr(offered, "__wrapped__", None) is own


def rows() -> Iterator[tuple[str, str]]:
    """What a file is about, with its names as a program writes them."""
    spaces = (("np", np), ("npx", npx), ("np.linalg", linalg))
    for module in files():
        here = defined(module)
        listed = []
        for prefix, space in spaces:
            listed += [f"`{prefix}.{n}`" for n in here if n in space.__all__ and is_from(module, space, n)]
        if listed:
            about = (module.__doc__ or "").split("\n")[0].split(": ")[0].rstrip(".").replace("``", "`")
            yield about, ", ".join(listed)


def table() -> str:
    """The rows in Markdown."""
    lines = ["| about | names |", "|---|---|", *(f"| {about} | {names} |" for about, names in rows())]
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The table as names.md has it."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def write() -> None:
    """Put the table into names.md."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{begin}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    write() if "--write" in sys.argv else print(table())
