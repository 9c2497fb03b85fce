"""What says which image a process has mapped: the hash of all that lies in it, and where."""

IDENTITY = "blockfuse_identity"  # its symbol
IDENTITY_BYTES = 32  # of SHA-256
