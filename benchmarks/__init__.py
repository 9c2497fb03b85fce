"""The benchmark: the same nets, weights and inputs in NumPy, blockfuse and its peers; docs/benchmarks.md explains it."""
