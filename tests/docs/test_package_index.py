"""What a package index shows of README.md has no link that leads nowhere, and has all of them once there is an address."""

import re
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest
from documents import ROOT

pytest.importorskip("setuptools", minversion="77")

BUILD = """
import sys
from setuptools import build_meta
print(build_meta.prepare_metadata_for_build_wheel(sys.argv[1]))
"""
FOLDERS = ("array", "codegen", "examples", "frontends", "frozen", "ir", "nn", "runtime", "src", "tracer")


def shown(folder: Path, readme: str, urls: str = "") -> str:
    """The long description of a package with this README, and these lines in ``[project.urls]``."""
    project = folder / "project"
    project.mkdir()
    for name in FOLDERS:
        (project / name).symlink_to(ROOT / name)
    (project / "src").unlink()
    (project / "src" / "blockfuse").mkdir(parents=True)
    for path in (ROOT / "src" / "blockfuse").iterdir():
        (project / "src" / "blockfuse" / path.name).symlink_to(path)
    for name in ("LICENSE", "setup.py"):
        (project / name).write_bytes((ROOT / name).read_bytes())
    (project / "README.md").write_text(readme, encoding="utf-8")
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (project / "pyproject.toml").write_text(
        settings.replace("[project.scripts]", f"[project.urls]\n{urls}\n\n[project.scripts]"),
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", BUILD, str(folder)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    metadata = folder / done.stdout.splitlines()[-1] / "METADATA"
    message = message_from_string(metadata.read_text(encoding="utf-8"))
    assert message["Description-Content-Type"] == "text/markdown"
    return str(message.get_payload())


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def targets(text: str) -> list[str]:
    """Of all links of Markdown, and of HTML, that are no code."""
    found = re.findall(
        r"\]\(([^)\s]*)|^ *\[[^]]+\]: *(\S+)|(?:href|src)=[\"']?([^\"' >]+)", without_code(text), re.MULTILINE
    )
    return ["".join(parts) for parts in found]


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_without_an_address_no_link_leads_to_a_file(tmp_path: Path) -> None:
    text = shown(tmp_path, README)
    assert [target for target in targets(text) if "://" not in target] == []
    assert "`docs/training.md` says what is followed" in text
    assert "pip download --no-deps --no-binary blockfuse blockfuse" in text
    code = re.findall(r"^```.*?^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^```.*?^```$", text, flags=re.MULTILINE | re.DOTALL) == code


def test_with_an_address_all_links_lead_there(tmp_path: Path) -> None:
    text = shown(tmp_path, README, 'Source = "https://example.org/blockfuse/"')
    at = "https://example.org/blockfuse/blob/main/"
    expected = [target if "://" in target else at + target for target in targets(README)]
    assert targets(text) == expected
    assert f"{at}docs/contract.md#precision" in expected
    assert "pip download" not in text


def test_links_of_other_kinds(tmp_path: Path) -> None:
    readme = """[a page](https://example.org/x), [here](#words), [the licence](LICENSE), [LICENSE](LICENSE), `[x](y)`
```python
z = table[key](value)
```
"""
    assert (
        shown(tmp_path, readme)
        .lstrip()
        .startswith(
            """[a page](https://example.org/x), here, the licence (`LICENSE`), `LICENSE`, `[x](y)`
```python
z = table[key](value)
```
"""
        )
    )
