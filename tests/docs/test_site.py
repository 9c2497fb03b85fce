"""The documentation site: all pages are built without a warning, lead to each other, and need nothing from elsewhere."""

import re
import runpy
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from documents import ROOT, python

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="pip install 'blockfuse[docs]'")
    folder = tmp_path_factory.mktemp("site")
    options = (
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "--conf-dir",
        "docs",
        "--doctree-dir",
        folder / "doctrees",
    )
    done = python("-m", "sphinx", *options, ".", folder / "html", cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    yield from ((path, path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html")))


def test_every_page_of_the_repository_is_there_and_in_the_navigation(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    written = [f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")]
    for page in (*written, "CONTRIBUTING.html", "CHANGELOG.html", "docs/reference/nn.html"):
        assert (site / page).exists()
        assert f'href="{page}"' in first


def test_links_lead_somewhere(site: Path) -> None:
    lost = set()
    for path, text in pages(site):
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if "://" not in target and not target.startswith(("data:", "mailto:")):
                found = path.parent / unquote(target)
                lost |= {(path.name, target)} if not found.exists() else set()
    assert not lost


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for path, text in pages(site):
        loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*(?:href|src)=\"(\w+:)?//[^\"]*", text)
        assert not loaded, path.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?https?:", style.read_text(encoding="utf-8")), (
            style.name
        )


def test_every_public_name_can_be_found(site: Path) -> None:
    _, _, packed = (site / "objects.inv").read_bytes().partition(b"using zlib.\n")
    listed = {line.split(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}
    reference = runpy.run_path(str(ROOT / "docs" / "reference.py"))
    names = {f"blockfuse.{name.path}" for name in reference["homes"]().values()}
    assert len(names) > 600
    assert not names - listed


def test_names_lead_to_their_source(site: Path) -> None:
    for page, source in (
        ("np", "array/functions/reducing"),
        ("nn", "nn/layers/basic"),
        ("npx", "array/functions/softmax"),
    ):
        text = (site / f"docs/reference/{page}.html").read_text(encoding="utf-8")
        assert f'href="../../_modules/blockfuse/{source}.html#' in text
