"""Tables that native code walks: records of words, each of a kind, with as many words at its end as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeVar

from llvmlite import ir

from blockfuse.codegen.values.emitter import Emitter, constant

Kind = TypeVar("Kind", bound=Enum)


def each_record(
    emit: Emitter, first: ir.Value, numbers: Mapping[Kind, int], length: int, fixed: int
) -> Iterator[tuple[Kind, ir.Value]]:
    """Write a loop over records up to one of no known kind: each kind, and a record of it, for what is written meanwhile.

    first: the address of the first record, whose first word is the number of its kind. length: the word that says how many
    words follow the ``fixed`` ones.
    """
    builder, before = emit.builder, emit.builder.block
    each, following, end = (emit.block(name) for name in ("each", "following", "end"))
    emit.go_to(each)
    place = emit.merged([(first, before)])
    record = emit.pointer(place)
    cases = builder.switch(emit.word(record, 0), end)
    for kind, number in numbers.items():
        block = emit.block(kind.name.lower())
        cases.add_case(constant(number), block)
        builder.position_at_end(block)
        yield kind, record
        builder.branch(following)
    builder.position_at_end(following)
    words = builder.add(emit.word(record, length), constant(fixed))
    place.add_incoming(builder.add(place, emit.times(words, 8)), following)
    builder.branch(each)
    builder.position_at_end(end)
