"""Gluon's ``mx.image``, as far as it reads and resizes: ``from blockfuse import image``."""

from blockfuse.nn.data.vision.images import imread, imresize

__all__ = ["imread", "imresize"]
