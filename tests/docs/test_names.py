"""docs/names.md lists every name of `np`, `npx` and `np.linalg`: its table is what docs/names.py finds."""

import inspect
import runpy

from documents import ROOT

from blockfuse import np, npx
from blockfuse.array.functions import linalg

NAMES = runpy.run_path(str(ROOT / "docs" / "names.py"))


def test_the_page_shows_what_there_is() -> None:
    assert NAMES["shown"]() == NAMES["table"](), "run python docs/names.py --write"


def test_no_function_is_left_out() -> None:
    for prefix, space in (("np", np), ("npx", npx), ("np.linalg", linalg)):
        for name in space.__all__:
            if inspect.isfunction(getattr(space, name)) and not getattr(space, name).__module__.startswith(
                "numpy"
            ):
                assert f"`{prefix}.{name}`" in NAMES["shown"](), name
