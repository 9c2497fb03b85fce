"""``blockfuse.dask``: nets over arrays and data frames of Dask."""

from blockfuse.frontends.dask.collections import map_blocks, map_partitions

__all__ = ["map_blocks", "map_partitions"]
