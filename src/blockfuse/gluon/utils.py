"""Gluon's ``gluon.utils``."""

from blockfuse.nn.batch_slices import split_and_load, split_data
from blockfuse.nn.file_check import check_sha1, download
from blockfuse.nn.gradient_norm import clip_global_norm

__all__ = ["check_sha1", "clip_global_norm", "download", "split_and_load", "split_data"]
