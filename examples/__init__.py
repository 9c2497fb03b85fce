"""The nets that ``blockfuse compare`` runs when it is given no file."""
