"""The page of reasons and cures, docs/reasons.md, from the table that ``explain()`` reads.

``python docs/reasons.py`` prints the page; with ``--write`` it puts it into reasons.md. The tests compare the two.
"""

import sys
from pathlib import Path

from blockfuse.runtime.reasons import REASONS, Reason

PAGE = Path(__file__).with_name("reasons.md")
HEAD = """# Reasons and cures

Calls that cannot be a program run in Python, with right results, and `print(net.explain())` says why, with the line and the
cure. This page has the same, at more length: `python docs/reasons.py --write` makes it of the table in `runtime/reasons.py`.
[contract.md](contract.md) lists what compiles.
"""


def page() -> str:
    """All of reasons.md."""
    return "\n".join([HEAD, *(_section(reason) for reason in REASONS)])


def _section(reason: Reason) -> str:
    parts = [f"## {reason.name}", reason.meaning, f"Cure: {reason.cure}."]
    if reason.before:
        parts += [_code(reason.before), "becomes", _code(reason.after)]
    return "\n\n".join(parts) + "\n"


def _code(lines: str) -> str:
    return f"```text\n{lines}\n```"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())
