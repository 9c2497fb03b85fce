"""The feed-forward half of a transformer layer: layer norm, a wider layer with GELU, back again, and the residual."""

from blockfuse import nn, npx


class FeedForward(nn.Block):
    def __init__(self, units, expansion=4):
        super().__init__()
        self.norm = nn.LayerNorm(in_channels=units)
        self.expand = nn.Dense(expansion * units, flatten=False, in_units=units)
        self.contract = nn.Dense(units, flatten=False, in_units=expansion * units)

    def forward(self, X):
        return X + self.contract(npx.gelu(self.expand(self.norm(X))))


feed_forward = FeedForward(64)

INPUTS = {"feed_forward": "2x16x64"}  # sequences, places, units
