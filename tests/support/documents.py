"""Code and commands in documents, and programs run as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, language: str) -> list[str]:
    """The text of each fenced block of a language, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def shown_blocks(document: str) -> list[tuple[str, str]]:
    """Each block of Python, and the block of text right below it, which is what it prints; empty where there is none."""
    text = (ROOT / document).read_text(encoding="utf-8")
    pattern = r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?"
    return re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)


def links(document: str) -> list[Path]:
    """What the document links to, web addresses aside; code has no links."""
    text = re.sub(
        r"^```.*?^```$|`[^`\n]*`",
        "",
        (ROOT / document).read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    found = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    return [(ROOT / document).parent / target for target in found if "://" not in target]


def python(
    *arguments: object, cwd: Path | None = None, **settings: object
) -> subprocess.CompletedProcess[str]:
    """A Python of its own, in which blockfuse can be imported. settings: environment variables."""
    variables = [f"{name}={value}" for name, value in {"PYTHONPATH": ROOT / "src", **settings}.items()]
    command = ["env", *variables, sys.executable, "-P", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
