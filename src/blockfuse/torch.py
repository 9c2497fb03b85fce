"""``blockfuse.torch``: compiled calls for modules of torch where they are."""

from blockfuse.frontends.torch.torch_net import install, uninstall

__all__ = ["install", "uninstall"]
