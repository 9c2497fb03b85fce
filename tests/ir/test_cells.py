"""Lines of notebooks are told by cell and line, as IPython counts them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from blockfuse.ir.graph import Source

FILE = "/tmp/ipykernel_7/1234.py"


def notebook(monkeypatch: pytest.MonkeyPatch, compiler: object) -> None:
    shell = SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_line_of_a_cell_is_told_by_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook(monkeypatch, SimpleNamespace(_filename_map={FILE: 3}))
    assert str(Source(FILE, 2, "forward")) == "cell 3, line 2"
    assert Source(FILE, 2, "forward").location == "cell 3, line 2"
    assert str(Source("/home/me/net.py", 2, "forward")) == "net.py:2"
    assert str(Source("0 (Dense)", 0, "")) == "0 (Dense)"


def test_without_a_notebook_a_file_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert str(Source(FILE, 2, "forward")) == "1234.py:2"
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert str(Source(FILE, 2, "forward")) == "1234.py:2"
    notebook(monkeypatch, SimpleNamespace())
    assert str(Source(FILE, 2, "forward")) == "1234.py:2"
