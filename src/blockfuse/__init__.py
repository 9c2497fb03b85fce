"""Neural-network blocks in plain Python, traced into graphs and fused into native CPU kernels."""
