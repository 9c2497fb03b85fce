"""Datasets, samplers, and batches of them; `batchify` makes batches, `vision` knows images."""

from blockfuse.nn.data.batchify import default_batchify_fn
from blockfuse.nn.data.dataset import ArrayDataset, Dataset, SimpleDataset
from blockfuse.nn.data.loader import DataLoader
from blockfuse.nn.data.sampler import (
    BatchSampler,
    FilterSampler,
    IntervalSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "DataLoader",
    "Dataset",
    "FilterSampler",
    "IntervalSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SimpleDataset",
    "default_batchify_fn",
]
