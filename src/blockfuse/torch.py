"""``blockfuse.torch``: compiled calls for modules of torch where they are, and a backend of ``torch.compile``."""

from blockfuse.frontends.torch.dynamo import backend, explain
from blockfuse.frontends.torch.torch_net import install, uninstall

__all__ = ["backend", "explain", "install", "uninstall"]
