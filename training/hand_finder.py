"""Where the hand is, and a view of it: small networks in front of the classifier.

`HandFinder` marks the pixels of the hand, down to the wrist: with the forearm, it
would be small in its view. `HandView` cuts out a square around them and hands the
mask on as a fourth channel; `even_light` (training/network.py) makes all hands equally
bright, dark ones and light ones, in sun and in shade. All become part of the exported
graph, so a client sends whole photographs as ever.
"""

import torch
from torch import nn

VIEW_SIZE = 96  # pixels that the finder sees, and the classifier after it
STEM = 4  # pixels to a position of the first level, either way
WIDTHS = (32, 64, 96)  # channels of the levels
REACH = 2.3  # half a side of the view, in standard deviations of the hand's pixels
SMALLEST, LARGEST = 0.11, 1.14  # the same as a share of half the photograph
# Share of the photograph that must be hand before the view follows it in full.
TRUSTED = 0.02


def _convolution(
    inputs: int, outputs: int, stride: int = 1, kernel: int = 3
) -> nn.Module:
    padding = (kernel - stride + 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class HandFinder(nn.Module):
    """``(N, 3, 96, 96)`` RGB of 0 to 255 -> logits ``(N, 1, 96, 96)`` of being hand.

    A U-Net (Ronneberger et al. 2015) of 0.3 M parameters, made for few cores: it works
    on a quarter of the pictures' sides at most, adds what a level has seen instead of
    stacking it, and writes a square of 4 x 4 pixels at a time (Shi et al. 2016).
    """

    def __init__(self):
        super().__init__()
        first = WIDTHS[0]
        self.stem = nn.Sequential(
            _convolution(3, first, STEM, 2 * STEM), _convolution(first, first)
        )
        steps = list(zip(WIDTHS, WIDTHS[1:]))
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(a, b, 2), _convolution(b, b)) for a, b in steps
        )
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in steps[::-1])
        self.up = nn.ModuleList(_convolution(a, a) for a, _ in steps[::-1])
        self.last = nn.Conv2d(first, STEM**2, 3, padding=1)

    def forward(self, x):
        x = self.stem(x / 63.75 - 2)  # from about -2 to 2
        levels = [x]
        for layer in self.down:
            x = layer(x)
            levels.append(x)
        for narrow, up, level in zip(self.narrow, self.up, levels[-2::-1]):
            x = up(_double(narrow(x)) + level)
        return nn.functional.pixel_shuffle(self.last(x), STEM)


def _double(x):
    size = [2 * x.shape[2], 2 * x.shape[3]]
    return nn.functional.interpolate(x, size, mode="bilinear")


class HandView(nn.Module):
    """Photographs ``(N, 3, S, S)`` of 0 to 255 -> views ``(N, 4, 96, 96)`` of 0 to 255.

    The fourth channel is how surely a pixel is hand. Where little of a hand is found,
    the view is the whole photograph.
    """

    def __init__(self, finder: HandFinder):
        super().__init__()
        self.finder = finder.requires_grad_(False).eval()
        centres = (torch.arange(VIEW_SIZE) + 0.5) * 2 / VIEW_SIZE - 1
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), 2)
        self.register_buffer("grid", grid[None], persistent=False)
        self.register_buffer("places", centres, persistent=False)

    def forward(self, pixels):
        seen = nn.functional.interpolate(
            pixels, [VIEW_SIZE, VIEW_SIZE], mode="bilinear"
        )
        # bfloat16, where the finder computes in it, is too coarse for what follows
        mask = torch.sigmoid(self.finder(seen).float())
        centre, half = self.square(mask)
        grid = self.grid * half[:, None, None, None] + centre[:, None, None, :]
        sample = nn.functional.grid_sample
        picture = sample(pixels, grid, padding_mode="reflection", align_corners=False)
        where = sample(mask, grid, padding_mode="zeros", align_corners=False)
        return torch.cat([picture, 255 * where], 1)

    def square(self, mask):
        """Place the view: centre ``(N, 2)`` (x, y) and half a side ``(N,)``, both in
        units of half the photograph, from the mask's mean and standard deviation."""
        weight = mask[:, 0] ** 2
        total = weight.sum((1, 2)) + 1e-3
        means, spreads = [], []
        for profile in (weight.sum(1), weight.sum(2)):  # along x, along y
            mean = (profile * self.places).sum(1) / total
            off = self.places - mean[:, None]
            means.append(mean)
            spreads.append(torch.sqrt((profile * off**2).sum(1) / total + 1e-9))
        trust = (total / (TRUSTED * VIEW_SIZE**2)).clamp(max=1)
        spread = torch.maximum(*spreads)
        half = (REACH * spread.clamp(min=SMALLEST)).clamp(max=LARGEST)
        half = trust * half + (1 - trust)
        return torch.stack(means, 1) * trust[:, None], half
