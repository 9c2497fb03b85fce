"""Rules, by subject; importing the package fills the table."""

from blockfuse.frontends.torch.rules import (
    activating,
    attending,
    losses,
    normalizing,
    pointwise,
    products,
    recurrent,
    reducing,
    shaping,
    sorting,
    windows,
)

__all__ = [
    "activating",
    "attending",
    "losses",
    "normalizing",
    "pointwise",
    "products",
    "recurrent",
    "reducing",
    "shaping",
    "sorting",
    "windows",
]
