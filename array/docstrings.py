"""Docstrings of functions that are made of others: what holds for a family of them is said here, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dtypes:
    """Which dtypes a function of elements takes and gives; ``test_array_reference.py`` tries all of them."""

    gives: str  # {own}: the dtype of the operand, or what those of two promote to
    refuses: str = ""


_BY_WIDTH = "float16 for bool and 8 bits, float32 for 16 bits, float64 for more"
ALIKE = Dtypes("{own}")
NUMBERS = Dtypes("{own}", "bools")
COUNTED = Dtypes("{own}, but int8 for bool")
REAL = Dtypes("{own} where that is a float, else float64")
NARROW = Dtypes(f"{{own}} where that is a float, else {_BY_WIDTH}")
TRUTH = Dtypes("bool")
BITS = Dtypes("{own}", "floats")
SHIFTED = Dtypes("{own}, but int8 for bool", "floats")


def of_each(about: str, dtypes: Dtypes, example: tuple[str, str], operands: int, *, flat: bool) -> str:
    """The docstring of a function of each element of one operand or two.

    example: a call, and what Python shows of its result. flat: no gradient goes through it.
    """
    call, result = example
    return _ELEMENTWISE[operands].format(
        about=about,
        gives=dtypes.gives.format(own=_OWN[operands]),
        refuses=f"Raises TypeError for {dtypes.refuses}. " * bool(dtypes.refuses),
        gradient="No gradient goes through it." if flat else "It has a gradient.",
        example=f">>> from blockfuse import {'np, npx' if 'npx.' in call else 'np'}\n>>> {call}\n{result}",
    )


_OWN = {1: "that of ``x``", 2: "what those of ``x`` and ``y`` promote to"}
_ELEMENTWISE = {
    1: """{about}

x: an array of any shape; a Python number alone counts as float32.
out: an array that takes the result, which is a new one otherwise.
where: bools that broadcast against ``x``; elsewhere nothing is computed: ``out`` stays, and a new array is 0.

Returns the shape of ``x``; the dtype is {gives}.
{refuses}{gradient}

{example}
""",
    2: """{about}

x, y: arrays of shapes that broadcast; of a Python number beside an array only its kind counts for the dtype.
out: an array that takes the result, which is a new one otherwise.
where: bools that broadcast against both; elsewhere nothing is computed: ``out`` stays, and a new array is 0.

Returns the shape that both broadcast to; the dtype is {gives}.
{refuses}Raises ValueError where shapes do not broadcast. {gradient}

{example}
""",
}


def before_example(text: str, addition: str) -> str:
    r"""A docstring with one paragraph more, before its first example.

    >>> before_example("Twice x.\n\n>>> twice(3)\n6", "Source: Euclid.")
    'Twice x.\n\nSource: Euclid.\n\n>>> twice(3)\n6'
    """
    about, mark, example = text.partition(">>> ")
    margin = about[about.rfind("\n") + 1 :]
    return f"{about}{addition}\n\n{margin}{mark}{example}"


def as_numpys(run: Any, function: Callable[..., Any], text: str) -> Any:
    """What calls a function of NumPy's, with its name and signature, and a docstring that says who computes."""
    run.__name__ = run.__qualname__ = function.__name__
    run.__wrapped__ = function  # whose signature it has
    space = getattr(function, "__module__", "numpy")  # its functions in C may not say one
    numpys = f"``{space}.{function.__name__}``"
    source = f"Source: {numpys}, which computes it, and has all arguments: no gradient, no compilation."
    run.__doc__ = before_example(text, source)
    return run
