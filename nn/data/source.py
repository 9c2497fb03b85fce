"""What makes one batch of a dataset: the same in every process and thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.ir.stream import STREAM
from blockfuse.nn.data.sampler import Sized


@dataclass(frozen=True)
class BatchSource:
    """Batches of one iteration, by their number."""

    dataset: Sized
    batchify_fn: Callable[[list[Any]], Any]
    seed: int  # of the streams that batches draw from

    def batch(self, number: int, indices: Iterable[Any]) -> Any:
        """The batch of these samples, drawing from a stream that follows from the seed and its number."""
        bits = numpy.random.PCG64(self.seed_of(number))
        with STREAM.drawing_again(bits.state):
            return self.batchify_fn([self._sample(index) for index in indices])

    def seed_of(self, number: int) -> numpy.random.SeedSequence:
        return numpy.random.SeedSequence([self.seed, number])

    def _sample(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            error.add_note(f"raised by sample {index!r} of a {type(self.dataset).__name__}")
            raise
