"""The documentation site, for Sphinx: ``make docs`` builds it into build/site.

Pages are the Markdown files of the repository, where they are: links between them, and to files of source, lead to the same
things here and in a checkout. Pages of the reference are made by reference.py from the docstrings.
"""

import functools
import runpy
from pathlib import Path
from typing import Any

from sphinx import addnodes

import blockfuse

HERE = Path(__file__).parent
ROOT = HERE.parent
REFERENCE = runpy.run_path(str(HERE / "reference.py"))

# What stands where in the navigation; a page that is not named here is a how-to.
NAVIGATION = {
    "Start": ["tutorial"],
    "How to": ["control", "iterative", "training"],
    "Reference": ["reference/index", "names", "contract", "reasons", "cli"],
    "Inside": ["architecture", "testing", "benchmarks", "cuda", "/CONTRIBUTING", "/CHANGELOG"],
}

project = "blockfuse"
author = "the authors of blockfuse"
project_copyright = author
release = version = blockfuse.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**"]
exclude_patterns = [".*", "build", "src"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_heading_anchors = 3
smartquotes = False  # quotes in texts about code are those of code

add_module_names = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"blockfuse {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_copyright = html_show_sphinx = html_copy_source = False


def pages() -> dict[str, list[str]]:
    """Part of the navigation -> its documents."""
    parts = {
        part: [p[1:] if p[0] == "/" else f"docs/{p}" for p in listed] for part, listed in NAVIGATION.items()
    }
    named = {page for listed in parts.values() for page in listed}
    others = sorted(f"docs/{path.stem}" for path in HERE.glob("*.md"))
    parts["How to"] += [page for page in others if page not in named]
    return parts


def with_navigation(_app: Any, document: str, text: list[str]) -> None:
    """README.md is the first page, and leads to all others."""
    if document == root_doc:
        for part, listed in pages().items():
            entries = "\n".join(f"/{page}" for page in listed)
            text[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {part}\n\n{entries}\n```\n"


def with_navigation_read_again(*_: Any) -> list[str]:
    """Pages may have come or gone since the last time."""
    return [root_doc]


def without_folders(app: Any, doctree: Any) -> None:
    """A link to a folder leads somewhere in a checkout alone: here it is its text."""
    page = (ROOT / app.env.docname).parent
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and page.joinpath(link["reftarget"]).is_dir():
            link.replace_self(link.children)


def write_reference(_app: Any) -> None:
    REFERENCE["write"](HERE / "reference")


def name_sources(_app: Any, doctree: Any) -> None:
    """Links to source need the name in the file that defines it, in the place of what programs write."""
    for signature in doctree.findall(addnodes.desc_signature):
        name, value = signature.get("fullname"), None
        if signature.get("module") == "blockfuse" and name:
            value = REFERENCE["defined"](functools.reduce(getattr, name.split("."), blockfuse))
        if hasattr(value, "__qualname__"):
            signature["module"], signature["fullname"] = value.__module__, value.__qualname__


def leave_out_navigation(
    _app: Any, page: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """Pages of source have none: to make it for each of them takes a quarter of the time."""
    if page.startswith("_modules/"):
        context["toctree"] = lambda **_options: ""


def write_first_page(app: Any, error: Exception | None) -> None:
    """Servers show index.html first."""
    if error is None:
        first = Path(app.outdir, "README.html")
        first.with_name("index.html").write_bytes(first.read_bytes())


def setup(app: Any) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("source-read", with_navigation)
    app.connect("env-get-outdated", with_navigation_read_again)
    app.connect("doctree-read", without_folders)
    app.connect("autodoc-process-docstring", REFERENCE["as_rst"])
    app.connect("doctree-read", name_sources, priority=400)  # before viewcode looks, at 500
    app.connect("html-page-context", leave_out_navigation, priority=400)  # before the theme, at 500
    app.connect("build-finished", write_first_page)
