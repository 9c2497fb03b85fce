"""A recorded graph as an ONNX model: importing this package fills the table of forms."""

from blockfuse.frontends.onnx.writing import elementwise, normalizing, placing, products, reducing

__all__ = ["elementwise", "normalizing", "placing", "products", "reducing"]
