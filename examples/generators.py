"""Pictures from pictures and from noise: a U-Net, a variational autoencoder, and the two nets of a GAN.

After Ronneberger et al. 2015, Kingma and Welling 2013 and Radford et al. 2015, each small enough to look through.
"""

from blockfuse import nn, np, npx


def double(channels, before):
    return nn.Sequential(
        nn.Conv2D(channels, 3, padding=1, activation="relu", in_channels=before),
        nn.Conv2D(channels, 3, padding=1, activation="relu", in_channels=channels),
    )


class UNet(nn.Block):
    """Down two times and up again, each way up beside what was there on the way down; a score for each pixel and class."""

    def __init__(self, channels=4, classes=2):
        super().__init__()
        self.pool = nn.MaxPool2D()
        self.down = nn.Sequential(double(channels, 3), double(2 * channels, channels))
        self.bottom = double(4 * channels, 2 * channels)
        self.rise = nn.Sequential(
            nn.Conv2DTranspose(2 * channels, 2, 2, in_channels=4 * channels),
            nn.Conv2DTranspose(channels, 2, 2, in_channels=2 * channels),
        )
        self.up = nn.Sequential(double(2 * channels, 4 * channels), double(channels, 2 * channels))
        self.out = nn.Conv2D(classes, 1, in_channels=channels)

    def forward(self, x):
        beside = []
        for step in self.down:
            x = step(x)
            beside.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for rise, step in zip(self.rise, self.up, strict=True):
            x = step(np.concatenate([beside.pop(), rise(x)], axis=1))
        return self.out(x)


class VariationalAutoencoder(nn.Block):
    """What came out for a row of pixels, and mean and log of the variance of its code; noise moves the code."""

    def __init__(self, pixels=64, hidden=24, code=4):
        super().__init__()
        self.encoder = nn.Dense(hidden, activation="tanh", in_units=pixels)
        self.mean, self.spread = nn.Dense(code, in_units=hidden), nn.Dense(code, in_units=hidden)
        self.decoder = nn.Sequential(
            nn.Dense(hidden, activation="tanh", in_units=code), nn.Dense(pixels, in_units=hidden)
        )

    def forward(self, x, noise):
        hidden = self.encoder(x)
        mean, spread = self.mean(hidden), self.spread(hidden)
        return npx.sigmoid(self.decoder(mean + np.exp(spread / 2) * noise)), mean, spread


class Generator(nn.Block):
    """Pictures of 8 x 8 from noise."""

    def __init__(self, noise=6, channels=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2DTranspose(2 * channels, 4, in_channels=noise, use_bias=False),
            nn.BatchNorm(in_channels=2 * channels),
            nn.Activation("relu"),
            nn.Conv2DTranspose(1, 4, 2, 1, in_channels=2 * channels),
            nn.Activation("tanh"),
        )

    def forward(self, noise):
        return self.layers(np.expand_dims(noise, (2, 3)))


class Discriminator(nn.Block):
    """How real a picture of 8 x 8 looks."""

    def __init__(self, channels=4):
        super().__init__()
        self.first = nn.Conv2D(channels, 4, 2, 1, in_channels=1)
        self.second = nn.Conv2D(2 * channels, 4, in_channels=channels)
        self.out = nn.Dense(1, in_units=2 * channels)

    def forward(self, pictures):
        x = npx.leaky_relu(self.first(pictures), slope=0.2)
        return self.out(npx.leaky_relu(self.second(x), slope=0.2))


INPUTS = {
    "UNet": "2x3x8x8",
    "VariationalAutoencoder": ["3x64", "3x4"],
    "Generator": "3x6",
    "Discriminator": "3x1x8x8",
}
