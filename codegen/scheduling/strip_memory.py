"""How much memory a thread has of its own, for what only one part of a strip needs: NOTE [strips]."""

STRIP_MEMORY_BYTES = 1 << 19  # a part of its second-level cache
