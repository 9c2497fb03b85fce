"""README.md as a package index shows it, which knows no other file: all else of the package stands in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", flags=re.MULTILINE | re.DOTALL)  # in which nothing is a link
_LINK = re.compile(r"\[([^]]*)\]\(([^)\s]+)\)")
_NOTE = (
    "Files named here, such as `docs/training.md`, are in the source distribution: "
    "`pip download --no-deps --no-binary {name} {name}`."
)


def description(readme: str, project: dict) -> str:
    """The text with links that lead somewhere: to the address ``Source`` of ``[project.urls]``, or none to files of ours."""
    source = project.get("urls", {}).get("Source")

    def linked(found: re.Match) -> str:
        text, target = found.groups()
        if "://" in target:
            return found[0]
        if source:
            return f"[{text}]({source.rstrip('/')}/blob/main/{target})"
        file = target.partition("#")[0]
        if not file:  # a heading of the page
            return text
        return f"`{file}`" if text == file else f"{text} (`{file}`)"

    parts = _CODE.split(readme)  # code at the odd places
    shown = "".join(part if n % 2 else _LINK.sub(linked, part) for n, part in enumerate(parts))
    return shown if source else f"{shown}\n{_NOTE.format(name=project['name'])}\n"


setup(
    long_description=description(
        (ROOT / "README.md").read_text(encoding="utf-8"),
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"],
    ),
    long_description_content_type="text/markdown",
)
